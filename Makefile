# make demo   the whole product on this machine, with real apps and a built-in tenant
# make test   every test; with ARGS="…" one pytest with these arguments, e.g. make test ARGS="-n 3 tests/unit"
# Both install what they need first, and can be run again and again.
.PHONY: demo test features fuzz lint types imports format check fidelity bench bench-proxy bench-stream bench-capacity bench-soak setup clean

PY := .venv/bin/python
# pytest rewrites each test's module, three processes at once: it may keep what it made, beside everything else that make puts here.
unexport PYTHONDONTWRITEBYTECODE
PROCESSES ?= 3
FUZZ_SECONDS ?= 600

demo:
	@deploy/setup.sh demo
	@exec $(PY) -m isolation demo

# Tests that drive the demo, or hold the product to a number of seconds, have the machine to themselves.
# One drives its browser through Playwright's sync interface, the other through asyncio: they cannot share a process.
# The others wait more than they compute, so three processes keep two cores busy.
test: setup
ifdef ARGS
	$(PY) -m pytest $(ARGS)
else
	$(PY) -m pytest -n $(PROCESSES) -m "not demo and not alone"
	$(PY) -m pytest -m demo
	$(PY) -m pytest -m "alone and not demo"
endif

features: setup
	$(PY) -m pytest --features

setup:
	@deploy/setup.sh dev

# Looks for messages that pass the gate and should not: FUZZ_SECONDS each way, a fifth of it for each of what is read beside the stream.
fuzz: setup
	$(PY) -m pip install --quiet --disable-pip-version-check --editable ".[dev,fuzz]"
	$(PY) -m tests.hostile.fuzz renderer --seconds $(FUZZ_SECONDS)
	$(PY) -m tests.hostile.fuzz viewer --seconds $(FUZZ_SECONDS)
	for way in control images icon; do $(PY) -m tests.hostile.fuzz $$way --seconds $$(( $(FUZZ_SECONDS) / 5 )) || exit 1; done

lint: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

format: setup
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

types: setup
	$(PY) -m mypy --num-workers auto

imports: setup
	.venv/bin/lint-imports

check: lint types imports test

# The viewer's canvas against Chromium's own screenshot after 2,000 bursts of input (make test: 60). Seeds and settings: tests/browser/fidelity.
fidelity: setup
	FIDELITY_BURSTS=$${FIDELITY_BURSTS:-2000} $(PY) -m pytest -s -q tests/browser/fidelity $(ARGS)

bench: bench-proxy bench-stream

bench-proxy bench-stream bench-capacity bench-soak: setup
	$(PY) -m bench.$(@:bench-%=%) $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/results
