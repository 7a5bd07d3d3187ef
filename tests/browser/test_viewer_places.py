"""The viewer in a real browser: address, history, windows, and hostile texts that stay texts."""

from __future__ import annotations

import base64

import imagecodecs
import numpy as np
import pytest

from renderer.wire import messages as m
from tests.support.viewer import EVIL, Open, Person, true, until
from tests.support.viewer import chromium as chromium  # a fixture
from tests.support.viewer import open_viewer as open_viewer  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


# ---------------------------------------------------------------- address, history, reload, windows


@pytest.mark.feature("back, forward, reload", by="mouse")
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


@pytest.mark.feature("back, forward, reload", by="keyboard")
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


@pytest.mark.feature("address entry: a deep address in the person's own address bar", by="keyboard")
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


@pytest.mark.case(50)
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


@pytest.mark.case(20)
async def test_the_routers_own_addresses_are_not_mirrored(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Location(remote.origin, "/.isolation/sign-out", 1, 2, False))
        await remote.send(m.Title("seen"))
        await true(person.page, "document.title === 'seen'")
        assert person.page.url == person.site.origin + "/run?month=5"


@pytest.mark.feature("new windows and tabs, opener kept, capped", by="mouse")
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


@pytest.mark.case(37)
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


@pytest.mark.case(37)
async def test_the_pages_icon_is_data_and_nothing_else(open_viewer: Open) -> None:
    async with open_viewer() as person:
        remote = await person.live()
        await remote.send(m.Icon(base64.b64encode(imagecodecs.png_encode(np.full((32, 32, 4), 9, np.uint8))).decode()))
        await true(person.page, "document.getElementById('icon').href.startsWith('data:image/png;base64,')")
        await remote.send(m.Icon(""))
        await true(person.page, "document.getElementById('icon').href.endsWith('/icon.svg')")


@pytest.mark.case(40)
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
