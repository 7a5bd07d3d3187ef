"""The mouse and the touchpad, from a real screen to a real page."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.isolated import Isolation
from tests.support.isolated import isolation as isolation  # a fixture
from tests.support.isolated import sit as sit  # a fixture
from tests.support.isolated import site as site  # a fixture
from tests.support.renderer import OTHER

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.feature("click, double click, triple click, right click, middle click", by="mouse")
async def test_clicks_of_every_kind(sit: Any) -> None:
    body = """<p style='margin:20px;font-size:30px'>One two three.</p><div id=d style='position:absolute;left:0;top:200px;width:300px;height:200px'></div><script>
      for (const name of ['click', 'dblclick', 'auxclick', 'contextmenu']) d.addEventListener(name, e => { e.preventDefault(); say(name, e.button, e.detail); });
      document.onselectionchange = () => { const s = getSelection().toString().trim(); if (s) document.title = 'selected ' + s; };</script>"""
    async with sit(body) as seat:
        await seat.page.mouse.click(50, 250)
        await seat.titled("click 0 1")
        await asyncio.sleep(0.6)  # the next press is no double click
        await seat.page.mouse.dblclick(150, 250)
        await seat.titled(r"click 0 1\|click 0 1\|click 0 2\|dblclick 0 2")
        await seat.page.mouse.click(200, 300, button="right")
        await seat.titled(r".*contextmenu 2 \d\|auxclick 2 1")
        await seat.page.mouse.click(250, 300, button="middle")
        await seat.titled(r".*\|auxclick 1 1")
        await seat.page.mouse.click(110, 40, click_count=2)
        await seat.titled("selected two")
        await asyncio.sleep(0.6)
        await seat.page.mouse.click(110, 40, click_count=3)
        await seat.titled(r"selected One two three\.")


@pytest.mark.feature("open a link in a new tab: middle click, Ctrl+click", by="mouse")
@pytest.mark.parametrize("press", [{"button": "middle"}, {"modifiers": "Control"}])
async def test_a_link_opens_in_a_new_tab(sit: Any, isolation: Isolation, site: Any, press: dict[str, str]) -> None:
    isolation.gateway.html("/other-tab", "<title>Other tab</title>", site.origin)
    async with sit(
        "<a href='/other-tab' style='position:absolute;left:20px;top:20px;font-size:30px'>link</a><script>say('here')</script>"
    ) as seat:
        await seat.titled("here")
        async with seat.context.expect_page() as opening:
            if "modifiers" in press:
                await seat.page.keyboard.down("Control")
            await seat.page.mouse.click(40, 40, button=press.get("button", "left"))
            if "modifiers" in press:
                await seat.page.keyboard.up("Control")
        tab = await opening.value
        await tab.wait_for_url(site.origin + "/other-tab")
        await tab.close()
        assert await seat.page.title() == "here"


@pytest.mark.feature("drag, sliders and drawing on a canvas", by="mouse")
async def test_drawing_and_sliding(sit: Any) -> None:
    body = """<canvas id=c width=400 height=300 style='display:block;background:#fff'></canvas>
      <input id=r type=range min=0 max=100 value=0 style='position:absolute;left:20px;top:350px;width:300px'><script>
      const g = c.getContext('2d'); g.lineWidth = 9; c.onpointerdown = e => { c.setPointerCapture(e.pointerId); g.beginPath(); g.moveTo(e.offsetX, e.offsetY); };
      c.onpointermove = e => { if (e.buttons & 1) { for (const p of e.getCoalescedEvents()) g.lineTo(p.offsetX, p.offsetY); g.stroke(); } }; c.onpointerup = () => say('drawn');
      r.onchange = () => say('slid', r.value > 40 && r.value < 60);</script>"""
    async with sit(body) as seat:
        await seat.page.mouse.move(50, 50)
        await seat.page.mouse.down()
        await seat.page.mouse.move(300, 50, steps=10)
        await seat.page.mouse.move(300, 200, steps=10)
        await seat.page.mouse.up()
        await seat.titled("drawn")
        for x, y in ((150, 50), (300, 120)):
            await seat.shows(x, y, (0, 0, 0))
        await seat.page.mouse.move(28, 358)
        await seat.page.mouse.down()
        await seat.page.mouse.move(170, 358, steps=8)
        await seat.page.mouse.up()
        await seat.titled(r"drawn\|slid true")


async def test_a_busy_page_gets_the_whole_line(sit: Any) -> None:
    body = """<canvas id=c width=400 height=300 style='display:block;background:#fff'></canvas><script>
      const g = c.getContext('2d'); g.lineWidth = 9;
      c.onpointerdown = e => { g.beginPath(); g.moveTo(e.offsetX, e.offsetY); for (const end = performance.now() + 1500; performance.now() < end;); };
      c.onpointermove = e => { if (e.buttons & 1) { for (const p of e.getCoalescedEvents()) g.lineTo(p.offsetX, p.offsetY); g.stroke(); } };
      c.onpointerup = () => say('drawn');</script>"""
    async with sit(body) as seat:
        await seat.page.mouse.move(50, 50)
        await seat.page.mouse.down()
        for x, y in ((300, 50), (300, 200), (50, 200)):
            await seat.page.mouse.move(x, y, steps=10)
        await seat.page.mouse.up()
        await seat.titled("drawn")
        for x, y in ((270, 50), (300, 80), (300, 170), (270, 200)):
            await seat.shows(x, y, (0, 0, 0))


async def test_a_busy_viewer_sends_the_whole_line(sit: Any) -> None:
    body = """<canvas id=c width=400 height=300 style='display:block;background:#fff'></canvas><script>
      const g = c.getContext('2d'); g.lineWidth = 9; c.onpointerdown = e => { g.beginPath(); g.moveTo(e.offsetX, e.offsetY); say('held'); };
      c.onpointermove = e => { if (e.buttons & 1) { for (const p of e.getCoalescedEvents()) g.lineTo(p.offsetX, p.offsetY); g.stroke(); } };
      c.onpointerup = () => say('drawn');</script>"""
    async with sit(body) as seat:
        await seat.page.mouse.move(50, 50)
        await seat.page.mouse.down()
        await seat.titled("held")
        await seat.page.evaluate(
            "() => void setTimeout(() => { for (const end = performance.now() + 500; performance.now() < end;); }, 0)"
        )
        way = [
            *((x, 50) for x in range(60, 301, 10)),
            *((300, y) for y in range(60, 201, 10)),
            *((x, 200) for x in range(290, 50, -10)),
        ]
        moves = []
        for x, y in way:  # none waits for the one before
            moved = {"type": "mouseMoved", "x": x, "y": y, "button": "left", "buttons": 1}
            moves.append(asyncio.create_task(seat.cdp.send("Input.dispatchMouseEvent", moved)))
            await asyncio.sleep(0.005)
        await asyncio.gather(*moves)
        await seat.page.mouse.up()
        await seat.titled(r"held\|drawn")
        for x, y in ((270, 50), (300, 80), (300, 170), (270, 200)):
            await seat.shows(x, y, (0, 0, 0))


@pytest.mark.feature("drag and drop inside the page", by="mouse")
@pytest.mark.parametrize("busy", [0, 1500])
async def test_dragging_and_dropping(sit: Any, busy: int) -> None:
    body = """<div draggable=true style='position:absolute;left:10px;top:10px;width:80px;height:80px;background:#f00'></div>
      <div id=d style='position:absolute;left:300px;top:10px;width:200px;height:200px;background:#0f0'></div>
      <script>ondragstart = e => { e.dataTransfer.setData('text/plain', 'cargo'); say('started'); }; d.ondragover = e => e.preventDefault();
      d.ondragenter = () => say('over'); d.ondrop = e => { e.preventDefault(); say('dropped', e.dataTransfer.getData('text/plain')); }; ondragend = e => say('ended', e.dataTransfer.dropEffect);
      onpointerdown = () => { for (const end = performance.now() + BUSY; performance.now() < end;); };</script>""".replace(
        "BUSY", str(busy)
    )
    async with sit(body) as seat:
        await seat.page.mouse.move(50, 50)
        await seat.page.mouse.down()
        await seat.page.mouse.move(120, 60, steps=5)
        if not busy:
            await seat.titled("started")
        await seat.page.mouse.move(400, 100, steps=8)
        if not busy:
            await seat.titled(r"started\|over")
        await seat.page.mouse.up()
        await seat.titled(r"started\|over\|dropped cargo.*")


@pytest.mark.feature("hover menus", by="mouse")
async def test_menus_that_open_under_the_pointer(sit: Any) -> None:
    body = """<style>nav>ul{display:none;position:absolute;left:0;top:30px;width:200px;margin:0;padding:0;background:#eee}nav:hover>ul{display:block}nav{position:absolute;left:20px;top:20px;width:200px;height:30px;background:#ccc}
      li{height:30px;list-style:none}li:hover{background:#00f}</style><nav>menu<ul><li><li id=l onclick="say('chosen')"></ul></nav>"""
    async with sit(body) as seat:
        await seat.page.mouse.move(60, 35)
        await seat.shows(200, 70, (238, 238, 238))
        await seat.page.mouse.move(60, 95, steps=6)
        await seat.shows(200, 95, (0, 0, 255))
        await seat.page.mouse.click(60, 95)
        await seat.titled("chosen")
        await seat.page.mouse.move(500, 400)
        await seat.shows(200, 70, (255, 255, 255))


@pytest.mark.feature("text selection, also past the edge of the window", by="mouse")
async def test_selecting_past_the_edge_scrolls(sit: Any) -> None:
    rows = "".join(f"<div style='height:30px'>row {n}</div>" for n in range(100))
    async with sit(
        rows
        + "<script>onscroll = () => document.title = 'scrolled ' + (scrollY > 300) + ' ' + (getSelection().toString().length > 100)</script>"
    ) as seat:
        await seat.page.mouse.move(20, 100)
        await seat.page.mouse.down()
        await seat.page.mouse.move(60, 400, steps=5)
        await seat.page.mouse.move(60, 640, steps=5)  # below the window, and resting there
        await seat.titled("scrolled true true")
        await seat.page.mouse.up()


@pytest.mark.feature("back and forward buttons of the mouse", by="mouse")
async def test_the_mouses_own_buttons(sit: Any, isolation: Isolation, site: Any) -> None:
    isolation.gateway.html("/later", "<title>Later</title>", site.origin)
    async with sit(
        "<script>say('earlier')</script><a href='/later' style='position:absolute;left:20px;top:20px'>go</a>", path="/earlier"
    ) as seat:
        await seat.titled("earlier")
        await seat.page.mouse.click(30, 30)
        await seat.titled("Later")
        for button, buttons, title in (("back", 8, "earlier"), ("forward", 16, "Later")):
            press = {"x": 300, "y": 300, "button": button, "clickCount": 1}
            await seat.cdp.send("Input.dispatchMouseEvent", {"type": "mousePressed", "buttons": buttons, **press})
            await seat.cdp.send("Input.dispatchMouseEvent", {"type": "mouseReleased", "buttons": 0, **press})
            await seat.titled(title)


# ---------------------------------------------------------------- wheel and touchpad


@pytest.mark.feature("wheel and touchpad: both directions, to the pixel", by="mouse")
async def test_the_wheel_is_exact(sit: Any) -> None:
    body = """<div style='width:5000px;height:9000px'></div><script>let x = 0, y = 0;
      addEventListener('wheel', e => { x += e.deltaX; y += e.deltaY; document.title = [x, y, scrollX, scrollY].join(); }, { passive: true });
      onscroll = () => document.title = [x, y, scrollX, scrollY].join();</script>"""
    async with sit(body) as seat:
        await seat.page.mouse.move(300, 300)
        for _ in range(20):  # a touchpad's momentum: many small and ever smaller steps
            await seat.page.mouse.wheel(3, 7)
        await seat.titled("60,140,60,140")
        await seat.page.mouse.wheel(0, -40)
        await seat.titled("60,100,60,100")


@pytest.mark.feature("touchpad pinch: sharp, inside the page", by="mouse")
async def test_a_touchpads_pinch_magnifies_the_page(sit: Any) -> None:
    body = """<div style='height:2000px'></div><script>
      visualViewport.onresize = () => document.title = 'scale ' + (visualViewport.scale > 1.4) + ' wheel ' + wheel; let wheel = 0;
      addEventListener('wheel', e => wheel += e.ctrlKey, { passive: true });</script>"""
    async with sit(body) as seat:
        for _ in range(5):
            # What a browser makes of two fingers: a wheel with Control, without the key.
            await seat.cdp.send(
                "Input.dispatchMouseEvent", {"type": "mouseWheel", "x": 300, "y": 300, "deltaX": 0, "deltaY": -10, "modifiers": 2}
            )
        await seat.titled(r"scale true wheel [1-9]\d*")
        assert await seat.page.evaluate("[visualViewport.scale, devicePixelRatio]") == [1, 1]


async def test_a_pinch_is_the_pages_own_where_it_wants_it(sit: Any) -> None:
    body = "<script>addEventListener('wheel', e => { e.preventDefault(); if (e.ctrlKey) document.title = 'own ' + (e.deltaY < 0) + visualViewport.scale; }, { passive: false })</script>"
    async with sit(body) as seat:
        await seat.cdp.send(
            "Input.dispatchMouseEvent", {"type": "mouseWheel", "x": 790, "y": 590, "deltaX": 0, "deltaY": -20, "modifiers": 2}
        )
        await seat.titled("own true1")


# ---------------------------------------------------------------- frames of other sites


@pytest.mark.case(70)
@pytest.mark.feature("cursor shapes, also in frames of other sites", by="mouse")
@pytest.mark.feature("frames of other sites: clicks, typing, drop-downs, dialogs", by="mouse")
async def test_a_frame_of_another_site_works(sit: Any, isolation: Isolation) -> None:
    isolation.gateway.html(
        "/inner-all",
        """<style>body{margin:0;background:#fff}body>*{position:absolute;left:10px;width:180px;height:30px;box-sizing:border-box}</style>
        <input id=t style='top:10px'><select style='top:50px'><option>a<option>b</select>
        <button style='top:90px;cursor:help' onclick="parent.postMessage('sure ' + confirm('Sure?'), '*')">ask</button>
        <p style='top:130px;margin:0'>text</p><div style='top:170px;cursor:ew-resize;background:#eee'></div>
        <script>t.oninput = () => parent.postMessage('typed ' + t.value, '*'); document.querySelector('select').onchange = e => parent.postMessage('chose ' + e.target.value, '*');</script>""",
        OTHER,
    )
    body = f"<iframe src='{OTHER}/inner-all' style='position:absolute;left:200px;top:100px;width:300px;height:300px;border:0'></iframe><script>onmessage = e => document.title = e.data</script>"
    async with sit(body) as seat:
        await seat.shows(300, 285, (238, 238, 238))
        for y, name in ((285, "ew-resize"), (205, "help"), (240, "text"), (125, "text")):
            await seat.page.mouse.move(225, y)
            await seat.true("name => stage.style.cursor === name", name)
        await seat.page.mouse.click(250, 125)
        await seat.page.keyboard.type("inside")
        await seat.titled("typed inside")
        await seat.page.mouse.click(250, 165)
        option = seat.page.get_by_role("option", name="b")
        box = await option.bounding_box()
        assert box is not None
        assert 200 <= box["x"] <= 230
        await option.click()
        await seat.titled("chose b")
        await seat.page.mouse.click(250, 205)
        await seat.page.get_by_role("button", name="OK").click()
        await seat.titled("sure true")
        # By keyboard too: where the drop-down is does not come from where the pointer is.
        await seat.page.mouse.click(250, 125)
        await seat.page.mouse.move(600, 500)
        await seat.page.keyboard.press("Tab")
        await seat.page.keyboard.press("Space")
        await option.wait_for()
        box = await option.bounding_box()
        assert box is not None
        assert 200 <= box["x"] <= 230
        assert 180 <= box["y"] <= 330
