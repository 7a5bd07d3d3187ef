"""What a person does with an isolated page as with any other: its context menu, finding, full screen, links, addresses, stopping, films."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import imagecodecs
import numpy as np
import pytest
import pytest_asyncio

from isolation.policy.controls import Controls, Transfer
from isolation.testing.viewer_site import ViewerSite
from tests.support.isolated import Isolation
from tests.support.isolated import isolation as isolation  # a fixture
from tests.support.isolated import sit as sit  # a fixture
from tests.support.isolated import site as site  # a fixture
from tests.support.renderer import OTHER

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shut_site(isolation: Isolation) -> AsyncIterator[ViewerSite]:
    async with isolation.site(Controls(keyboard=False)) as running:
        yield running


# ---------------------------------------------------------------- context menu

DOT = bytes(imagecodecs.png_encode(np.full((8, 8, 3), (200, 30, 60), np.uint8)))
LINKS = """<a id=a href='/target?x=1' style='position:absolute;left:20px;top:20px;width:200px;height:30px;background:#eee'>payslip</a>
  <input id=t value='some words' style='position:absolute;left:20px;top:100px;width:200px;height:30px'>
  <p id=p style='position:absolute;left:20px;top:160px;margin:0'>plain text here</p>
  <div id=own style='position:absolute;left:20px;top:300px;width:200px;height:60px;background:#cfc'></div>
  <script>own.oncontextmenu = e => { e.preventDefault(); say('own menu at', e.clientX, e.clientY); };
  t.oninput = () => say('value', t.value);</script>"""


async def lines(seat: Any) -> list[str]:
    menu = seat.page.get_by_role("menu")
    await menu.wait_for()
    return [str(text) for text in await menu.get_by_role("menuitem").locator("span").all_text_contents()]


@pytest.mark.feature("context menu", by="mouse")
@pytest.mark.feature("context menu: open a link in a new tab, copy its address", by="mouse")
async def test_a_link_has_a_menu(sit: Any, isolation: Isolation, site: ViewerSite) -> None:
    isolation.gateway.html("/target", "<title>Target</title>", site.origin)
    async with sit(LINKS) as seat:
        await seat.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.origin)
        await seat.page.mouse.click(60, 35, button="right")
        assert await lines(seat) == ["Open link in new tab", "Copy link address"]
        async with seat.context.expect_page() as opening:
            await seat.page.get_by_role("menuitem", name="Open link in new tab").click()
        tab = await opening.value
        await tab.wait_for_url(site.origin + "/target?x=1")
        await tab.close()
        await seat.page.mouse.click(60, 35, button="right")
        await seat.page.get_by_role("menuitem", name="Copy link address").click()
        await seat.page.locator(".toast", has_text="Copied to your clipboard").wait_for()


@pytest.mark.feature("context menu: copy, cut, paste, select all", by="mouse")
async def test_a_text_field_has_a_menu(sit: Any, site: ViewerSite) -> None:
    async with sit(LINKS) as seat:
        await seat.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.origin)
        await seat.page.mouse.dblclick(40, 115)
        await seat.page.mouse.click(40, 115, button="right")
        assert await lines(seat) == ["Cut", "Copy", "Paste", "Select all"]
        await seat.page.get_by_role("menuitem", name="Cut").click()
        await seat.titled("value  ?words")
        await seat.page.locator(".toast", has_text="Copied to your clipboard").wait_for()
        for name in ("Select all", "Paste"):
            await seat.page.mouse.click(40, 115, button="right")
            await seat.page.get_by_role("menuitem", name=name).click()
        await seat.titled(r".*\|value some ?")


@pytest.mark.feature("context menu: back, forward, reload, find", by="mouse")
async def test_the_page_itself_has_a_menu(sit: Any, isolation: Isolation, site: ViewerSite) -> None:
    isolation.gateway.html("/second", "<title>Second</title>", site.origin)
    async with sit(LINKS + "<script>say('first')</script>", path="/first") as seat:
        await seat.titled("first")
        await seat.go("/second")
        await seat.titled("Second")
        await seat.page.mouse.click(400, 400, button="right")
        assert await lines(seat) == ["Back", "Reload", "Find in page…", "Select all"]
        await seat.page.get_by_role("menuitem", name="Back").click()
        await seat.titled("first")
        await seat.page.mouse.click(400, 400, button="right")
        await seat.page.get_by_role("menuitem", name="Reload").wait_for()
        await seat.page.keyboard.press("Escape")
        await seat.page.get_by_role("menu").wait_for(state="detached")


@pytest.mark.feature("context menu of the page's own", by="mouse")
async def test_a_page_with_its_own_menu_keeps_it(sit: Any) -> None:
    async with sit(LINKS) as seat:
        await seat.page.mouse.click(60, 330, button="right")
        await seat.titled("own menu at 60 330")
        assert await seat.page.get_by_role("menu").count() == 0


@pytest.mark.feature("context menu", by="keyboard")
@pytest.mark.parametrize("key", ["ContextMenu", "Shift+F10"])
async def test_the_menu_by_keyboard(sit: Any, key: str) -> None:
    async with sit(LINKS) as seat:
        await seat.page.mouse.click(40, 115)
        await seat.page.keyboard.press("Control+a")
        await seat.page.keyboard.press(key)
        assert "Cut" in await lines(seat)
        box = await seat.page.get_by_role("menu").bounding_box()
        assert box is not None
        assert box["y"] < 200  # where the field is
        await seat.page.keyboard.press("ArrowDown")
        await seat.page.keyboard.press("c")
        await seat.true("document.activeElement.textContent.startsWith('Copy')")
        await seat.page.keyboard.press("Escape")
        await seat.true("document.activeElement === keys")
        await seat.page.keyboard.type("new")
        await seat.titled(".*value new")


async def test_a_menu_in_a_frame_of_another_site_is_where_the_frame_is(sit: Any, isolation: Isolation) -> None:
    isolation.gateway.html(
        "/inner",
        "<body style='margin:0'><a href='/x' style='position:absolute;left:5px;top:5px;width:90px;height:20px;background:#ccc'>in</a>",
        OTHER,
    )
    async with sit(
        f"<iframe src='{OTHER}/inner' style='position:absolute;left:300px;top:200px;width:200px;height:100px;border:4px solid'></iframe>"
    ) as seat:
        await seat.shows(340, 215, (204, 204, 204))
        await seat.page.mouse.click(330, 215, button="right")
        assert await lines(seat) == ["Open link in new tab", "Copy link address"]
        box = await seat.page.get_by_role("menu").bounding_box()
        assert box is not None
        assert (round(box["x"]), round(box["y"])) == (330, 215)


async def test_a_menu_offers_only_what_the_controls_allow(isolation: Isolation, shut_site: ViewerSite) -> None:
    async with isolation.seat(shut_site, LINKS) as seat:
        await seat.page.mouse.click(60, 35, button="right")
        assert await lines(seat) == ["Open link in new tab"]
        await seat.page.keyboard.press("Escape")
        await seat.page.mouse.dblclick(40, 170)
        await seat.page.mouse.click(40, 170, button="right")
        assert await lines(seat) == ["Copy"]
        await seat.page.get_by_role("menuitem", name="Copy").click()
        await seat.page.locator(".toast", has_text="Copying to your device is turned off").wait_for()


# ---------------------------------------------------------------- where a link leads


@pytest.mark.feature("where a link leads", by="mouse")
@pytest.mark.feature("where a link leads", by="keyboard")
async def test_where_a_link_leads_is_shown(sit: Any, site: ViewerSite) -> None:
    body = (
        LINKS
        + "<a href='https://evil.example/<img src=x onerror=alert(1)>\u202e' style='position:absolute;left:20px;top:400px'>bad</a>"
    )
    async with sit(body) as seat:
        hint = seat.page.locator(".hint")
        await seat.page.mouse.move(60, 35)
        await hint.filter(has_text=f"{site.origin}/target?x=1").wait_for()
        await seat.page.mouse.move(400, 300)
        await hint.wait_for(state="hidden")
        await seat.page.mouse.move(30, 410)
        await hint.filter(has_text="https://evil.example/").wait_for()
        assert await hint.locator("*").count() == 0
        await seat.page.mouse.move(400, 300)
        await hint.wait_for(state="hidden")
        await seat.page.keyboard.press("Tab")
        await hint.filter(has_text="/target?x=1").wait_for()


# ---------------------------------------------------------------- find in page


@pytest.mark.feature("find in page: count, next and previous, across frames", by="keyboard")
@pytest.mark.feature("find in page", by="mouse")
async def test_finding(sit: Any, isolation: Isolation) -> None:
    isolation.gateway.html("/found", "<p>a NEEDLE of another site</p>", OTHER)
    body = f"""<div style='height:1500px'>Need<b>le</b> one</div><div id=second>nee\ndle is not it, néédle is</div><div hidden>needle</div>
      <iframe src='{OTHER}/found' style='width:300px;height:100px'></iframe><script>
      addEventListener('scroll', () => document.title = 'y ' + (scrollY > 700)); onkeydown = e => {{ if (e.key === 'f') say('key f'); }};
      document.onselectionchange = () => {{ if (getSelection().toString()) say('selected', getSelection()); }};</script>"""
    async with sit(body) as seat:
        await seat.page.mouse.click(500, 300)
        await seat.page.keyboard.press("Control+f")
        field = seat.page.get_by_label("Find in page")
        await field.wait_for()
        await seat.page.keyboard.type("needle")
        count = seat.page.locator(".find-count")
        await count.filter(has_text="1 of 3").wait_for()
        # Marked in the picture, and nothing is selected in the page.
        await seat.true("""(() => { const d = surface.getContext('2d').getImageData(0, 0, 120, 30).data;
          for (let i = 0; i < d.length; i += 4) if (d[i] === 255 && d[i + 1] === 150 && d[i + 2] === 50) return true; return false; })()""")
        await seat.page.keyboard.press("Enter")
        await count.filter(has_text="2 of 3").wait_for()
        await seat.titled("y true")
        await seat.page.get_by_role("button", name="Next match").click()
        await count.filter(has_text="3 of 3").wait_for()
        await seat.page.keyboard.press("F3")
        await count.filter(has_text="1 of 3").wait_for()
        await field.press("Shift+Enter")
        await count.filter(has_text="3 of 3").wait_for()
        await field.fill("nothing like it")
        await count.filter(has_text="No matches").wait_for()
        await field.fill("is not it")
        await count.filter(has_text="1 of 1").wait_for()
        await field.press("Escape")
        await field.wait_for(state="detached")
        await seat.titled(".*selected is not it")  # as browsers leave what was found last
        # A page that finds by itself gets the key at the second press.
        await seat.page.keyboard.press("Control+f")
        await field.wait_for()
        await seat.page.mouse.click(500, 300)
        await seat.page.keyboard.press("Control+f")
        await field.wait_for(state="detached")
        await seat.titled(".*key f.*")


# ---------------------------------------------------------------- full screen

FILM = """<style>#v{width:300px;height:200px;background:#08f}#v:fullscreen{background:#0a0}</style><div id=v></div><button style='position:absolute;left:400px;top:20px;width:90px;height:40px'
  onclick="v.requestFullscreen()">full</button><script>document.onfullscreenchange = () => say(document.fullscreenElement ? 'full' : 'left');</script>"""


@pytest.mark.feature("full screen, with the origin told", by="mouse")
@pytest.mark.feature("full screen: Escape leaves", by="keyboard")
async def test_full_screen(sit: Any, site: ViewerSite) -> None:
    async with sit(FILM) as seat:
        await seat.page.mouse.click(430, 40)
        await seat.titled("full")
        await seat.page.locator(".toast", has_text=f"{site.origin} fills the screen. Press Esc to leave.").wait_for()
        await seat.true("document.fullscreenElement === document.documentElement")
        await seat.shows(400, 300, (0, 170, 0))
        # The browser's own Escape is not to be had in a test; this is what it does.
        await seat.page.evaluate("document.exitFullscreen()")
        await seat.titled(r"full\|left")
        # By the page: this window follows.
        await seat.page.mouse.click(430, 40)
        await seat.true("document.fullscreenElement !== null")
        await seat.go("/page-that-is-not")
        await seat.true("document.fullscreenElement === null")


# ---------------------------------------------------------------- addresses, stopping


@pytest.mark.feature("address entry: a deep address in the person's own address bar", by="keyboard")
async def test_a_deep_address_opens_isolated(sit: Any, isolation: Isolation, site: ViewerSite) -> None:
    isolation.gateway.html(
        "/deep/page",
        "<!doctype html><title>Deep</title><script>document.title += location.search + location.hash</script>",
        site.origin,
    )
    async with sit("") as seat:
        await seat.page.goto(f"{site.origin}/deep/page?run=5&q=%C3%BC#totals")
        await seat.titled(r"Deep\?run=5&q=%C3%BC#totals")
        assert seat.page.url == f"{site.origin}/deep/page?run=5&q=%C3%BC#totals"


@pytest.mark.feature("stop loading", by="keyboard")
async def test_escape_stops_loading(sit: Any, isolation: Isolation, site: ViewerSite) -> None:
    isolation.gateway.html("/slow", "<title>Slow</title>", site.origin)
    async with sit(
        "<script>onkeydown = e => say(e.key)</script><a href='/slow' style='position:absolute;left:20px;top:20px'>slow</a>"
    ) as seat:
        await seat.page.mouse.click(30, 30)
        await seat.true("!progress.hidden")
        await seat.page.keyboard.press("Escape")
        await seat.true("progress.hidden")
        await seat.titled("Escape")
        await asyncio.sleep(0)
        assert not seat.page.url.endswith("/slow")


# ---------------------------------------------------------------- films and documents


def film() -> bytes:
    """Two seconds: red, then blue."""
    data = io.BytesIO()
    with av.open(data, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for n in range(20):
            colour = (220, 20, 20) if n < 10 else (20, 20, 220)
            frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), colour, np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return data.getvalue()


@pytest.mark.feature("video playback, without sound", by="mouse")
async def test_a_film_plays(sit: Any, isolation: Isolation, site: ViewerSite) -> None:
    isolation.gateway.pages[site.origin + "/film.webm"] = (200, {"Content-Type": "video/webm"}, film())
    body = """<video id=v src=/film.webm style='position:absolute;left:0;top:0;width:320px;height:240px'></video>
      <button style='position:absolute;left:400px;top:20px;width:90px;height:40px' onclick='v.play()'>play</button>
      <script>v.onloadeddata = () => say('loaded'); v.onended = () => say('ended');</script>"""
    look = "(() => { const [r, g, b] = surface.getContext('2d').getImageData(160, 120, 1, 1).data; return r > 150 && b < 90 ? 'red' : b > 150 && r < 90 ? 'blue' : ''; })()"
    async with sit(body) as seat:
        await seat.titled("loaded")
        await seat.true(f"{look} === 'red'")
        await seat.page.mouse.click(430, 40)
        await seat.true(f"{look} === 'blue'")
        await seat.titled(r"loaded\|ended")


async def test_a_pdf_is_a_download_as_headless_chromium_has_no_viewer_for_it(
    sit: Any, isolation: Isolation, site: ViewerSite
) -> None:
    isolation.gateway.pages[site.origin + "/slip.pdf"] = (200, {"Content-Type": "application/pdf"}, b"%PDF-1.4\n%%EOF\n")
    async with sit(
        "<a href='/slip.pdf' style='position:absolute;left:20px;top:20px'>pdf</a><script>say(navigator.pdfViewerEnabled)</script>"
    ) as seat:
        await seat.titled("false")
        await seat.page.mouse.click(30, 30)
        await seat.page.locator(".toast", has_text="The download was stopped").wait_for()
        await seat.titled("false")  # the page stays


@pytest.mark.feature("context menu: save a link, save an image", by="mouse")
async def test_saving_from_the_menu_needs_the_control(isolation: Isolation) -> None:
    async with isolation.site(Controls(download=Transfer.ALLOW)) as allowed:
        isolation.gateway.pages[allowed.origin + "/slip.txt"] = (200, {"Content-Type": "text/plain"}, b"net pay")
        isolation.gateway.pages[allowed.origin + "/dot.png"] = (200, {"Content-Type": "image/png"}, DOT)
        body = """<a href=/slip.txt style='position:absolute;left:20px;top:20px;width:200px;height:30px'>slip</a>
          <img src=/dot.png style='position:absolute;left:20px;top:100px;width:100px;height:100px' onload="say('seen')">"""
        async with isolation.seat(allowed, body) as seat:
            await seat.titled("seen")
            for y, line, name, content in ((30, "Save link…", "slip.txt", b"net pay"), (150, "Save image…", "dot.png", DOT)):
                await seat.page.mouse.click(60, y, button="right")
                async with seat.page.expect_download() as waiting:
                    await seat.page.get_by_role("menuitem", name=line).click()
                download = await waiting.value
                assert download.suggested_filename == name
                assert await asyncio.to_thread(Path(await download.path()).read_bytes) == content
