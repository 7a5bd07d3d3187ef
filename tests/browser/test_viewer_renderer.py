"""The whole chain but for decisions: a person's browser, the viewer, the relay, a real node and its sandboxed Chromium."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright

from isolation.broker.model import EgressAddress, NodeAddress
from isolation.policy.controls import Clipboard, Controls
from isolation.testing.viewer_site import ViewerSite
from tests.support.isolated import Credentials
from tests.support.renderer import TOKEN, Gateway, NodeProcess, new_runtime_dir, node_process, open_to_all

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

CHROMIUM = shutil.which("chromium-headless-shell")
FORM = """<!doctype html><title>Form</title><style>body{margin:0;font:16px sans-serif;background:#fff}input,select,a{position:absolute;left:20px;width:200px}</style>
<input id=t style="top:20px" oninput="document.title=how+this.value"><select style="top:80px" onchange="document.title='chose '+this.value">
<option value=a>Alpha<option value=b>Beta</select><a href="/next?x=1" style="top:140px">next</a>
<script>how='typed ';addEventListener('paste',()=>how='pasted ')</script>"""
NEXT = "<!doctype html><title>Next</title><body style='background:#def'>next page<script>onclick=()=>{window.open('/popped')}</script>"


def is_browser(pid: int) -> bool:
    """Say whether a process is Chromium's first, and no helper of it."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"chrom" in command.partition(b"\0")[0] and b"--type=" not in command


INK = """!document.body.classList.contains('covered') && parseFloat(surface.style.width) > 0 &&
  surface.getContext('2d').getImageData(0, 0, 300, 200).data.some((byte) => byte < 128)"""


async def shown(page: Page, seconds: float = 15) -> None:
    """Wait until the page's words can be seen: what is not painted yet cannot be clicked."""
    async with asyncio.timeout(seconds):
        while not await page.evaluate(INK):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def titled(page: Page, title: str, seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while await page.title() != title:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with Gateway() as running:
        running.credentials = Credentials()
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node() -> AsyncIterator[NodeProcess]:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "0") as running:
        yield running
    shutil.rmtree(runtime_dir.parent)


@pytest_asyncio.fixture(loop_scope="module")
async def site(node: NodeProcess, gateway: Gateway) -> AsyncIterator[ViewerSite]:
    running = ViewerSite(
        controls=Controls(clipboard=Clipboard.BOTH),
        address=NodeAddress("real", f"ws://127.0.0.1:{node.port}", TOKEN),
        egress=EgressAddress("127.0.0.1", gateway.port, ""),
    )
    async with running:
        for path, body in (("/form", FORM), ("/next", NEXT), ("/popped", "<title>Popped</title>popped")):
            gateway.html(path, body, running.origin)
        yield running
        assert running.grant is not None
        await running.leases.end(running.grant.session_digest, "test")


@pytest_asyncio.fixture(loop_scope="module")
async def page(site: ViewerSite) -> AsyncIterator[Page]:
    if not CHROMIUM:
        pytest.skip("chromium-headless-shell is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(viewport={"width": 800, "height": 600})
        await context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.origin)
        opened = await context.new_page()
        await opened.goto(site.origin + "/form")
        await titled(opened, "Form")
        await shown(opened)
        yield opened
        await browser.close()


@pytest.mark.feature("typing", by="keyboard")
@pytest.mark.feature("copy, cut, paste", by="keyboard")
@pytest.mark.feature("drop-downs", by="mouse")
async def test_a_form_is_worked_with_by_mouse_and_keyboard(site: ViewerSite, page: Page) -> None:
    await page.mouse.click(60, 30)
    await page.keyboard.type("Grüße 1")
    await titled(page, "typed Grüße 1")
    # a drop-down, drawn by the viewer
    await page.mouse.click(60, 90)
    await page.get_by_role("option", name="Beta").click()
    await titled(page, "chose b")
    # copy out, paste in
    await page.mouse.click(60, 30)
    await page.keyboard.press("Control+a")
    await page.keyboard.press("Control+c")
    await page.locator(".toast", has_text="Copied to your clipboard").wait_for()
    # by way of the device's clipboard, which nothing on this page may read
    await page.keyboard.press("Control+v")
    await titled(page, "pasted Grüße 1")


@pytest.mark.feature("back, forward, reload", by="mouse")
@pytest.mark.feature("new windows and tabs, opener kept, capped", by="mouse")
@pytest.mark.feature("bookmarks of deep addresses", by="mouse")
async def test_address_back_forward_and_windows(site: ViewerSite, page: Page) -> None:
    await page.mouse.click(40, 150)
    await page.wait_for_url(f"{site.origin}/next?x=1")
    await titled(page, "Next")
    await page.go_back()
    await page.wait_for_url(f"{site.origin}/form")
    await titled(page, "Form")
    await page.go_forward()
    await titled(page, "Next")
    async with page.context.expect_page() as opening:
        await page.mouse.click(300, 300)
    tab = await opening.value
    await titled(tab, "Popped")
    assert tab.url == f"{site.origin}/popped"
    await tab.close()
    await page.reload()
    await titled(page, "Next")
    assert page.url == f"{site.origin}/next?x=1"


async def until_covered(page: Page) -> None:
    """Wait until the page has said that the browser stopped."""
    async with asyncio.timeout(30):
        while "The isolated browser stopped" not in await page.evaluate("() => document.documentElement.dataset.shown"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.alone
async def test_a_killed_browser_is_back_within_three_seconds(site: ViewerSite, page: Page, node: NodeProcess) -> None:
    await page.mouse.click(40, 150)
    await titled(page, "Next")
    chromium = [pid for pid in node.children() if is_browser(pid)]
    assert chromium
    # The cover may stand for a moment only: whoever looks now and then could miss it, so the page itself notes what it shows.
    await page.evaluate(
        """() => {
          const note = () => document.querySelectorAll("h1, h2, h3").forEach((heading) => {
            if (heading.checkVisibility()) document.documentElement.dataset.shown += "|" + heading.textContent;
          });
          document.documentElement.dataset.shown = "";
          new MutationObserver(note).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
        }"""
    )
    for pid in chromium:
        os.kill(pid, signal.SIGKILL)
    await until_covered(page)
    await shown(page, 3)
    await titled(page, "Next")
    assert page.url == f"{site.origin}/next?x=1"
