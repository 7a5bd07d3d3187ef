"""Tests in a real browser. Those that use pytest-playwright's fixtures run last."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.support.demo.person import SIZE
from tests.support.demo.running import chromium


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Playwright's synchronous API keeps an event loop running in this thread from its first use to the end; pytest-asyncio needs none running."""
    items.sort(key=lambda item: "playwright" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The person's own browser: the one that the product would find, with scroll bars like everybody's."""
    found = chromium()
    return {
        **browser_type_launch_args,
        **({"executable_path": found} if found else {}),
        # Chromium refuses to start its sandbox as root. This is the test's browser; the product's own is never started so.
        "args": ["--no-sandbox"] if os.geteuid() == 0 else [],
        "ignore_default_args": ["--hide-scrollbars"],
    }


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "viewport": SIZE}


@pytest.fixture(scope="session")
def base_url() -> None:
    """Nothing: every test names whole addresses. (pytest-base-url's own fixture is written in a way that pytest 9 warns of.)"""
