"""One demo for all tests of this directory, a deployment that writes everything down, and people who use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.demo.deployment import Deployment, running_deployment
from tests.support.demo.person import Person
from tests.support.demo.running import Demo, running_demo

expect.set_options(timeout=30_000)  # a bound, not a measure: two cores are shared with everything under test


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    with running_demo() as running:
        yield running


@pytest.fixture(scope="session")
def deployment(demo: Demo) -> Iterator[Deployment]:
    with running_deployment(demo) as running:
        yield running


@pytest.fixture(scope="session")
def cookie_jars() -> dict[tuple[str, str], Any]:
    """What people's browsers kept, by name and router. Each isolated session has a Chromium of its own, and there are not many."""
    return {}


@pytest.fixture
def visit(
    browser: Browser,
    browser_context_args: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    cookie_jars: dict[tuple[str, str], Any],
) -> Iterator[Callable[..., Person]]:
    """Sit somebody down at their browser: ``visit("Bob Brennan", url)``. Screenshots go to pytest's directory ``shots``."""
    open_ones: list[tuple[tuple[str, str], BrowserContext, Person]] = []
    shots = tmp_path_factory.getbasetemp() / "shots"
    shots.mkdir(exist_ok=True)

    def sit_down(name: str, url: str, **options: Any) -> Person:
        jar = name, url.rpartition(":")[2].partition("/")[0]
        context = browser.new_context(**{**browser_context_args, **options}, storage_state=cookie_jars.get(jar))
        context.set_default_timeout(30_000)
        person = Person(context.new_page(), name, shots / request.node.name.replace("[chromium]", ""))
        open_ones.append((jar, context, person))
        person.open(url)
        return person

    yield sit_down
    for jar, context, person in open_ones:
        person.shot("end")
        cookie_jars[jar] = context.storage_state()
        context.close()


@pytest.fixture
def straight(browser: Browser, browser_context_args: dict[str, Any]) -> Iterator[Page]:
    """A page in Chromium on the app itself, past the router: what things should look like, and where they are."""
    context = browser.new_context(**browser_context_args)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, float]]:
    """Measured seconds, printed at the end of the run."""
    found: dict[str, float] = {}
    yield found
    FIGURES.update(found)


FIGURES: dict[str, float] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("measured seconds")
        for name, seconds in FIGURES.items():
            terminalreporter.line(f"{seconds:7.2f}  {name}")
