"""Fingers, from a real screen to a real page: taps, scrolling with momentum, pinching, resting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from isolation.testing.viewer_site import ViewerSite
from tests.support.isolated import Isolation
from tests.support.isolated import isolation as isolation  # a fixture
from tests.support.isolated import sit as sit  # a fixture
from tests.support.isolated import site as site  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PHONE = {"viewport": {"width": 390, "height": 700}, "has_touch": True, "is_mobile": True}


@pytest.mark.feature("click", by="touch")
@pytest.mark.feature("touch events of the page", by="touch")
async def test_a_tap_is_a_touch_and_a_click(sit: Any) -> None:
    body = """<div id=d style='position:fixed;inset:0'></div><script>
      say('ontouchstart' in window, navigator.maxTouchPoints, matchMedia('(pointer: coarse)').matches, matchMedia('(hover: hover)').matches);
      for (const name of ['touchstart', 'touchend', 'click'])
        d.addEventListener(name, e => say(name, e.pointerType ?? e.changedTouches[0].clientX));</script>"""
    async with sit(body, **PHONE) as seat:
        await seat.titled("true 10 true false")
        await seat.tap(120, 200)
        await seat.titled(r"true 10 true false\|touchstart 120\|touchend 120\|click touch")


async def test_a_mouse_stays_a_mouse(sit: Any) -> None:
    body = "<script>say('ontouchstart' in window, matchMedia('(pointer: fine)').matches, matchMedia('(hover: hover)').matches)</script>"
    async with sit(body) as seat:
        await seat.titled("false true true")


@pytest.mark.feature("scrolling with momentum, both ways", by="touch")
async def test_a_swipe_scrolls_and_goes_on(sit: Any) -> None:
    body = """<div style='width:3000px;height:9000px;background:linear-gradient(45deg,#fff,#000)'></div><script>
      let lifted = null; addEventListener('touchend', () => lifted = [scrollX, scrollY], true);
      const told = () => { if (lifted) document.title = [scrollX > 0, scrollY - lifted[1] > 40].join(); };
      addEventListener('scroll', told);</script>"""
    async with sit(body, **PHONE) as seat:
        # A finger that was slow because the machine was does not fling: one of a few is quick enough.
        for _ in range(5):
            await seat.swipe((300, 600), (300, 150), 6)
            await asyncio.sleep(0.6)
            if await seat.page.title() == "false,true":
                break
        await seat.titled("false,true")
        await seat.swipe((350, 300), (100, 300), 8)
        await seat.titled("true,(?:true|false)")


@pytest.mark.feature("pinch zoom", by="touch")
async def test_two_fingers_magnify_the_page(sit: Any) -> None:
    body = """<div style='height:3000px;background:#eee'></div><script>
      visualViewport.onresize = () => document.title = 'scale ' + (visualViewport.scale > 1.5);
      addEventListener('touchmove', e => fingers = Math.max(fingers, e.touches.length)); let fingers = 0;</script>"""
    async with sit(body, **PHONE) as seat:
        await seat.touch("Start", (150, 300), (230, 300))
        for spread in range(10, 140, 15):
            await seat.touch("Move", (150 - spread, 300), (230 + spread, 300))
            await asyncio.sleep(0.016)
        await seat.touch("End")
        await seat.titled("scale true")
        # The person's own view did not change.
        assert await seat.page.evaluate("visualViewport.scale") == 1


@pytest.mark.feature("two fingers, one lifted after the other", by="touch")
async def test_fingers_come_and_go_one_by_one(sit: Any) -> None:
    body = """<div id=d style='position:fixed;inset:0;touch-action:none'></div><script>
      for (const name of ['touchstart', 'touchend', 'touchcancel']) d.addEventListener(name, e => say(name, e.touches.length));</script>"""
    async with sit(body, **PHONE) as seat:
        await seat.touch("Start", (100, 300))
        await seat.titled("touchstart 1")
        await seat.cdp.send(
            "Input.dispatchTouchEvent",
            {"type": "touchStart", "touchPoints": [{"id": 0, "x": 100, "y": 300}, {"id": 1, "x": 200, "y": 300}]},
        )
        await seat.titled(r"touchstart 1\|touchstart 2")
        await seat.cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": [{"id": 0, "x": 100, "y": 300}]})
        await seat.titled(r"touchstart 1\|touchstart 2\|touchend 1")
        await seat.cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": [{"id": 1, "x": 200, "y": 300}]})
        await seat.titled(r"touchstart 1\|touchstart 2\|touchend 1\|touchend 0")


@pytest.mark.feature("drag, sliders and drawing on a canvas", by="touch")
async def test_a_finger_draws_and_slides(sit: Any) -> None:
    body = """<canvas id=c width=390 height=300 style='touch-action:none;display:block'></canvas>
      <input id=r type=range min=0 max=100 value=0 style='position:absolute;left:20px;top:350px;width:300px'><script>
      let marks = 0; c.onpointermove = e => { if (e.buttons) marks += 1; if (marks > 3) say('drawn', e.pointerType); };
      r.oninput = () => { if (r.value > 50) document.title = 'slid'; };</script>"""
    async with sit(body, **PHONE) as seat:
        await seat.swipe((50, 50), (300, 200))
        await seat.titled("drawn touch.*")
        await seat.swipe((30, 358), (300, 358))
        await seat.titled("slid")


@pytest.mark.feature("context menu", by="touch")
@pytest.mark.feature("text selection: a word, by resting on it", by="touch")
async def test_a_finger_that_rests_selects_a_word_and_opens_the_menu(sit: Any) -> None:
    body = """<p style='margin:0;font-size:40px'>Overtime payments</p><script>
      addEventListener('click', () => say('clicked')); addEventListener('touchcancel', () => say('cancelled'));
      document.onselectionchange = () => { const s = getSelection().toString(); if (s) say('selected ' + s.trim()) };</script>"""
    async with sit(body, **PHONE) as seat:
        await seat.touch("Start", (40, 25))
        menu = seat.page.get_by_role("menu")
        await menu.get_by_role("menuitem", name="Copy").wait_for()
        await seat.touch("End")
        await seat.titled(r".*selected Overtime.*cancelled.*")
        await menu.get_by_role("menuitem", name="Copy").tap()
        await menu.wait_for(state="detached")
        assert "clicked" not in await seat.page.title()


async def test_a_page_with_a_menu_of_its_own_keeps_the_finger(sit: Any) -> None:
    body = """<div id=d style='position:fixed;inset:0;touch-action:none'></div><script>
      d.oncontextmenu = e => { e.preventDefault(); say('own menu'); };
      d.addEventListener('touchcancel', () => say('cancelled')); d.addEventListener('touchend', () => say('ended')); d.onclick = () => say('clicked');</script>"""
    async with sit(body, **PHONE) as seat:
        await seat.touch("Start", (100, 200))
        await seat.titled("own menu")
        await seat.touch("Move", (160, 260))
        await seat.touch("End")
        await seat.titled(r"own menu\|ended")
        assert await seat.page.get_by_role("menu").count() == 0


@pytest.mark.feature("drop-downs", by="touch")
async def test_a_drop_down_by_finger(sit: Any) -> None:
    body = """<select style='position:absolute;left:20px;top:40px;width:200px;height:40px' onchange="say('chose', this.value)">
      <option>Alpha<option>Beta</select>"""
    async with sit(body, **PHONE) as seat:
        await seat.tap(80, 60)
        await seat.page.get_by_role("option", name="Beta").tap()
        await seat.titled("chose Beta")


@pytest.mark.feature("datalist", by="touch")
async def test_suggestions_by_finger(sit: Any) -> None:
    body = """<input list=cities style='position:absolute;left:20px;top:40px;width:200px;height:40px' onchange="say('chose', this.value)">
      <datalist id=cities><option value=Vienna></option><option value=Oslo></option></datalist>"""
    async with sit(body, **PHONE) as seat:
        await seat.tap(80, 60)
        await seat.page.get_by_role("option", name="Oslo").tap()
        await seat.titled("chose Oslo")


@pytest.mark.feature("drop-downs: several choices", by="touch")
async def test_several_are_chosen_by_finger(sit: Any) -> None:
    body = """<select multiple size=4 style='position:absolute;left:20px;top:40px;width:200px;height:160px;font-size:24px'
      onchange="say([...this.selectedOptions].map(o => o.value).join('+'))"><option>Alpha<option>Beta<option>Gamma</select>"""
    async with sit(body, **PHONE) as seat:
        await seat.tap(80, 60)
        await seat.titled("Alpha.*")
        await seat.tap(80, 120)
        await seat.titled(r".*Gamma.*")


@pytest.mark.feature("soft keyboard: raised for a text field, of the kind the field wants", by="touch")
async def test_a_text_field_asks_for_its_keyboard(sit: Any) -> None:
    body = """<input id=t style='position:absolute;left:20px;top:40px;width:200px;height:40px' oninput='say(this.value)'>
      <input inputmode=numeric style='position:absolute;left:20px;top:140px;width:200px;height:40px'>
      <input type=email style='position:absolute;left:20px;top:240px;width:200px;height:40px'>"""
    async with sit(body, **PHONE) as seat:
        assert await seat.page.evaluate("keys.inputMode") == "none"
        for y, mode in ((60, "text"), (160, "numeric"), (260, "email")):
            await seat.tap(80, y)
            await seat.true("mode => keys.inputMode === mode && document.activeElement === keys", mode)
        await seat.tap(80, 60)
        await seat.true("keys.inputMode === 'text'")
        # What a soft keyboard commits, and its backspace.
        await seat.cdp.send("Input.insertText", {"text": "Grüße 👩‍💻"})
        await seat.titled("Grüße 👩‍💻")
        await seat.tap(300, 500)
        await seat.true("keys.inputMode === 'none'")
        # Where a device raises no keyboard by itself, its button asks for it.
        await seat.page.get_by_role("button", name="Keyboard").tap()
        await seat.true("keys.inputMode === 'text'")


@pytest.mark.feature("soft keyboard: the text field stays in view", by="touch")
async def test_the_field_stays_in_view_when_a_keyboard_takes_the_room(sit: Any) -> None:
    body = """<div style='height:3000px'></div><input id=t style='position:absolute;left:20px;top:600px;width:200px;height:40px'><script>
      onresize = onscroll = () => { const b = t.getBoundingClientRect(); document.title = innerHeight + ' ' + (b.bottom <= innerHeight && b.top >= 0); };</script>"""
    async with sit(body, **PHONE) as seat:
        await seat.tap(80, 620)
        await seat.true("keys.inputMode === 'text'")
        await seat.page.set_viewport_size({"width": 390, "height": 380})
        await seat.titled("380 true")


@pytest.mark.feature("dialogs: alert, confirm, prompt", by="touch")
@pytest.mark.feature("date, time, month, week and colour inputs", by="touch")
async def test_dialogs_and_dates_by_finger(sit: Any) -> None:
    body = """<button style='position:absolute;left:20px;top:20px;width:200px;height:50px' onclick="say('sure', confirm('Sure?'))">ask</button>
      <input type=date value='2026-11-22' style='position:absolute;left:20px;top:120px;width:200px;height:50px;box-sizing:border-box' onchange="say('date', this.value)">"""
    async with sit(body, **PHONE) as seat:
        await seat.tap(80, 45)
        await seat.page.get_by_role("button", name="OK").tap()
        await seat.titled("sure true")
        await seat.tap(207, 145)
        picker = seat.page.get_by_role("dialog")
        await picker.locator("input").fill("2026-12-24")
        await picker.get_by_role("button", name="Set").tap()
        await seat.titled(r"sure true\|date 2026-12-24")


@pytest.mark.feature("back, forward, reload", by="touch")
@pytest.mark.feature("new windows and tabs, opener kept, capped", by="touch")
async def test_links_and_windows_by_finger(sit: Any, isolation: Isolation, site: ViewerSite) -> None:
    isolation.gateway.html("/by-finger", "<title>Next</title>", site.origin)
    body = """<a href='/by-finger' style='position:absolute;left:20px;top:20px;width:200px;height:50px'>next</a>
      <a href='/by-finger' target=_blank style='position:absolute;left:20px;top:120px;width:200px;height:50px'>tab</a><script>say('first')</script>"""
    async with sit(body, **PHONE) as seat:
        await seat.titled("first")
        async with seat.context.expect_page() as opening:
            await seat.tap(60, 145)
        tab = await opening.value
        await tab.wait_for_url(site.origin + "/by-finger")
        await tab.close()
        await seat.tap(60, 45)
        await seat.titled("Next")
        await seat.page.go_back()
        await seat.titled("first")


@pytest.mark.feature("full screen, with the origin told", by="touch")
async def test_full_screen_is_left_by_a_press(sit: Any, site: ViewerSite) -> None:
    """A phone has no Escape; and where the device gives no full screen the page fills the window, with nothing of the device's to leave it by."""
    body = """<div id=v style='width:300px;height:200px;background:#08f'></div><button style='position:absolute;left:20px;top:300px;width:300px;height:60px'
      onclick="v.requestFullscreen()">full</button><script>document.onfullscreenchange = () => say(document.fullscreenElement ? 'full' : 'left');</script>"""
    async with sit(body, **PHONE) as seat:
        for given in (True, False):
            if not given:
                await seat.page.evaluate("Element.prototype.requestFullscreen = undefined")
            before = await seat.page.title()
            await seat.tap(150, 330)
            await seat.titled(".*full")
            toast = seat.page.locator(".toast", has_text=f"{site.origin} fills the screen.")
            await toast.wait_for()
            assert "Esc" not in (await toast.text_content() or "")
            await toast.get_by_role("button", name="Leave").tap()
            await seat.titled(".*left")
            await toast.wait_for(state="detached")
            assert await seat.page.title() != before
            await seat.true("document.fullscreenElement === null")
