"""The viewer and who else is in the person's browser: sites that frame it, open it, or are gone to from it; and what it leaves on the disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from isolation.testing.fake_node import whole
from isolation.testing.viewer_site import STATIC, ViewerSite
from renderer.wire import messages as m
from tests.support.viewer import CHROMIUM, OPEN, Model, Open, Person, picture, true, until
from tests.support.viewer import chromium as chromium  # a fixture
from tests.support.viewer import open_viewer as open_viewer  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SECRET = "/run?month=5&ticket=of-the-app"


class Stranger:
    """Another site, which serves one page and keeps the heads of what it is asked."""

    def __init__(self) -> None:
        self.page = "<title>stranger</title>"
        self.heads: list[str] = []
        self.origin = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
                body = self.page.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def stranger() -> AsyncIterator[Stranger]:
    other = Stranger()
    server = await asyncio.start_server(other.serve, "127.0.0.1", 0)
    other.origin = f"http://stranger.localhost:{server.sockets[0].getsockname()[1]}"
    yield other
    server.close()


@contextlib.asynccontextmanager
async def visited(person: Person, other: Stranger) -> AsyncIterator[None]:
    """Let the person's tab go to a stranger, which the kit otherwise takes for a fault."""
    kept = list(person.requests)
    await person.page.goto(other.origin + "/")
    yield
    person.requests[:] = kept


@pytest.mark.case(63)
async def test_another_site_cannot_frame_the_viewer(open_viewer: Open) -> None:
    async with stranger() as other, open_viewer(SECRET) as person:
        await person.live()
        other.page = f"<title>frames</title><iframe src='{person.site.origin}/framed' width=800 height=500></iframe>"
        person.site.requests.clear()
        async with visited(person, other):
            await until(lambda: ("GET", "/framed") in person.site.requests)
            await until(lambda: any(frame.url.startswith("chrome-error:") for frame in person.page.frames))
            streams = [path for method, path in person.site.requests if method == "WEBSOCKET" or path.startswith("/.isolation/")]
            assert streams == [], "the framed page ran: it asked for its modules, a ticket or a stream"


@pytest.mark.case(63)
async def test_who_opened_the_viewer_has_no_hold_on_it(open_viewer: Open) -> None:
    async with stranger() as other, open_viewer(SECRET) as person:
        await person.live()
        other.page = (
            f"<title>opens</title><script>onclick = () => {{ w = open('{person.site.origin}/opened', 'named') }}</script>"
        )
        async with visited(person, other):
            async with person.context.expect_page() as opening:
                await person.page.mouse.click(50, 50)
            viewer = await opening.value
            await true(viewer, "globalThis.surface !== undefined && parseFloat(surface.style.width) > 0")
            assert await viewer.evaluate("[opener, name]") == [None, ""]
            # As if it had been closed: it can neither be sent elsewhere, nor spoken to, nor counted in frames.
            await true(person.page, "w.closed")
            await person.page.evaluate(f"w.location = '{other.origin}/elsewhere'; w.postMessage('hello', '*')")
            await viewer.evaluate("new Promise((done) => setTimeout(done, 300))")
            assert viewer.url == person.site.origin + "/opened"
            assert not any("/elsewhere" in head for head in other.heads)


@pytest.mark.case(63)
async def test_where_the_person_goes_next_is_not_told_where_they_were(open_viewer: Open) -> None:
    async with stranger() as other, open_viewer(SECRET, site={"origins": (other.origin,)}) as person:
        remote = await person.live()
        # The page goes to another app of ours: the whole tab goes there.
        await remote.send(m.Location(other.origin, "/other-app", 1, 2, False))
        await person.page.wait_for_url(other.origin + "/other-app")
        person.requests[:] = [url for url in person.requests if not url.startswith(other.origin)]
        (head,) = [head for head in other.heads if head.startswith("GET /other-app ")]
        assert "referer:" not in head.lower()
        assert "of-the-app" not in head
        assert await person.page.evaluate("[opener, document.referrer]") == [None, ""]


@pytest.mark.case(62)
async def test_nothing_of_the_app_stays_in_the_profile(tmp_path: Path) -> None:
    """What was shown, typed and told is in no file of the person's browser; the viewer's own modules, which are nobody's secret, are."""
    if not CHROMIUM:
        pytest.skip("chromium-headless-shell is not installed")
    async with ViewerSite(Model(), controls=OPEN) as site, async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=["--no-sandbox"], viewport={"width": 900, "height": 600}
        )
        page = context.pages[0]
        await page.goto(site.origin + "/run")
        await true(page, "parseFloat(surface.style.width) > 0 && !document.body.classList.contains('covered')")
        remote = site.node.page()
        await remote.send(m.Dialog(1, m.DialogKind.PROMPT, site.origin, "question-of-the-app", "answer-of-the-app"))
        await page.get_by_role("dialog").wait_for()
        await page.keyboard.press("Enter")
        await page.keyboard.type("typed")
        await remote.wait_for(lambda it: any(key.key == "d" for key in it.of(m.Key)))
        await remote.send(m.Clipboard("copied-of-the-app"))
        hello = remote.of(m.Hello)[0]
        await context.close()
    files = {path: path.read_bytes() for path in (tmp_path / "profile").rglob("*") if path.is_file() and not path.is_symlink()}
    assert any(STATIC.encode() in data for data in files.values()), "the browser keeps what it may keep"
    sent = max((paint.data for paint in whole(1, picture(hello.width, hello.height)).paints), key=len)
    middle = sent[len(sent) // 2 :][:32]
    assert len(middle) == 32
    for words in (b"of-the-app", "of-the-app".encode("utf-16-le"), middle, b"bob@contoso.example", b"data-configuration"):
        assert [path.name for path, data in files.items() if words in data] == [], words
