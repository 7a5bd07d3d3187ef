"""The viewer in a real browser, in front of a node that is played: what the person does arrives, and what the page says stays harmless."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright

from isolation.policy.model import Clipboard, Controls
from isolation.testing.fake_node import FakePage, paints
from isolation.testing.viewer_site import ViewerSite
from renderer.wire import messages as m

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

CHROMIUM = shutil.which("chromium-headless-shell")
EVIL = "</title><img src=x onerror=\"window.hacked=1;new Image().src='http://evil.example/x'\"><script>window.hacked=1</script>"
OPEN = Controls(clipboard=Clipboard.BOTH)


def picture(width: int, height: int) -> Any:
    """Return something to look at that every codec bug would change: gradients, hard edges, noise."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.dstack([(x * 255 // max(1, width)), (y * 255 // max(1, height)), (x ^ y) % 256]).astype(np.uint8)
    image[20:60, 20:200] = (255, 255, 255)
    return image


@dataclass
class Model:
    """What an honest page does: it keeps a history and shows a picture."""

    paths: list[str] = field(default_factory=list)
    index: int = 0

    async def __call__(self, page: FakePage, message: m.ToRenderer) -> None:
        match message:
            case m.Hello():
                if not self.paths or len(page.of(m.Hello)) == 1:
                    self.paths, self.index = [message.path], 0
                await self.tell(page, replace=True)
                await page.send(m.Title("Run for May"))
                await page.show(picture(message.width * message.scale // 100, message.height * message.scale // 100))
            case m.Navigate(path):
                await self.go(page, path)
            case m.History(delta):
                self.index = max(0, min(len(self.paths) - 1, self.index + delta))
                await self.tell(page)
            case m.Refresh() | m.Resize():
                hello = page.of(m.Resize)[-1] if page.of(m.Resize) else page.of(m.Hello)[-1]
                await page.show(picture(hello.width, hello.height))
            case _:
                pass

    async def go(self, page: FakePage, path: str) -> None:
        self.paths = [*self.paths[: self.index + 1], path]
        self.index += 1
        await self.tell(page)

    async def tell(self, page: FakePage, *, replace: bool = False) -> None:
        await page.send(m.Location(page.origin, self.paths[self.index], self.index, len(self.paths), replace))


@dataclass
class Person:
    site: ViewerSite
    context: BrowserContext
    page: Page
    model: Model
    requests: list[str]
    errors: list[str]

    @property
    def remote(self) -> FakePage:
        return self.site.node.page()

    async def live(self) -> FakePage:
        """Wait until the picture is there."""
        await true(self.page, "parseFloat(surface.style.width) > 0 && !document.body.classList.contains('covered')")
        await until(lambda: bool(self.site.node.pages) and bool(self.remote.of(m.Ack)))
        return self.remote

    async def got(self, kind: type, seconds: float = 10) -> Any:
        """Wait for a message of a kind; return the newest."""
        await self.remote.wait_for(lambda it: bool(it.of(kind)), seconds)
        return self.remote.of(kind)[-1]


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


async def true(page: Page, expression: str, seconds: float = 10) -> None:
    """Wait until an expression holds. Not wait_for_function, which evaluates strings inside the page: its policy forbids that."""
    async with asyncio.timeout(seconds):
        while not await page.evaluate(expression):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chromium() -> AsyncIterator[Browser]:
    if not CHROMIUM:
        pytest.skip("chromium-headless-shell is not installed")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        await running.close()


Open = Callable[..., Any]


@pytest.fixture
def open_viewer(chromium: Browser) -> Open:
    @asynccontextmanager
    async def opened(
        path: str = "/run?month=5", *, controls: Controls = OPEN, site: dict[str, Any] | None = None, **context: Any
    ) -> AsyncIterator[Person]:
        model = Model()
        async with ViewerSite(model, controls=controls) as running:
            for name, value in (site or {}).items():
                setattr(running, name, value)
            window = await chromium.new_context(viewport={"width": 900, "height": 600}, **context)
            window.set_default_timeout(10_000)
            requests: list[str] = []
            errors: list[str] = []

            def seen(request: Request) -> None:
                requests.append(request.url)

            window.on("request", seen)
            window.on("weberror", lambda error: errors.append(str(error.error)))
            page = await window.new_page()
            await page.goto(running.origin + path)
            person = Person(running, window, page, model, requests, errors)
            try:
                yield person
            finally:
                await window.close()
            assert errors == []
            strangers = [url for url in requests if not url.startswith((running.origin + "/", "data:", "blob:" + running.origin))]
            assert strangers == []

    return opened


async def pixels(page: Page) -> Any:
    url = await page.evaluate("document.getElementById('surface').toDataURL()")
    return imagecodecs.png_decode(base64.b64decode(url.partition(",")[2]))[..., :3]


# ---------------------------------------------------------------- picture


async def test_the_picture_is_exact_through_paints_and_copies(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        expected = picture(900, 600)
        assert (await pixels(person.page) == expected).all()
        # two copies whose target is the other's source, and paints over them
        old = expected.copy()
        copies = (m.Copy(0, 0, 300, 100, 200, 150), m.Copy(300, 100, 0, 0, 200, 150), m.Copy(0, 40, 0, 0, 900, 500))
        for c in copies:
            expected[c.y : c.y + c.height, c.x : c.x + c.width] = old[c.sy : c.sy + c.height, c.sx : c.sx + c.width]
        expected[500:540, 600:700] = 77
        remote.seq += 1
        await remote.send(
            m.Frame(
                remote.seq,
                900,
                600,
                False,
                copies,
                (*paints(expected, 600, 500, 100, 40), m.Paint(0, 590, 900, 10, m.Encoding.FILL, b"\x01\x02\x03")),
            )
        )
        expected[590:600] = (1, 2, 3)
        await remote.wait_for(lambda it: it.of(m.Ack)[-1].seq == it.seq)
        assert (await pixels(person.page) == expected).all()


async def test_a_picture_that_cannot_be_decoded_is_asked_for_again(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        good = paints(picture(900, 600), 0, 0, 100, 100)[0]
        broken = m.Paint(0, 0, good.width, good.height, good.encoding, good.data[:25] + bytes(len(good.data) - 25))
        remote.seq += 1
        await remote.send(m.Frame(remote.seq, 900, 600, False, (), (broken,)))
        await person.got(m.Refresh)
        await remote.wait_for(lambda it: it.of(m.Ack)[-1].seq == it.seq)
        assert (await pixels(person.page) == picture(900, 600)).all()


async def test_fine_screens_get_fine_pictures(open_viewer: Open) -> None:
    async with open_viewer(device_scale_factor=2) as person:
        remote = await person.live()
        assert remote.of(m.Hello)[0].scale == 200
        assert await person.page.evaluate("[surface.width, surface.clientWidth]") == [1800, 900]
        await person.page.mouse.click(450, 300)
        assert (await person.got(m.Pointer)).x == 450


async def test_a_window_that_changes_its_size_tells_so(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        await person.page.set_viewport_size({"width": 700, "height": 500})
        await person.remote.wait_for(lambda it: bool(it.of(m.Resize)))
        assert await person.got(m.Resize) == m.Resize(700, 500)
        await true(person.page, "surface.width === 700")


# ---------------------------------------------------------------- input


async def test_typing(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.page.keyboard.type("Ab1 €")
        await person.page.keyboard.press("Control+Shift+Enter")
        await remote.wait_for(lambda it: any(k.key == "Control" and not k.down for k in it.of(m.Key)) and bool(it.of(m.Text)))
        typed = [k.key for k in remote.of(m.Key) if k.down]
        assert typed[:4] == ["A", "b", "1", " "]
        assert [t.text for t in remote.of(m.Text)] == ["€"]  # no key has it: it comes as text
        assert m.Key(True, "Enter", "Enter", 0, 10, False) in remote.of(m.Key)
        held = [(k.code, k.down) for k in remote.of(m.Key)]
        assert all(held.count((code, True)) == held.count((code, False)) for code, _ in held)


async def test_an_input_method_composes(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        session = await person.context.new_cdp_session(person.page)
        await session.send("Input.imeSetComposition", {"text": "に", "selectionStart": 1, "selectionEnd": 1})
        await session.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
        await session.send("Input.insertText", {"text": "日本"})
        await remote.wait_for(lambda it: bool(it.of(m.Text)))
        assert [c.text for c in remote.of(m.Composition)][:2] == ["に", "にほん"]
        assert [t.text for t in remote.of(m.Text)] == ["日本"]
        await session.send("Input.insertText", {"text": "👩‍💻"})
        await remote.wait_for(lambda it: len(it.of(m.Text)) == 2)
        assert remote.of(m.Text)[1].text == "👩‍💻"


async def test_keys_are_let_go_when_the_window_loses_sight_of_them(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.page.keyboard.down("Shift")
        await person.page.evaluate("document.activeElement.blur()")
        await remote.wait_for(lambda it: any(not k.down for k in it.of(m.Key)))
        assert remote.of(m.Key)[-1].key == "Shift"


async def test_mouse(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        mouse = person.page.mouse
        await mouse.dblclick(100, 120)
        await mouse.click(50, 60, button="right")
        await mouse.move(10, 10)
        await mouse.down()
        for x in range(10, 400, 10):
            await mouse.move(x, 200)
        await mouse.up()
        await remote.wait_for(lambda it: sum(p.kind is m.PointerKind.UP for p in it.of(m.Pointer)) == 4)
        presses = [
            (p.kind, p.x, p.y, p.button, p.buttons, p.clicks) for p in remote.of(m.Pointer) if p.kind is not m.PointerKind.MOVE
        ]
        down, up = m.PointerKind.DOWN, m.PointerKind.UP
        assert presses == [
            (down, 100, 120, 0, 1, 1), (up, 100, 120, 0, 0, 1), (down, 100, 120, 0, 1, 2), (up, 100, 120, 0, 0, 2),
            (down, 50, 60, 2, 2, 1), (up, 50, 60, 2, 0, 1), (down, 10, 10, 0, 1, 1), (up, 390, 200, 0, 0, 1),
        ]  # fmt: skip
        # where the pointer went last comes before what it does there
        last = [p for p in remote.of(m.Pointer) if p.buttons == 1 and p.kind is m.PointerKind.MOVE][-1]
        assert (last.x, last.y) == (390, 200)


async def test_wheel_is_gathered_and_nothing_is_lost(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.page.mouse.move(300, 300)
        for _ in range(20):
            await person.page.mouse.wheel(0, 33)
        await remote.wait_for(lambda it: sum(w.dy for w in it.of(m.Wheel)) == 660)
        assert {(w.x, w.y, w.dx) for w in remote.of(m.Wheel)} == {(300, 300, 0)}


async def test_touch_taps_and_scrolls(open_viewer: Open) -> None:
    async with open_viewer(has_touch=True) as person:
        remote = await person.live()
        await person.page.touchscreen.tap(200, 200)
        await remote.wait_for(lambda it: any(p.kind is m.PointerKind.UP for p in it.of(m.Pointer)))
        session = await person.context.new_cdp_session(person.page)
        await session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": 300, "y": 400}]})
        for y in (380, 340, 300):
            await session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": 300, "y": y}]})
        await session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        await remote.wait_for(lambda it: sum(w.dy for w in it.of(m.Wheel)) >= 100)
        assert len([p for p in remote.of(m.Pointer) if p.kind is m.PointerKind.DOWN]) == 1


async def test_keyboard_off(open_viewer: Open) -> None:
    async with open_viewer(controls=Controls(keyboard=False)) as person:
        remote = await person.live()
        await person.page.keyboard.type("secret")
        await person.page.locator(".toast", has_text="Typing is turned off").wait_for()
        assert remote.of(m.Key) == remote.of(m.Text) == []


# ---------------------------------------------------------------- clipboard

PASTE = """text => { const data = new DataTransfer(); data.setData('text/plain', text); data.setData('text/html', '<b>x</b>');
  document.getElementById('keys').dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})); }"""


@pytest.mark.parametrize(
    ("clipboard", "goes"),
    [(Clipboard.BOTH, True), (Clipboard.TO_APP, True), (Clipboard.FROM_APP, False), (Clipboard.NONE, False)],
)
async def test_paste_goes_where_the_controls_say(open_viewer: Open, clipboard: Clipboard, goes: bool) -> None:
    async with open_viewer(controls=Controls(clipboard=clipboard)) as person:
        remote = await person.live()
        await person.page.evaluate(PASTE, "two\nlines")
        if goes:
            assert await person.got(m.Paste) == m.Paste("two\nlines")
        else:
            await person.page.locator(".toast", has_text="Pasting from your device is turned off").wait_for()
            # The key goes, so that what was copied inside can be pasted inside.
            await person.page.keyboard.press("Control+v")
            await remote.wait_for(lambda it: any(k.key == "v" for k in it.of(m.Key)))
            assert remote.of(m.Paste) == []


async def test_copied_text_reaches_the_clipboard_or_is_offered(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Clipboard("first"))
        offer = person.page.get_by_role("dialog", name="Copied text")
        await offer.wait_for()
        assert await offer.locator("textarea").input_value() == "first"
        await person.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=person.site.origin)
        await offer.get_by_role("button", name="Copy").click()
        await offer.wait_for(state="detached")
        await remote.send(m.Clipboard("second"))
        await person.page.locator(".toast", has_text="Copied to your clipboard").wait_for()


# ---------------------------------------------------------------- address, history, reload, windows


async def test_the_address_follows_and_back_and_forward_work(open_viewer: Open) -> None:
    async with open_viewer("/run?month=5#top") as person:
        remote = await person.live()
        page, origin, model = person.page, person.site.origin, person.model
        assert page.url == f"{origin}/run?month=5#top"
        await model.go(remote, "/people")
        await page.wait_for_url(f"{origin}/people")
        await model.go(remote, "//evil.example/x")
        await page.wait_for_url(f"{origin}//evil.example/x")
        await page.evaluate("history.back()")
        await remote.wait_for(lambda it: it.of(m.History) == [m.History(-1)])
        await page.wait_for_url(f"{origin}/people")
        await page.evaluate("history.go(-1)")
        await page.wait_for_url(f"{origin}/run?month=5#top")
        await page.evaluate("history.go(2)")
        await remote.wait_for(lambda it: it.of(m.History) == [m.History(-1), m.History(-1), m.History(2)])
        await page.wait_for_url(f"{origin}//evil.example/x")
        # the page goes back by itself: so does the tab
        model.index = 1
        await model.tell(remote)
        await page.wait_for_url(f"{origin}/people")
        await page.evaluate("history.forward()")
        await remote.wait_for(lambda it: it.of(m.History)[3:] == [m.History(1)])


async def test_reload_keeps_the_page_and_reloads_it(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.page.keyboard.press("F5")
        assert await person.got(m.Reload) == m.Reload(False)
        await person.page.keyboard.press("Control+Shift+R")
        await remote.wait_for(lambda it: m.Reload(True) in it.of(m.Reload))
        await person.page.reload()
        await remote.wait_for(lambda it: len(it.of(m.Hello)) == 2 and len(it.of(m.Reload)) == 3)
        assert remote.of(m.Hello)[1].page == remote.id
        assert len(person.site.node.pages) == 1


async def test_a_typed_address_and_the_way_back_to_the_page_before(open_viewer: Open) -> None:
    async with open_viewer() as person:
        first = await person.live()
        await person.page.goto(person.site.origin + "/reports")
        await until(lambda: len(person.site.node.pages) == 2)
        assert person.remote.of(m.Hello)[0].path == "/reports"
        await person.page.go_back()
        await first.wait_for(lambda it: len(it.of(m.Hello)) == 2)
        assert first.of(m.Hello)[1].page == first.id


async def test_a_changed_fragment_navigates(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        await person.page.evaluate("location.hash = 'part-2'")
        assert await person.got(m.Navigate) == m.Navigate("/run?month=5#part-2")


async def test_a_foreign_origin_is_shown_as_what_it_is(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        before = person.page.url
        await remote.send(m.Location("https://xn--pypal-4ve.example", "/login", 1, 2, False))
        strip = person.page.get_by_role("region", name="Address of the page")
        await strip.get_by_text("https://xn--pypal-4ve.example", exact=True).wait_for()
        assert person.page.url == before
        await person.remote.wait_for(lambda it: bool(it.of(m.Resize)))  # it takes room, it covers nothing
        await strip.get_by_role("button", name="Back to Payroll").click()
        assert await person.got(m.Navigate) == m.Navigate("/run?month=5")
        await remote.send(m.Location(remote.origin, "/run?month=5", 2, 3, False))
        await strip.wait_for(state="hidden")


async def test_another_app_of_the_router_is_opened_as_itself(open_viewer: Open) -> None:
    async with open_viewer(site={"origins": ("http://lab.localhost:1",)}) as person:
        remote = await person.live()
        await person.context.route("http://lab.localhost:1/**", lambda route: route.fulfill(body="the lab"))
        await remote.send(m.Location("http://lab.localhost:1", "/tree?x=1", 1, 2, False))
        await person.page.wait_for_url("http://lab.localhost:1/tree?x=1")
        person.requests[:] = [url for url in person.requests if not url.startswith("http://lab.localhost:1/")]


async def test_the_routers_own_addresses_are_not_mirrored(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Location(remote.origin, "/.isolation/sign-out", 1, 2, False))
        await remote.send(m.Title("seen"))
        await true(person.page, "document.title === 'seen'")
        assert person.page.url == person.site.origin + "/run?month=5"


async def test_a_window_the_page_opens_becomes_a_tab(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        waiting = await person.site.node.new_page(remote)
        async with person.context.expect_page() as opening:
            await person.page.mouse.click(10, 10)
            await remote.send(m.Opened(waiting.id, remote.origin, "/help"))
        tab = await opening.value
        await waiting.wait_for(lambda it: bool(it.of(m.Hello)))
        assert waiting.of(m.Hello)[0].page == waiting.id
        assert tab.url == person.site.origin + "/help"
        await true(tab, "document.getElementById('surface').width > 0")
        await waiting.send(m.Closed(m.CloseCode.PAGE_CLOSED))
        await until(tab.is_closed)


async def test_a_window_the_browser_blocks_is_offered(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        waiting = await person.site.node.new_page(remote)
        await person.page.evaluate("window.open = () => null")
        await remote.send(m.Opened(waiting.id, remote.origin, "/help"))
        await person.page.locator(".toast", has_text="The page opened a new window").get_by_role("button", name="Open").wait_for()


# ---------------------------------------------------------------- hostile texts


async def inert(person: Person) -> None:
    assert await person.page.evaluate("window.hacked") is None
    assert await person.page.locator("img").count() == 0
    assert await person.page.locator("script").count() == 1


async def test_hostile_texts_stay_texts(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        evil = EVIL + "\u202egpj.exe"
        await remote.send(m.Title(evil))
        await true(person.page, "document.title.includes('onerror')")
        await remote.send(m.Dialog(1, m.DialogKind.PROMPT, "", evil, evil))
        dialog = person.page.locator("dialog")
        await dialog.wait_for()
        shown = await dialog.locator(".dialog-text").text_content()
        assert shown == EVIL + "gpj.exe"
        await inert(person)
        await person.page.keyboard.press("Escape")
        await remote.send(
            m.Select(2, m.SelectKind.OPTIONS, 10, 10, 100, 20, False, (m.Option(evil, evil, False, True),), "", "", "")
        )
        await person.page.locator("[role=option]", has_text="onerror").wait_for()
        await inert(person)
        await person.page.keyboard.press("Escape")
        await remote.send(m.Clipboard(evil))
        await person.page.get_by_role("dialog", name="Copied text").wait_for()
        await person.model.go(remote, "/?q=<script>alert(1)</script>")
        await remote.send(m.Opened("pg_1", "https://evil.example", "/<script>"))
        await true(person.page, "location.search.length > 0")
        await inert(person)


async def test_the_pages_icon_is_data_and_nothing_else(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Icon(base64.b64encode(imagecodecs.png_encode(np.full((32, 32, 4), 9, np.uint8))).decode()))
        await true(person.page, "document.getElementById('icon').href.startsWith('data:image/png;base64,')")
        await remote.send(m.Icon(""))
        await true(person.page, "document.getElementById('icon').href.endsWith('/icon.svg')")


async def test_the_pages_policy_holds_against_script(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        tries = """async () => {
          const out = [];
          const blocked = async (name, what) => { try { await what(); out.push(name); } catch { } };
          await blocked('innerHTML', () => { document.body.innerHTML = '<b>x</b>'; });
          await blocked('fetch', () => fetch('http://127.0.0.1:9/'));
          await blocked('socket', () => new Promise((yes, no) => { const s = new WebSocket('ws://127.0.0.1:9/'); s.onopen = yes; s.onerror = no; }));
          await blocked('eval', () => Function('return 1')());
          await blocked('worker', () => new Worker('/.isolation/static/viewer/main.js'));
          return out; }"""
        # Through the protocol, not page.evaluate: the page's own policy has to apply.
        session = await person.context.new_cdp_session(person.page)
        result = await session.send(
            "Runtime.evaluate", {"expression": f"({tries})()", "awaitPromise": True, "returnByValue": True}
        )
        assert result["result"]["value"] == []


# ---------------------------------------------------------------- dialogs and pop-ups


@pytest.mark.parametrize(
    ("kind", "press", "answer"),
    [
        (m.DialogKind.ALERT, "Enter", (True, "")),
        (m.DialogKind.ALERT, "Escape", (True, "")),
        (m.DialogKind.CONFIRM, "Escape", (False, "")),
        (m.DialogKind.CONFIRM, "Enter", (True, "")),
        (m.DialogKind.PROMPT, "Enter", (True, "BK")),
        (m.DialogKind.BEFORE_UNLOAD, "Escape", (False, "")),
    ],
)
async def test_dialogs(open_viewer: Open, kind: m.DialogKind, press: str, answer: tuple[bool, str]) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Dialog(7, kind, remote.origin, "Approve the run?", "BK"))
        dialog = person.page.get_by_role("dialog")
        await dialog.wait_for()
        if kind is not m.DialogKind.BEFORE_UNLOAD:
            assert person.site.origin in (await dialog.text_content() or "")
        await person.page.keyboard.press(press)
        reply = await person.got(m.DialogReply)
        assert (reply.id, reply.accept, reply.text) == (7, *answer)
        await dialog.wait_for(state="detached")
        await person.page.keyboard.type("x")
        await remote.wait_for(lambda it: any(k.key == "x" for k in it.of(m.Key)))


async def test_who_stays_keeps_the_tabs_address(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.model.go(remote, "/people")
        await person.page.wait_for_url("**/people")
        model = person.site.node.script

        async def asks(page: FakePage, message: m.ToRenderer) -> None:
            if isinstance(message, m.History):
                await page.send(m.Dialog(1, m.DialogKind.BEFORE_UNLOAD, page.origin, "", ""))
            else:
                await model(page, message)

        person.site.node.script = asks
        await person.page.evaluate("history.back()")
        await person.page.get_by_role("button", name="Stay").click()
        await person.page.wait_for_url("**/people")


MONTHS = tuple(
    m.Option(name, "First half" if i < 2 else "Second half", i == 2, i == 0)
    for i, name in enumerate(("January", "February", "July", "August"))
)


async def drop_down(person: Person, *, multiple: bool = False) -> None:
    await person.remote.send(m.Select(3, m.SelectKind.OPTIONS, 40, 40, 160, 30, multiple, MONTHS, "", "", ""))
    await person.page.get_by_role("listbox").wait_for()


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (["ArrowDown", "Enter"], ("1",)),
        (["ArrowDown", "ArrowDown", "Enter"], ("3",)),  # over the one that is disabled
        (["End", "ArrowUp", "Enter"], ("1",)),
        (["a", "Enter"], ("3",)),
        (["f", "e", "b", " "], ("1",)),
        (["Escape"], ()),
    ],
)
async def test_a_drop_down_by_keyboard(open_viewer: Open, keys: list[str], values: tuple[str, ...]) -> None:
    async with open_viewer() as person:
        await person.live()
        await drop_down(person)
        for key in keys:
            if key == " ":
                await asyncio.sleep(0.9)  # a blank typed on would be part of the word
            await person.page.keyboard.press(key)
        assert await person.got(m.SelectReply) == m.SelectReply(3, values)
        assert await person.page.get_by_role("listbox").count() == 0
        assert person.remote.of(m.Key) == []


async def test_a_drop_down_by_mouse(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await drop_down(person)
        box = await person.page.locator(".popup").bounding_box()
        assert box is not None
        assert (round(box["x"]), round(box["y"])) == (40, 74)
        await person.page.get_by_role("option", name="July").click(force=True)
        await person.page.get_by_role("option", name="August").click()
        assert await person.got(m.SelectReply) == m.SelectReply(3, ("3",))
        await drop_down(person, multiple=True)
        await person.page.get_by_role("option", name="August").click()
        await person.page.get_by_role("button", name="Done").click()
        await remote.wait_for(lambda it: len(it.of(m.SelectReply)) == 2)
        assert remote.of(m.SelectReply)[1].values == ("0", "3")
        await drop_down(person)
        await person.page.mouse.click(700, 500)
        await remote.wait_for(lambda it: len(it.of(m.SelectReply)) == 3)
        assert remote.of(m.SelectReply)[2].values == ()
        assert remote.of(m.Pointer) == [] or all(p.kind is m.PointerKind.MOVE for p in remote.of(m.Pointer))


@pytest.mark.parametrize(
    ("kind", "value", "new"),
    [
        ("date", "2026-05-31", "2026-06-01"),
        ("time", "08:15", "09:30"),
        ("month", "2026-05", "2026-07"),
        ("datetime-local", "2026-05-31T08:15", "2026-06-01T09:00"),
        ("week", "2026-W20", "2026-W21"),
        ("color", "#00ff00", "#123456"),
    ],
)
async def test_inputs_with_pop_ups(open_viewer: Open, kind: str, value: str, new: str) -> None:
    async with open_viewer() as person:
        await person.live()
        await person.remote.send(m.Select(4, m.SelectKind(kind), 40, 40, 160, 30, False, (), value, "", ""))
        field = person.page.locator(".popup input")
        assert await field.input_value() == value
        await field.fill(new)
        await person.page.get_by_role("button", name="Set").click()
        assert await person.got(m.SelectReply) == m.SelectReply(4, (new,))


async def test_a_control_that_goes_away_takes_its_pop_up_with_it(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        await drop_down(person)
        await person.remote.send(m.SelectClosed(3))
        await person.page.get_by_role("listbox").wait_for(state="detached")
        assert person.remote.of(m.SelectReply) == []


# ---------------------------------------------------------------- states


async def covered(person: Person, heading: str) -> None:
    await person.page.get_by_role("heading", name=heading).wait_for()


async def test_a_crashed_browser_comes_back_at_the_same_address(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.model.go(remote, "/people?id=7")
        await person.page.wait_for_url("**/people?id=7")
        async with asyncio.timeout(3):
            await person.site.node.crash(remote.lease)
            await until(lambda: bool(person.site.node.pages) and bool(person.remote.of(m.Ack)))
        assert person.remote.of(m.Hello)[0].path == "/people?id=7"
        await person.live()
        assert person.page.url.endswith("/people?id=7")


async def test_a_node_that_dies_is_shown_and_comes_back(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        await person.site.node.stop()
        await covered(person, "The isolated browser stopped")
        async with asyncio.timeout(4):
            await person.site.node.start()
            await until(lambda: bool(person.site.node.pages) and bool(person.remote.of(m.Ack)))
        await person.live()


async def test_a_lost_connection_is_shown_and_regained(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await person.context.set_offline(True)
        await covered(person, "Connection lost")
        await person.page.get_by_role("button", name="Try now").wait_for()
        await person.context.set_offline(False)
        await person.live()
        assert remote.of(m.Hello)[-1].page == remote.id
        await person.page.keyboard.type("z")
        await remote.wait_for(lambda it: any(k.key == "z" for k in it.of(m.Key)))


async def test_no_room_is_said_and_tried_again(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Closed(m.CloseCode.NO_CAPACITY))
        await covered(person, "All isolated browsers are in use")
        await person.page.get_by_role("button", name="Try now").click()
        await person.live()


async def test_a_page_used_elsewhere_can_be_taken_back(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Closed(m.CloseCode.REPLACED))
        await covered(person, "Open in another tab")
        await person.page.get_by_role("button", name="Use it here").click()
        await person.live()
        assert remote.of(m.Hello)[-1].page == remote.id


async def test_a_released_person_gets_the_app_itself(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        person.site.decide(None, "released")
        await covered(person, "Isolation is no longer needed")
        await person.page.get_by_text("the app itself").wait_for()


async def test_changed_controls_load_the_viewer_again_and_keep_the_page(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        person.site.decide(Controls(), "redecided")
        await remote.wait_for(lambda it: len(it.of(m.Hello)) == 2)
        assert remote.of(m.Hello)[1].page == remote.id
        assert remote.of(m.Reload) == []  # what was typed there is still there
        await person.page.get_by_role("button", name="Isolated").click()
        await person.page.get_by_text("Paste from your deviceOff").wait_for()


async def test_a_session_that_is_gone_loads_again_but_not_for_ever(open_viewer: Open) -> None:
    async with open_viewer() as person:
        await person.live()
        # The router serves the page but refuses its stream and its tickets: nothing a reload can mend.
        refused = person.site.viewer.stream

        async def nobody(scope: Any, receive: Any, send: Any, _: Any) -> None:
            await refused(scope, receive, send, None)

        person.site.viewer.stream = nobody  # type: ignore[method-assign]
        forbidden: Callable[..., Awaitable[Any]] = person.site.viewer.ticket
        person.site.viewer.ticket = lambda request, _: forbidden(request, None)  # type: ignore[method-assign]
        before = len(person.requests)
        person.site.decide(OPEN, "redecided")
        await covered(person, "Something went wrong")
        assert sum(url.endswith("/run?month=5") for url in person.requests[before:]) <= 6


async def test_the_indicator_says_why_and_what(open_viewer: Open) -> None:
    async with open_viewer(controls=Controls(clipboard=Clipboard.TO_APP)) as person:
        remote = await person.live()
        await person.page.keyboard.press("Control+Alt+i")
        panel = person.page.get_by_role("dialog", name="Payroll is isolated")
        await panel.wait_for()
        text = await panel.text_content() or ""
        for part in (
            "High-risk users",
            "Paste from your deviceAllowed",
            "Copy to your deviceOff",
            "7KQ4-M2XD",
            "bob@contoso.example",
        ):
            assert part in text
        await panel.get_by_role("button", name="Reload page").click()
        assert await person.got(m.Reload) == m.Reload(False)
        await person.page.keyboard.type("y")
        await remote.wait_for(lambda it: any(k.key == "y" for k in it.of(m.Key)))


async def test_notices_are_shown_and_bounded(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        for code in m.NoticeCode:
            await remote.send(m.Notice(code))
        await person.page.locator(".toast").first.wait_for()
        await remote.send(m.Title("done"))
        await true(person.page, "document.title === 'done'")
        assert await person.page.locator(".toast").count() == 3
