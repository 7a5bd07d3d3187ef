"""Pages in a real Chromium through a real node: what a viewer sees, and what its hands do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from typing import Any

import imagecodecs
import numpy as np
import pytest
import pytest_asyncio

from renderer.capture.pace import MOST_IN_FLIGHT
from renderer.wire import messages as m
from renderer.wire.control import LeaseState
from tests.support import clumsy_node
from tests.support.renderer import (
    ORIGIN,
    OTHER,
    PATIENCE,
    Gateway,
    NodeProcess,
    ViewerClient,
    end_lease,
    new_runtime_dir,
    node_process,
    open_to_all,
    start_lease,
)

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with Gateway() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node() -> AsyncIterator[NodeProcess]:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "0") as running:
        yield running
    shutil.rmtree(runtime_dir.parent)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lease(node: NodeProcess, gateway: Gateway) -> AsyncIterator[str]:
    async with node.control() as control:
        report = await start_lease(control, "lease-a", gateway.egress("lease-a"))
        assert report.state is LeaseState.STARTED, node.logs
        yield "lease-a"


@pytest.fixture
def show(node: NodeProcess, gateway: Gateway, lease: str) -> Any:
    """Open a page with this body in a viewer."""

    @contextlib.asynccontextmanager
    async def opened(body: str, path: str = "/page", **greeting: Any) -> AsyncIterator[ViewerClient]:
        gateway.html(path, "<!doctype html><style>html{background:#fff}body{margin:0;font:16px sans-serif}</style>" + body)
        async with node.viewer(lease, path, **greeting) as viewer:
            await viewer.message(m.Location, lambda x: x.path == path)
            await viewer.until(lambda v: v.frames)
            yield viewer
            if not any(isinstance(x, m.Closed) for x in viewer.messages):
                await viewer.say(m.ClosePage())
                await viewer.message(m.Closed)

    return opened


BOX = "<div style='position:absolute;left:{}px;top:{}px;width:{}px;height:{}px;background:{}'></div>"


async def test_first_picture_address_title(show: Any) -> None:
    async with show("<title>Hello <b>&amp;</b></title>" + BOX.format(100, 100, 50, 50, "#f00"), "/first") as viewer:
        assert isinstance(viewer.messages[0], m.Ready)
        await viewer.colour(120, 120, (255, 0, 0))
        assert viewer.pixel(10, 10) == (255, 255, 255)
        await viewer.title("Hello <b>&</b>")
        location = await viewer.message(m.Location, lambda x: x.path == "/first")
        assert (location.origin, location.index, location.length) == (ORIGIN, 0, 1)
        await viewer.message(m.Loading, lambda x: x.active)
        await viewer.message(m.Loading, lambda x: not x.active)


@pytest.mark.feature("typing", by="keyboard")
@pytest.mark.feature("wheel and touchpad: both directions, to the pixel", by="mouse")
@pytest.mark.case(66, 67)
async def test_typing_wheel_and_buttons(show: Any) -> None:
    body = """<title>-</title><input id=i style='position:absolute;left:10px;top:10px;width:200px'><div style='height:5000px'></div>
      <script>i.oninput = () => document.title = i.value;
      onwheel = () => setTimeout(() => document.title = 'scrolled ' + scrollY, 100);
      onauxclick = e => document.title = 'aux ' + e.button; ondblclick = () => document.title = 'double';
      oncontextmenu = e => { e.preventDefault(); document.title = 'menu'; };</script>"""
    async with show(body, "/type") as viewer:
        await viewer.click(50, 20)
        await viewer.type("hello")
        await viewer.title("hello")
        await viewer.say(m.Text("für 👩‍💻"))
        await viewer.title("hellofür 👩‍💻")
        await viewer.say(m.Composition("に", 1, 1))
        await viewer.say(m.Composition("日本", 2, 2))
        await viewer.say(m.Text("日本"))
        await viewer.title("hellofür 👩‍💻日本")
        await viewer.key("a", "KeyA", modifiers=2)
        await viewer.key("x", "KeyX")
        await viewer.title("x")
        await viewer.say(m.Wheel(300, 300, 0, 200, 0))
        await viewer.titled(r"scrolled [1-9]\d*")
        await viewer.click(300, 300, button=1)
        await viewer.title("aux 1")
        await viewer.click(300, 300, button=2)
        await viewer.title("menu")
        await viewer.click(300, 300, clicks=2)
        await viewer.title("double")


@pytest.mark.feature("keyboards with Command", by="keyboard")
async def test_command_keyboard(show: Any) -> None:
    body = """<title>-</title><textarea id=t style='position:absolute;left:10px;top:10px;width:300px;height:80px'>one two</textarea>
      <script>t.oninput = () => document.title = t.value;</script>"""
    async with show(body, "/mac", mac=True) as viewer:
        await viewer.click(200, 60)
        await viewer.key("ArrowLeft", "ArrowLeft", modifiers=4)  # Command+Left: start of line
        await viewer.key("x", "KeyX")
        await viewer.title("xone two")
        await viewer.key("a", "KeyA", modifiers=4)
        await viewer.key("y", "KeyY")
        await viewer.title("y")
        await viewer.key("z", "KeyZ", modifiers=4)
        await viewer.title("xone two")


@pytest.mark.feature("back, forward, reload", by="mouse")
async def test_history_and_same_document_navigation(show: Any, gateway: Gateway) -> None:
    gateway.html("/second", "<title>second</title>")
    async with show(
        "<title>first</title><a href='/second' style='position:absolute;left:0;top:0;width:200px;height:50px'>go</a>", "/start"
    ) as viewer:
        await viewer.click(20, 20)
        await viewer.message(m.Location, lambda x: (x.path, x.index, x.length) == ("/second", 1, 2))
        await viewer.say(m.History(-1))
        await viewer.message(m.Location, lambda x: (x.path, x.index, x.length) == ("/start", 0, 2))
        await viewer.say(m.History(-1))  # nothing before the first page: not even the empty one
        await viewer.say(m.History(1))
        seen = len(viewer.messages)
        await viewer.message(m.Location, lambda x: (x.path, x.index) == ("/second", 1), after=seen - 1)
        await viewer.say(m.Navigate("/start?x=1#top"))
        await viewer.message(m.Location, lambda x: (x.path, x.index, x.length) == ("/start?x=1#top", 2, 3))
        await viewer.say(m.Navigate("/start?x=1#end"))
        await viewer.message(m.Location, lambda x: x.path == "/start?x=1#end")
        assert not [x for x in viewer.messages if isinstance(x, m.Location) and x.path == "" and x.index]


@pytest.mark.feature("dialogs: alert, confirm, prompt", by="mouse")
async def test_dialogs(show: Any) -> None:
    body = """<title>-</title><button style='position:absolute;left:0;top:0;width:100px;height:50px' onclick="document.title='answer '+prompt('Name? <img src=x>','you')">ask</button>
      <button style='position:absolute;left:200px;top:0;width:100px;height:50px' onclick="document.title='sure '+confirm('sure?')">ask</button>"""
    async with show(body, "/dialogs") as viewer:
        await viewer.click(20, 20)
        dialog = await viewer.message(m.Dialog)
        assert (dialog.kind, dialog.origin, dialog.message, dialog.default) == (
            m.DialogKind.PROMPT,
            ORIGIN,
            "Name? <img src=x>",
            "you",
        )
        await viewer.say(m.DialogReply(dialog.id + 7, True, "wrong one"))
        await viewer.say(m.DialogReply(dialog.id, True, "me"))
        await viewer.title("answer me")
        await viewer.click(220, 20)
        dialog = await viewer.message(m.Dialog, lambda x: x.kind is m.DialogKind.CONFIRM)
        await viewer.say(m.DialogReply(dialog.id, False, ""))
        await viewer.title("sure false")


@pytest.mark.case(49)
async def test_alert_loop_ends(show: Any) -> None:
    async with show(
        "<title>-</title><script>setTimeout(() => { for (let i = 0; i < 60; i++) alert(i); document.title = 'through'; }, 300)</script>",
        "/loop",
    ) as viewer:
        answered = 0
        while not any(isinstance(x, m.Title) and x.text == "through" for x in viewer.messages):
            dialogs = [x for x in viewer.messages if isinstance(x, m.Dialog)]
            for dialog in dialogs[answered:]:
                await viewer.say(m.DialogReply(dialog.id, True, ""))
                answered += 1
            await asyncio.sleep(0.02)
        assert 1 <= answered < 20


@pytest.mark.case(49)
async def test_a_page_that_will_not_let_go_is_left_with_one_answer(show: Any, gateway: Gateway) -> None:
    """Full screen again and again, the pointer locked, questions inside the question whether to leave."""
    gateway.html("/after", "<title>after</title>")
    body = """<title>-</title><style>html{height:100%}</style><script>
      const grab = () => { document.documentElement.requestFullscreen().catch(() => {}); document.body.requestPointerLock(); };
      onclick = () => { document.title = 'grabbed'; grab(); setInterval(grab, 100); };
      onfullscreenchange = onkeydown = grab;
      onbeforeunload = (event) => { alert('first'); prompt('second'); event.preventDefault(); return 'stay'; };</script>"""
    async with show(body, "/trap") as viewer:
        await viewer.click(300, 300)
        await viewer.title("grabbed")
        await viewer.say(m.ExitFullscreen())
        await viewer.say(m.Navigate("/after"))
        dialog = await viewer.message(m.Dialog)
        assert (dialog.kind, dialog.message) == (m.DialogKind.BEFORE_UNLOAD, "")
        await viewer.say(m.DialogReply(dialog.id, True, ""))
        await viewer.title("after")
        assert sum(isinstance(x, m.Dialog) for x in viewer.messages) == 1
        assert [x for x in viewer.messages if isinstance(x, m.Fullscreen)][-1:] in ([], [m.Fullscreen(False)])


@pytest.mark.feature("drop-downs", by="mouse")
@pytest.mark.feature("drop-downs", by="keyboard")
@pytest.mark.case(65)
async def test_select_by_mouse_and_keyboard(show: Any) -> None:
    body = """<title>-</title><select id=s style='position:absolute;left:40px;top:30px;width:120px;height:30px'>
      <option>zero<optgroup label='G'><option disabled>one<option hidden>two<option value=v>&lt;three&gt;</optgroup></select>
      <script>s.onchange = e => document.title = s.value + ' ' + s.selectedIndex;</script>"""
    async with show(body, "/select") as viewer:
        await viewer.click(60, 40)
        select = await viewer.message(m.Select)
        assert (select.kind, select.x, select.y, select.width, select.height) == (m.SelectKind.OPTIONS, 40, 30, 120, 30)
        assert [(o.label, o.group, o.disabled, o.selected) for o in select.options] == [
            ("zero", "", False, True),
            ("one", "G", True, False),
            ("<three>", "G", False, False),
        ]
        await viewer.say(m.SelectReply(select.id, ("2",)))
        await viewer.title("v 3")
        await viewer.key(" ", "Space")
        again = await viewer.message(m.Select, lambda x: x.id > select.id)
        await viewer.say(m.SelectReply(again.id, ("1",)))  # disabled: not to be had
        await viewer.key(" ", "Space")
        third = await viewer.message(m.Select, lambda x: x.id > again.id)
        await viewer.say(m.SelectReply(third.id, ("0",)))
        await viewer.title("zero 0")


@pytest.mark.feature("date, time, month, week and colour inputs", by="mouse")
@pytest.mark.case(65)
@pytest.mark.parametrize(
    ("kind", "value", "reply"),
    [
        ("date", "2026-11-22", "2026-12-24"),
        ("time", "10:00", "23:59"),
        ("color", "#ff0000", "#00ff80"),
        ("month", "2026-11", "2027-01"),
        ("week", "2026-W40", "2026-W41"),
        ("datetime-local", "2026-11-22T10:00", "2026-11-23T11:30"),
    ],
)
async def test_pickers(show: Any, kind: str, value: str, reply: str) -> None:
    body = f"""<title>-</title><input type={kind} id=i value='{value}' style='position:absolute;left:40px;top:30px;width:220px;height:30px;box-sizing:border-box'>
      <script>i.onchange = () => document.title = i.value;</script>"""
    async with show(body, "/picker") as viewer:
        await viewer.click(250, 45)
        select = await viewer.message(m.Select)
        assert (select.kind, select.value) == (m.SelectKind(kind), value)
        await viewer.say(m.SelectReply(select.id, (reply,)))
        await viewer.title(reply)


@pytest.mark.feature("drop-downs in frames of other sites", by="mouse")
@pytest.mark.case(70)
async def test_select_in_a_frame_of_another_site(show: Any, gateway: Gateway) -> None:
    gateway.html(
        "/inner",
        "<body style='margin:0'><select onchange='parent.postMessage(this.value, \"*\")' style='position:absolute;left:10px;top:10px;width:100px;height:30px'><option>a<option>b</select>",
        OTHER,
    )
    body = f"<title>-</title><iframe src='{OTHER}/inner' style='position:absolute;left:100px;top:200px;width:300px;height:100px;border:0'></iframe><script>onmessage = e => document.title = 'got ' + e.data</script>"
    async with show(body, "/framed") as viewer:
        await asyncio.sleep(0.5)
        await viewer.click(130, 225)
        select = await viewer.message(m.Select)
        assert (select.x, select.y) == (110, 210)
        await viewer.say(m.SelectReply(select.id, ("1",)))
        await viewer.title("got b")


@pytest.mark.feature("cursor shapes, also in frames of other sites", by="mouse")
async def test_cursor(show: Any) -> None:
    body = """<a href='/x' style='position:absolute;left:0;top:0'>link link</a><p id=p style='position:absolute;left:0;top:100px'>plain text</p>
      <div style='position:absolute;left:300px;top:0;width:100px;height:100px;cursor:url(/c.png),ew-resize'></div>"""
    async with show(body, "/cursor") as viewer:
        for (x, y), name in (((10, 10), "pointer"), ((10, 125), "text"), ((350, 50), "ew-resize"), ((500, 400), "default")):
            await viewer.say(m.Pointer(m.PointerKind.MOVE, x, y, 0, 0, 0, 0))
            await viewer.until(
                lambda v, name=name: (
                    next((c for c in reversed(v.messages) if isinstance(c, m.Cursor)), m.Cursor("auto")).name == name
                )
            )  # type: ignore[misc]


@pytest.mark.feature("new windows and tabs, opener kept, capped", by="mouse")
@pytest.mark.case(69)
async def test_windows_wait_for_viewers(show: Any, node: NodeProcess, gateway: Gateway, lease: str) -> None:
    gateway.html(
        "/child",
        "<title>child</title><script>opener.document.title = 'hello from child'; </script>" + BOX.format(0, 0, 100, 100, "#0f0"),
    )
    body = "<title>-</title><button style='position:absolute;left:0;top:0;width:100px;height:50px' onclick=\"w = window.open('/child')\">open</button>"
    async with show(body, "/opener") as viewer:
        await viewer.click(20, 20)
        opened = await viewer.message(m.Opened)
        assert (opened.origin, opened.path) == (ORIGIN, "/child")
        await viewer.title("hello from child")
        async with node.viewer(lease, "/ignored", page=opened.page) as child:
            ready = await child.message(m.Ready)
            assert (ready.page, ready.resumed) == (opened.page, True)
            await child.colour(50, 50, (0, 255, 0))
            await child.title("child")
            await child.say(m.Navigate("/closing"))
            gateway.html("/closing", "<script>close()</script>")
            closed = await child.message(m.Closed)
            assert closed.code is m.CloseCode.PAGE_CLOSED


@pytest.mark.case(69)
async def test_a_sign_in_window_answers_its_opener_and_closes(show: Any, node: NodeProcess, gateway: Gateway, lease: str) -> None:
    """As with OAuth in a window of its own: another site's, which tells the result to its opener."""
    granted = f"opener.postMessage({{code: 'granted'}}, '{ORIGIN}'); window.close()"
    gateway.html(
        "/authorize", f'<title>allow?</title><body onclick="{granted}">' + BOX.format(0, 0, 90, 90, "#0f0"), origin=OTHER
    )
    body = f"""<title>-</title><script>
      onclick = () => open('{OTHER}/authorize?state=7', 'sign-in', 'popup,width=400,height=500');
      onmessage = ({{origin, data, source}}) => document.title = `${{origin}} ${{data.code}} ${{source.closed}}`;</script>"""
    async with show(body, "/signs-in") as viewer:
        await viewer.click(300, 300)
        opened = await viewer.message(m.Opened)
        assert (opened.origin, opened.path) == (OTHER, "/authorize?state=7")
        async with node.viewer(lease, "/ignored", page=opened.page, origin=OTHER) as window:
            await window.colour(50, 50, (0, 255, 0))
            await window.click(50, 50)
            assert (await window.message(m.Closed)).code is m.CloseCode.PAGE_CLOSED
        await viewer.titled(f"{OTHER} granted (true|false)")


@pytest.mark.case(69)
async def test_a_form_that_posts_itself_to_another_site_arrives_there(show: Any, gateway: Gateway) -> None:
    """As with SAML: the answer goes through the browser from one site to the other, in a form."""
    gateway.html("/acs", "<title>signed in</title>", origin=OTHER)
    body = f"""<title>-</title><form method=post action='{OTHER}/acs'><input type=hidden name=SAMLResponse value='PHNhbWw+'></form>
      <script>onclick = () => document.forms[0].submit();</script>"""
    async with show(body, "/idp") as viewer:
        await viewer.click(300, 300)
        await viewer.title("signed in")
        await viewer.message(m.Location, lambda x: (x.origin, x.path) == (OTHER, "/acs"))
        assert gateway.posted[-1] == (OTHER + "/acs", b"SAMLResponse=PHNhbWw%2B")


@pytest.mark.feature("new windows and tabs, opener kept, capped", by="mouse")
@pytest.mark.case(48)
async def test_popup_flood_is_capped(show: Any) -> None:
    body = """<title>-</title><button style='position:absolute;left:0;top:0;width:100px;height:50px'>open</button><script>
      onclick = () => { let made = 0; for (let i = 0; i < 60; i++) made += !!window.open('/page?' + i); document.title = 'made ' + made; }</script>"""
    async with show(body, "/flood") as viewer:
        await viewer.click(20, 20)

        def made(v: ViewerClient) -> int:
            return next((int(x.text[5:]) for x in v.messages if isinstance(x, m.Title) and x.text.startswith("made ")), 0)

        def refused(v: ViewerClient) -> int:
            return sum(isinstance(x, m.Notice) and x.code is m.NoticeCode.POPUP_BLOCKED for x in v.messages)

        # A page that takes more than its share is slowed down: it is waited for as long as its windows are being refused.
        while not made(viewer):
            before = refused(viewer)
            await viewer.until(lambda v, before=before: made(v) or refused(v) > before)
        await viewer.message(m.Opened)
        if (
            made(viewer) > 1
        ):  # where Chromium's own blocker stops all but one (not in its headless shell), nothing is left for us to block
            await viewer.message(m.Notice, lambda x: x.code is m.NoticeCode.POPUP_BLOCKED)
        assert len([x for x in viewer.messages if isinstance(x, m.Opened)]) <= 5


@pytest.mark.case(26)
async def test_takeover_and_return(show: Any, node: NodeProcess, lease: str) -> None:
    async with show("<title>-</title>" + BOX.format(0, 0, 100, 100, "#00f"), "/taken") as viewer:
        await viewer.colour(50, 50, (0, 0, 255))
        ready = viewer.messages[0]
        assert isinstance(ready, m.Ready)
        async with node.viewer(lease, "/", page=ready.page, width=500, height=400) as second:
            await second.colour(50, 50, (0, 0, 255))
            await second.until(lambda v: v.surface.shape == (400, 500, 3))
            closed = await viewer.message(m.Closed)
            assert closed.code is m.CloseCode.REPLACED
            await second.say(m.ClosePage())
            await second.message(m.Closed)


@pytest.mark.feature("resizing the window", by="mouse")
@pytest.mark.case(68)
async def test_resize_storm_ends_in_the_last_size(show: Any) -> None:
    async with show(
        "<title>-</title><script>onresize = () => document.title = innerWidth + 'x' + innerHeight</script>", "/resize"
    ) as viewer:
        for step in range(50):
            await viewer.say(m.Resize(300 + step, 200 + step, 100))
        await viewer.say(m.Resize(640, 480, 100))
        await viewer.title("640x480")
        await viewer.until(lambda v: v.surface.shape == (480, 640, 3))


@pytest.mark.feature("copy, cut, paste", by="keyboard")
@pytest.mark.case(41, 42)
async def test_clipboard_both_ways(show: Any) -> None:
    body = """<title>-</title><textarea id=t style='position:absolute;left:10px;top:10px;width:300px;height:80px'></textarea>
      <script>t.oninput = () => document.title = JSON.stringify(t.value);</script>"""
    async with show(body, "/clip") as viewer:
        await viewer.click(50, 30)
        await viewer.say(m.Paste("line one\nline <two>"))
        await viewer.title('"line one\\nline <two>"')
        await viewer.key("a", "KeyA", modifiers=2)
        await viewer.say(m.CopyRequest(False))
        clip = await viewer.message(m.Clipboard)
        assert clip.text == "line one\nline <two>"
        await viewer.say(m.CopyRequest(True))
        await viewer.title('""')


@pytest.mark.feature("copy, cut, paste", by="keyboard")
@pytest.mark.case(41, 42)
async def test_paste_event_reaches_rich_editors(show: Any) -> None:
    body = """<title>-</title><div id=e contenteditable style='position:absolute;left:10px;top:10px;width:300px;height:80px'></div>
      <script>e.onpaste = v => { v.preventDefault(); document.title = 'pasted ' + JSON.stringify(v.clipboardData.getData('text/plain')); };
      e.oncopy = v => { v.preventDefault(); v.clipboardData.setData('text/plain', 'made by the page'); };</script>"""
    async with show(body, "/rich") as viewer:
        await viewer.click(50, 30)
        await viewer.say(m.Paste("a\nb"))
        await viewer.title('pasted "a\\nb"')
        await viewer.say(m.Text("typed"))
        await viewer.key("a", "KeyA", modifiers=2)
        await viewer.say(m.CopyRequest(False))
        assert (await viewer.message(m.Clipboard)).text == "made by the page"


@pytest.mark.feature("drag and drop inside the page", by="mouse")
@pytest.mark.case(67)
async def test_drag_and_drop(show: Any) -> None:
    body = """<title>-</title><div draggable=true style='position:absolute;left:10px;top:10px;width:80px;height:80px;background:#f00'></div>
      <div id=d style='position:absolute;left:300px;top:10px;width:200px;height:200px;background:#0f0'></div>
      <script>ondragstart = e => e.dataTransfer.setData('text/plain', 'cargo'); d.ondragover = e => e.preventDefault();
      d.ondrop = e => { e.preventDefault(); document.title = 'dropped ' + e.dataTransfer.getData('text/plain'); };</script>"""
    async with show(body, "/drag") as viewer:
        await viewer.say(m.Pointer(m.PointerKind.MOVE, 50, 50, 0, 0, 0, 0))
        await viewer.say(m.Pointer(m.PointerKind.DOWN, 50, 50, 0, 1, 1, 0))
        for x in range(60, 400, 20):
            await viewer.say(m.Pointer(m.PointerKind.MOVE, x, 60, 0, 1, 0, 0))
            await asyncio.sleep(0.02)
        await viewer.say(m.Pointer(m.PointerKind.UP, 400, 60, 0, 0, 1, 0))
        await viewer.title("dropped cargo")


@pytest.mark.case(37)
async def test_icon_is_drawn_anew(show: Any, gateway: Gateway) -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[...] = (200, 10, 20, 255)
    original = bytes(imagecodecs.png_encode(pixels))
    gateway.pages[ORIGIN + "/icon.png"] = (200, {"Content-Type": "image/png"}, original)
    async with show("<link rel='shortcut icon' href='/icon.png'><title>-</title>", "/icon") as viewer:
        icon = await viewer.message(m.Icon, lambda x: bool(x.png))
        drawn = imagecodecs.png_decode(base64.b64decode(icon.png))
        assert drawn.shape == (32, 32, 4)
        assert tuple(drawn[16, 16]) == (200, 10, 20, 255)


@pytest.mark.case(43, 44, 49)
async def test_what_is_refused_is_said(show: Any, gateway: Gateway) -> None:
    gateway.pages[ORIGIN + "/file.bin"] = (
        200,
        {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment; filename=x"},
        b"secret bytes",
    )
    body = """<title>-</title><a href=/file.bin style='position:absolute;left:0;top:0;width:90px;height:40px'>d</a>
      <input type=file style='position:absolute;left:100px;top:0;width:90px;height:40px'>
      <button onclick=print() style='position:absolute;left:200px;top:0;width:90px;height:40px'>p</button>
      <a href='steam://run/1' style='position:absolute;left:300px;top:0;width:90px;height:40px'>m</a>"""
    async with show(body, "/refused") as viewer:
        for x, code in (
            (20, m.NoticeCode.DOWNLOAD_BLOCKED),
            (120, m.NoticeCode.UPLOAD_BLOCKED),
            (220, m.NoticeCode.PRINT_BLOCKED),
            (320, m.NoticeCode.NAVIGATION_BLOCKED),
        ):
            await viewer.click(x, 20)
            await viewer.message(m.Notice, lambda n, code=code: n.code is code)  # type: ignore[misc]


@pytest.mark.case(64)
async def test_final_picture_is_exact_after_a_burst_and_slow_acks(show: Any) -> None:
    body = """<title>-</title><canvas id=c width=800 height=600 style='position:absolute;left:0;top:0'></canvas><script>
      const g = c.getContext('2d'); let n = 0;
      function step() { g.fillStyle = `rgb(${n * 7 % 256},${n * 13 % 256},${n * 29 % 256})`; g.fillRect((n * 37) % 700, (n * 53) % 500, 100, 100);
        if (++n < 90) requestAnimationFrame(step); else { g.fillStyle = '#123456'; g.fillRect(0, 0, 800, 300); document.title = 'done'; } }
      setTimeout(step, 300);</script>"""
    async with show(body, "/burst") as viewer:
        viewer.acknowledge = False
        await viewer.title("done")
        assert viewer.rules.unacked <= MOST_IN_FLIGHT
        viewer.acknowledge = True
        if viewer.rules.unacked:
            await viewer.say(m.Ack(viewer.rules.sent))
        expected = np.full((600, 800, 3), 255, np.uint8)
        for n in range(90):
            x, y = n * 37 % 700, n * 53 % 500
            expected[y : y + 100, x : x + 100] = (n * 7 % 256, n * 13 % 256, n * 29 % 256)
        expected[:300] = (0x12, 0x34, 0x56)
        await viewer.until(lambda v: np.array_equal(v.surface, expected))
        await viewer.say(m.Refresh(True))
        seen = len(viewer.messages)
        await viewer.message(m.Frame, lambda f: f.whole, after=seen)
        assert np.array_equal(viewer.surface, expected)


@pytest.mark.feature("page zoom, sharp", by="mouse")
@pytest.mark.feature("page zoom, sharp", by="keyboard")
@pytest.mark.case(68)
async def test_one_browser_serves_every_scale_and_follows_page_zoom(show: Any) -> None:
    """A hair of half a CSS pixel is seen where a device pixel is so fine, and a click still falls where it was aimed."""
    body = (
        "<div style='position:absolute;left:.5px;top:0;width:.5px;height:100px;background:#f00'></div>"
        "<button style='position:absolute;left:100px;top:100px;width:50px;height:50px' onclick=\"document.title='hit'\">x</button>"
        "<script>const say = () => { document.title = devicePixelRatio; requestAnimationFrame(() => document.title == 'hit' || say()) }; say()</script>"
    )
    async with (
        show(body, "/fine", scale=200, width=400, height=300) as fine,
        show(body, "/coarse", width=400, height=300) as coarse,
    ):
        await fine.until(lambda v: v.surface.shape == (600, 800, 3) and v.pixel(1, 50) == (255, 0, 0))
        assert fine.pixel(0, 50) == (255, 255, 255)
        await coarse.until(lambda v: v.surface.shape == (300, 400, 3))
        await coarse.say(m.Resize(320, 240, 125))
        await coarse.until(
            lambda v: v.surface.shape == (300, 400, 3) and "1.25" in [x.text for x in v.messages if isinstance(x, m.Title)]
        )
        await coarse.say(m.Resize(400, 300, 300))
        await coarse.until(lambda v: v.surface.shape == (900, 1200, 3))
        assert fine.surface.shape == (600, 800, 3)
        await coarse.click(120, 120)
        await coarse.title("hit")
        await coarse.say(m.Resize(400, 300, 100))
        await coarse.until(lambda v: v.surface.shape == (300, 400, 3))


async def test_hidden_viewers_cost_nothing(show: Any) -> None:
    async with show(
        "<title>-</title><script>setInterval(() => document.documentElement.style.background = `rgb(${Math.random()*255},0,0)`, 20)</script>",
        "/hidden",
    ) as viewer:
        await viewer.until(lambda v: v.frames > 3)
        await viewer.say(m.Focus(False, False))
        async with asyncio.timeout(20):  # what was on its way when it heard
            before = -1
            while viewer.frames != before:
                before = viewer.frames
                await asyncio.sleep(0.5)
        await asyncio.sleep(0.5)
        assert viewer.frames == before
        await viewer.say(m.Focus(True, True))
        await viewer.until(lambda v: v.frames > before)


async def test_a_field_that_has_the_keyboard_is_at_rest(show: Any) -> None:
    """Its caret does not blink: that would be two pictures a second for as long as somebody leaves a form open."""
    async with show("<title>-</title><input autofocus value='a b c' style='font-size:40px;margin:20px'>", "/rests") as viewer:
        await viewer.message(m.Editing, lambda x: x.mode is m.EditingMode.TEXT)
        await asyncio.sleep(1)  # nothing marks the end of nothing happening
        before = viewer.frames
        await asyncio.sleep(1.5)
        assert viewer.frames == before
        await viewer.key("x", "KeyX")
        await viewer.until(lambda v: v.frames > before)


@pytest.mark.feature("a crashed page comes back", by="mouse")
@pytest.mark.case(51)
async def test_a_crashed_page_comes_back(show: Any, node: NodeProcess) -> None:
    async with show("<title>-</title>" + BOX.format(0, 0, 100, 100, "#0ff"), "/crash") as viewer:
        await viewer.colour(50, 50, (0, 255, 255))
        for pid in node.pages():
            os.kill(pid, signal.SIGKILL)
        await viewer.message(m.Notice, lambda x: x.code is m.NoticeCode.PAGE_CRASHED)
        seen = len(viewer.messages)
        await viewer.message(m.Frame, lambda f: f.whole, after=seen - 1)
        await viewer.colour(50, 50, (0, 255, 255))


async def test_who_goes_elsewhere_while_a_crashed_page_comes_back_gets_there(
    show: Any, node: NodeProcess, gateway: Gateway
) -> None:
    gateway.html("/elsewhere", "<title>elsewhere</title>" + BOX.format(0, 0, 100, 100, "#0f0"))
    async with show("<title>-</title>" + BOX.format(0, 0, 100, 100, "#0ff"), "/crash-and-leave") as viewer:
        await viewer.colour(50, 50, (0, 255, 255))
        for pid in node.pages():
            os.kill(pid, signal.SIGKILL)
        await viewer.message(m.Notice, lambda x: x.code is m.NoticeCode.PAGE_CRASHED)
        await viewer.say(m.Navigate("/elsewhere"))
        await viewer.title("elsewhere")
        await viewer.colour(50, 50, (0, 255, 0))


async def test_who_connects_while_a_crashed_page_comes_back_is_shown_it(node: NodeProcess, gateway: Gateway, lease: str) -> None:
    gateway.html("/crash-and-lose", "<title>-</title>" + BOX.format(0, 0, 100, 100, "#0ff"))
    async with node.viewer(lease, "/crash-and-lose") as viewer:
        ready = await viewer.message(m.Ready)
        await viewer.colour(50, 50, (0, 255, 255))
        for pid in node.pages():
            os.kill(pid, signal.SIGKILL)
        await viewer.message(m.Notice, lambda x: x.code is m.NoticeCode.PAGE_CRASHED)
        async with node.viewer(lease, "/crash-and-lose", page=ready.page) as second:
            assert (await second.message(m.Ready)).resumed
            await second.colour(50, 50, (0, 255, 255))


@pytest.mark.feature("back, forward, reload", by="keyboard")
@pytest.mark.parametrize(("stopped", "by"), [(False, "reload"), (True, "reload"), (True, "viewer")])
async def test_who_loads_again_before_the_first_answer_gets_there(
    node: NodeProcess, gateway: Gateway, lease: str, stopped: bool, by: str
) -> None:
    path = f"/hasty-{stopped}-{by}"
    gateway.html(path, "<title>there</title>")
    answer = gateway.held[ORIGIN + path] = asyncio.Event()
    async with node.viewer(lease, path) as viewer:
        ready = await viewer.message(m.Ready)
        async with asyncio.timeout(PATIENCE):
            while ("lease-a", ORIGIN + path) not in gateway.seen:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.02)
        if stopped:
            before = len(viewer.messages)
            await viewer.say(m.Stop())
            await viewer.message(m.Loading, lambda x: not x.active, after=before)
        if by == "reload":
            await viewer.say(m.Reload(False))
            await asyncio.sleep(0.5)  # the app is slow; whether it is asked a second time is Chromium's affair
            answer.set()
            await viewer.title("there")
    answer.set()
    async with node.viewer(lease, path, page=ready.page) as viewer:  # the viewer's own page was loaded again
        await viewer.title("there")
        await viewer.say(m.ClosePage())
        await viewer.message(m.Closed)


@pytest.mark.case(51)
async def test_a_page_that_dies_before_its_first_viewer_comes_is_replaced(node: NodeProcess, gateway: Gateway) -> None:
    """The first page is made with the session, and waits for who looks at it."""
    gateway.html("/early", "<title>early</title>" + BOX.format(0, 0, 100, 100, "#0f0"))
    async with node.control() as control:
        before = set(node.pages())
        assert (await start_lease(control, "early", gateway.egress("early"))).state is LeaseState.STARTED
        for pid in set(node.pages()) - before:
            os.kill(pid, signal.SIGKILL)
        async with node.viewer("early", "/early") as viewer:
            await viewer.colour(50, 50, (0, 255, 0))
            await viewer.title("early")
        await end_lease(control, "early")


async def test_a_page_that_does_not_answer_at_first_is_replaced_and_goes_where_it_was_sent(gateway: Gateway) -> None:
    """It stayed empty for ever."""
    runtime_dir = open_to_all(new_runtime_dir())
    gateway.html("/wanted", "<title>wanted</title>here")
    async with node_process(runtime_dir, "--warm", "0", module=clumsy_node.MODULE) as node, node.control() as control:
        report = await start_lease(control, "lease-c", gateway.egress("lease-c"))
        assert report.state is LeaseState.STARTED, node.logs
        async with node.viewer("lease-c", "/wanted") as viewer:
            await viewer.message(m.Title, lambda x: x.text == "wanted")
            await viewer.until(lambda v: v.frames)
        assert [line for line in node.logs if line["event"] == "page.unwired"]
    shutil.rmtree(runtime_dir.parent)
