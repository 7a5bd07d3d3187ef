"""Risk that changes while people work."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import WebSocket, expect

from tests.support.demo.person import Person, until
from tests.support.demo.running import Demo

pytestmark = [pytest.mark.browser, pytest.mark.demo, pytest.mark.timeout(240)]


@pytest.mark.case(57)
def test_a_tag_moves_somebody_at_work_into_isolation_and_its_end_moves_them_back(
    demo: Demo, visit: Callable[..., Person], figures: dict[str, float]
) -> None:
    notebook = demo.notebook("moved")
    address = f"{demo.lab}/lab/workspaces/moved/tree/{notebook}"
    alice = visit("Alice Archer", demo.auth)
    page = alice.page
    sockets: list[WebSocket] = []

    def opened(socket: WebSocket) -> None:  # Playwright takes no built-in method
        sockets.append(socket)

    page.on("websocket", opened)
    page.goto(address)
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")).to_be_visible()
    (kernel,) = until(page, "the kernel's WebSocket", lambda: [socket for socket in sockets if "/api/kernels/" in socket.url])
    closed: list[float] = []
    kernel.on("close", lambda _: closed.append(time.monotonic()))
    assert not kernel.is_closed()

    demo.product.isolation("users", "tag", "alice", "--risk", "high", "--for", "2h", "--reason", "phishing report")
    tagged = time.monotonic()
    until(page, "the end of the kernel's WebSocket", lambda: closed, seconds=5)
    # From the end of the command, which is later than the change: below zero where the socket was gone first.
    figures["from the tag's command to the end of the kernel's WebSocket"] = closed[0] - tagged
    alice.shot("cut-off")
    open_ones = [socket for socket in sockets if not socket.is_closed()]
    page.wait_for_timeout(1500)
    assert not [socket for socket in sockets if not socket.is_closed() and socket not in open_ones], "a WebSocket came back"

    # What still runs of the app in this browser gets nothing any more.
    status = page.evaluate("fetch('/api/contents').then(answer => answer.status)")
    assert status == 403
    page.goto(address)
    assert alice.isolated
    alice.ready()
    until(page, "the notebook's title", lambda: notebook in page.title())
    alice.shot("isolated")

    demo.product.isolation("users", "untag", "alice")
    untagged = time.monotonic()
    page.locator(".jp-Notebook").wait_for()
    figures["from the untag's command to JupyterLab itself in the tab"] = time.monotonic() - untagged
    assert not alice.isolated
    assert page.url == address
    alice.shot("released")


@pytest.mark.case(57)
def test_a_level_that_changes_in_the_tenant_isolates_within_a_poll(
    demo: Demo, visit: Callable[..., Person], figures: dict[str, float]
) -> None:
    erin = visit("Erin Eriksen", f"{demo.data}/payments")
    assert not erin.isolated
    tenant = f"http://localhost:{demo.port + 1}/_tenant/people/erin"
    answer = erin.page.request.post(tenant, form={"risk": "high"})
    assert answer.ok, answer.text()
    raised = time.monotonic()
    try:

        def isolated() -> bool:
            erin.page.goto(f"{demo.data}/payments")
            return erin.isolated

        until(erin.page, "the viewer", isolated, step=100)
        figures["from a level raised in the tenant to the viewer (poll interval 2 s)"] = time.monotonic() - raised
        erin.ready()
    finally:
        answer = erin.page.request.post(tenant, form={"risk": "none"})
        assert answer.ok, answer.text()
    erin.page.get_by_text("Custom SQL query").wait_for()  # by itself
    assert not erin.isolated
