# make demo   the whole product on this machine, with real apps and a built-in tenant
# make test   every test
# Both install what they need first, and can be run again and again.
.PHONY: demo test lint types imports format check bench bench-proxy bench-stream setup clean

PY := .venv/bin/python

demo:
	@deploy/setup.sh demo
	@exec $(PY) -m isolation demo

test: setup
	$(PY) -m pytest $(ARGS)

setup:
	@deploy/setup.sh dev

lint: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

format: setup
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

types: setup
	$(PY) -m mypy

imports: setup
	.venv/bin/lint-imports

check: lint types imports test

bench: bench-proxy bench-stream

bench-proxy bench-stream: setup
	$(PY) -m bench.$(@:bench-%=%)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/results
