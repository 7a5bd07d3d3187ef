"""The store on a bad day: nobody is let in who should not be, people and operators are told, and it goes on by itself."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.app.product.test_failures import REFERENCE, one_line, title_of
from tests.support.browsing import Browser, closed_at
from tests.support.product import ALICE, ERIN, Product, eventually
from tests.support.upstream import MARK

TITLE = "We cannot check your access right now"


def kind_of(page: httpx.Response) -> str:
    if MARK in page.text:
        return "app"
    if "/.isolation/static/viewer/main.js" in page.text:
        return "viewer"
    return title_of(page)


def sees(browser: Browser, product: Product) -> str:
    return kind_of(browser.get(product.url("data", "/now")))


@contextlib.contextmanager
def disk_errors(product: Product) -> Iterator[None]:
    """Let every write to a file fail, for the router's worker alone. Works for any account."""
    worker = psutil.Process(product.pids("worker-0")[-1])
    before = worker.rlimit(psutil.RLIMIT_FSIZE)
    worker.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        worker.rlimit(psutil.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def full_disk(product: Product) -> Iterator[None]:
    """Fill the file system of the store to the last byte."""
    if not product.own_disk:
        pytest.skip("needs root, to mount a small file system")
    filler = product.state_dir / "filler"
    with contextlib.closing(sqlite3.connect(product.state_dir / "isolation.db", timeout=10)) as database:
        # What the store's log has been given already it could go on using.
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (1_000_000, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\0" * size)
        yield
    finally:
        filler.unlink()


@pytest.mark.parametrize("fault", [disk_errors, full_disk])
def test_a_disk_that_takes_nothing(fragile: Product, fault: object) -> None:
    product = fragile
    standing, raised = product.browser(ERIN), product.browser(product.newcomer("fay"))
    eventually(lambda: sees(standing, product) == sees(raised, product) == "app")
    socket = raised.websocket()
    newcomer = product.browser()
    mark = product.mark()
    with fault(product):  # type: ignore[operator]
        # A sign-in cannot be recorded, so it does not happen.
        page = newcomer.get(product.url("data", "/wanted"))
        assert (page.status_code, title_of(page)) == (503, TITLE)
        [reference] = set(REFERENCE.findall(page.text))
        assert one_line(product, "own_page.failed", reference)["code"] == "store"

        # A risk that rises is not written down as a decision; so nothing more is let through, and what is open ends.
        person = raised.fetch(product.url("data", "/.isolation/identity")).json()["email"]
        product.tenant.set_risk(person, "high")
        if fault is disk_errors:
            eventually(lambda: sees(raised, product) != "app", "it went on passing")
        else:
            # Here the directory's readings cannot be written either, and go stale.
            eventually(lambda: sees(raised, product) == sees(standing, product) == TITLE, "it went on passing")
        page = raised.get(product.url("data", "/now"))
        assert (page.status_code, title_of(page)) == (503, TITLE)
        [reference] = set(REFERENCE.findall(page.text))
        line = one_line(product, "request.failed", reference)
        assert line["code"] == "store"
        assert "disk" in line["error"]
        assert closed_at(socket)[1] == 1008
        answer = raised.fetch(product.url("data", "/data.json"))
        assert (answer.status_code, answer.json()["title"]) == (503, TITLE)
        if fault is disk_errors:
            # Whose decision stands is not bothered: nothing new is to be written for them.
            assert {sees(standing, product) for _ in range(10)} == {"app"}
        else:
            assert "disk is full" in product.cli("users", "tag", person, "--risk", "high", "--reason", "full", status=1)
    eventually(lambda: sees(raised, product) == "viewer", "it did not recover")
    eventually(lambda: sees(standing, product) == "app", "it did not recover")
    eventually(lambda: "oauth2" in str(newcomer.get(product.url("data", "/wanted")).url))
    assert newcomer.choose(newcomer.trail[-1], ALICE).url == product.url("data", "/wanted")
    assert product.pids("worker-0")[-1] == psutil.Process(product.pids("worker-0")[-1]).pid
    assert product.logs("process.ended", mark) == []


def test_a_store_that_somebody_holds_locked(fragile: Product) -> None:
    """A backup that hangs: what stands goes on, what is new waits, and is then told."""
    product = fragile
    browser, newcomer = product.browser(ERIN), product.browser()
    eventually(lambda: sees(browser, product) == "app")
    holder = sqlite3.connect(product.state_dir / "isolation.db", timeout=10, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        page = newcomer.get(product.url("data"))
        assert (page.status_code, title_of(page)) == (503, TITLE)
        eventually(lambda: any("locked" in line["reason"] for line in product.logs("store.failed")))
    finally:
        holder.rollback()
        holder.close()
    eventually(lambda: "oauth2" in str(newcomer.get(product.url("data")).url))
    eventually(lambda: sees(browser, product) == "app")


def test_a_store_that_cannot_be_read(fragile: Product) -> None:
    """Somebody put another file in its place. People are told, nobody passes; put right, it goes on without a restart."""
    product = fragile
    browser = product.browser(ERIN)
    eventually(lambda: sees(browser, product) == "app")
    product.stop()
    database = product.state_dir / "isolation.db"
    good = database.read_bytes()
    mark = product.mark()
    try:
        database.write_bytes(b"This is not a database. " * 1000)
        product.start(wait=False)
        product.wait_for("/healthz")
        page = browser.get(product.url("data", "/now?x=1"))
        assert (page.status_code, title_of(page)) == (503, TITLE)
        [reference] = set(REFERENCE.findall(page.text))
        assert "not a SQLite database" in one_line(product, "request.failed", reference)["error"]
        assert browser.get(product.url("data", "/.isolation/static/pages.css")).headers["content-type"].startswith("text/css")
        answer = browser.fetch(product.url("data"))
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert product.browser().get(product.url("auth")).status_code == 503
        ready = product.operations("/readyz")
        assert ready.status_code == 503
        assert "not a SQLite database" in ready.json()["store"]
        assert product.logs("store.unusable", mark)
        assert product.logs("decision", mark) == []
        assert "not a SQLite database" in product.cli("users", "show", ERIN, status=1)
        assert product.upstream.of("/now")[-1].target == "/now"  # nothing since
    finally:
        database.write_bytes(good)
    eventually(lambda: sees(browser, product) == "app", "it did not recover")
    assert len(product.logs("process.started", mark, name="worker-0")) == 1


def test_a_store_that_is_ruined_while_it_runs(fragile: Product) -> None:
    """Its file is overwritten under the running router. Until it is put back nobody gets more than they had."""
    product = fragile
    browser, risky = product.browser(ERIN), product.browser(product.newcomer("ruth", risk="high"))
    eventually(lambda: sees(risky, product) == "viewer")
    assert sees(browser, product) == "app"
    backup = product.home / "backup.db"
    with contextlib.closing(sqlite3.connect(product.state_dir / "isolation.db", timeout=10)) as live:
        live.execute(f"VACUUM INTO '{backup}'")
    database = product.state_dir / "isolation.db"
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.write(os.urandom(size))
    allowed = {"app", "viewer", TITLE}
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        assert sees(browser, product) in allowed
        assert sees(risky, product) in allowed - {"app"}
        time.sleep(0.1)
    newcomer = product.browser()
    page = newcomer.get(product.url("data"))
    assert page.status_code == 503 or "oauth2" in str(page.url)
    product.stop()
    for path in product.state_dir.glob("isolation.db*"):
        path.unlink()
    database.write_bytes(backup.read_bytes())
    database.chmod(0o600)
    product.start()
    eventually(lambda: sees(browser, product) == "app", "it did not recover")
