"""What holds for all tests.

Hypothesis: every run explores anew at a desk; CI tries the same examples each time, so that a red run is about the change.
Cases (``@pytest.mark.case(5, 6)``): the numbers of the hostile cases that a test proves stand in its id; see tests/hostile/cases.py.
Several processes (``pytest -n``): a file's tests stay together, for what they share is made once a process; so do all that share one product.
"""

from __future__ import annotations

import gc
import os
import resource

import pytest
from hypothesis import settings
from typing_extensions import override
from xdist.scheduler import LoadScopeScheduling

from tests.support.features import DOCUMENT, declared, with_table

# Tests hold both ends of hundreds of connections in one process, and shells begin with 1024 open files.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

TOGETHER = ("tests/app/product/", "tests/app/test_cli.py")  # one product, started once


class ByFile(LoadScopeScheduling):
    """Deals out whole files in the order of the tree, in which those that take longest come first."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER[0] if nodeid.startswith(TOGETHER) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture
def case_numbers(request: pytest.FixtureRequest) -> tuple[int, ...]:
    """The hostile cases that this test proves."""
    numbers: tuple[int, ...] = request.param
    return numbers


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    numbers = sorted(number for mark in metafunc.definition.iter_markers("case") for number in mark.args)
    if numbers:
        metafunc.fixturenames.append("case_numbers")
        metafunc.parametrize(
            "case_numbers", [tuple(numbers)], ids=["-".join(f"case-{number:02}" for number in numbers)], indirect=True
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--features``: run the tests that prove a feature, and write docs/isolated-browsing.md when all of them pass."""
    parser.addoption("--features", action="store_true", help="run tests with a feature mark, and write their table when all pass")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests with a mark ``feature``, where only those are asked for."""
    if config.getoption("--features"):
        others = [item for item in items if item.get_closest_marker("feature") is None]
        items[:] = [item for item in items if item.get_closest_marker("feature") is not None]
        config.hook.pytest_deselected(items=others)


def pytest_collection_finish() -> None:
    """What was collected lives to the end: the collector need not look at half a million objects again and again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the table: nothing of it was skipped and nothing failed."""
    config = session.config
    if not config.getoption("--features") or exitstatus != 0 or hasattr(config, "workerinput"):
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or reporter.stats.get("skipped"):
        return
    DOCUMENT.write_text(with_table(DOCUMENT.read_text("utf-8"), declared()), "utf-8")
