"""Processes that die and configurations that change under people who are signed in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from tests.support.browsing import Browser, closed_at
from tests.support.product import ERIN, AppSpec, Product, eventually
from tests.support.upstream import MARK


def works(browser: Browser, product: Product, app: str = "data") -> None:
    """Wait until somebody gets an app's page; readings may have gone stale while processes were started."""
    eventually(lambda: MARK in browser.get(product.url(app)).text, f"{app} does not open")


def opened(browser: Browser) -> ClientConnection:
    """Return an open WebSocket of an app's, as soon as readings are fresh enough for one: they go stale after three seconds here."""

    def attempt() -> ClientConnection | None:
        with contextlib.suppress(InvalidStatus):
            return browser.websocket()
        return None

    socket: ClientConnection = eventually(attempt)
    return socket


@pytest.fixture
def erin(fragile: Product) -> Browser:
    browser = fragile.browser(ERIN)
    works(browser, fragile)
    return browser


def test_workers_may_open_as_many_files_as_the_system_lets_them(fragile: Product) -> None:
    soft, hard = psutil.Process(fragile.pids("worker-0")[-1]).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard
    # The test itself was given all it may have, so inheriting proves nothing: the limit is lowered before the product is asked.
    told = (
        "import resource; from isolation.cli.serve import allow_open_files\n"
        "most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, most)); allow_open_files()\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)"
    )
    subprocess.run([sys.executable, "-c", told], check=True)


@pytest.fixture
def original(fragile: Product) -> Iterator[dict[str, Any]]:
    """The configuration, which is in force again afterwards."""
    document, mark = fragile.document(), fragile.mark()
    yield document
    fragile.write_config(document)
    applied = fragile.logs("configuration.applied", mark)
    if applied:
        fragile.hang_up()
        eventually(lambda: len(fragile.logs("configuration.applied", mark)) > len(applied))


def test_a_router_that_is_killed_comes_back_and_people_stay_signed_in(fragile: Product, erin: Browser) -> None:
    before = fragile.pids("worker-0")
    socket = opened(erin)
    assert socket.recv(10) == MARK
    os.kill(before[-1], signal.SIGKILL)
    closed_at(socket)
    # What comes meanwhile waits at the listener, which the supervisor holds.
    answer = fragile.raw().ask("GET / HTTP/1.1", f"Cookie: {erin.cookie_header('data')}")
    assert MARK.encode() in answer
    eventually(lambda: len(fragile.pids("worker-0")) == len(before) + 1)
    assert fragile.logs("process.ended", name="worker-0", exit_status=-9)


def test_a_directory_sync_that_is_killed_comes_back(fragile: Product, erin: Browser) -> None:
    before = fragile.pids("sync")
    os.kill(before[-1], signal.SIGKILL)
    eventually(lambda: len(fragile.pids("sync")) == len(before) + 1)
    person = fragile.newcomer("sven")
    browser = fragile.browser(person)
    eventually(lambda: MARK in browser.get(fragile.url("data")).text)
    fragile.tenant.set_risk(person, "high")
    eventually(lambda: "static/viewer/main.js" in browser.get(fragile.url("data")).text)


def test_a_supervisor_that_is_killed_leaves_nothing_behind(fragile: Product, erin: Browser) -> None:
    assert len(fragile.family()) == 2
    fragile.kill()
    fragile.start()
    works(erin, fragile)


def test_a_changed_configuration_is_applied_whole(fragile: Product, erin: Browser, original: dict[str, Any]) -> None:
    extra = fragile._app(AppSpec("Extra"))
    assert erin.get(fragile.url("extra")).status_code == 404
    fragile.write_config({**original, "apps": [*original["apps"], extra]})
    mark = fragile.mark()
    fragile.hang_up()
    works(erin, fragile, "extra")
    works(erin, fragile)  # still signed in
    entry = fragile.audit("--kind", "configuration-applied")[0]
    assert entry["outcome"] == "applied"
    assert "Extra" in entry["detail"]["apps"]
    # Nobody had to wait for the new worker: the old one ended when it answered.
    eventually(lambda: fragile.logs("configuration.applied", mark))
    order = [line["event"] for line in fragile.logs(None, mark) if line.get("name") == "worker-0"]
    assert order == ["process.started", "process.stopped"]

    # The next one lets nobody in: what is open ends with the old one.
    socket = opened(erin)
    assert socket.recv(10) == MARK
    nobody = [{"name": "Nobody", "decision": "allow", "include": [{"email": {"email": "nobody@contoso.example"}}]}]
    fragile.write_config({**original, "apps": [{**app, "policies": nobody} for app in original["apps"]]})
    fragile.hang_up()
    closed_at(socket)
    eventually(lambda: erin.get(fragile.url("data")).status_code == 403)
    with pytest.raises(InvalidStatus, match="403"):
        erin.websocket()
    assert erin.get(fragile.url("extra")).status_code == 404


def test_a_broken_configuration_is_refused_and_the_old_one_stays(
    fragile: Product, erin: Browser, original: dict[str, Any]
) -> None:
    workers, mark = fragile.pids("worker-0"), fragile.mark()
    broken = {**original, "apps": [{**original["apps"][0], "policies": [{"name": "x", "decision": "alow"}]}], "nonsense": 1}
    fragile.write_config(broken)
    fragile.hang_up()
    line = eventually(lambda: fragile.logs("configuration.refused", mark))[0]
    assert len(line["problems"]) >= 3
    assert all(problem.startswith(f"{fragile.config}:") for problem in line["problems"])
    fragile.config.write_text("apps: [")
    fragile.hang_up()
    eventually(lambda: len(fragile.logs("configuration.refused", mark)) == 2)
    fragile.config.unlink()
    fragile.hang_up()
    eventually(lambda: len(fragile.logs("configuration.refused", mark)) == 3)
    works(erin, fragile)
    works(erin, fragile, "lab")
    assert fragile.pids("worker-0") == workers
    fragile.write_config(original)
    entries = fragile.audit("--kind", "configuration-applied", "--limit", "3")
    assert [entry["outcome"] for entry in entries] == ["refused"] * 3


def test_a_configuration_that_needs_a_restart_says_so(fragile: Product, erin: Browser, original: dict[str, Any]) -> None:
    mark = fragile.mark()
    fragile.write_config({**original, "workers": 2, "operations_listen": "127.0.0.1:1"})
    fragile.hang_up()
    line = eventually(lambda: fragile.logs("configuration.needs-restart", mark))[0]
    assert set(line["settings"]) == {"workers", "operations_listen"}
    works(erin, fragile)


def test_asking_twice_at_once_applies_one_after_the_other(fragile: Product, erin: Browser) -> None:
    mark = fragile.mark()
    fragile.hang_up()
    eventually(lambda: fragile.logs("process.stopped", mark))  # the first is under way
    fragile.hang_up()
    eventually(lambda: len(fragile.logs("configuration.applied", mark)) == 2)
    works(erin, fragile)
    assert len(fragile.family()) == 2
