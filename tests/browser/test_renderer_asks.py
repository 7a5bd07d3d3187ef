"""What pages and servers ask the person, in a real Chromium through a real node: name and password, links for the device, permissions, frames' dialogs."""

from __future__ import annotations

import base64
import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from renderer.wire import messages as m
from renderer.wire.control import LeaseState
from tests.support.renderer import (
    ORIGIN,
    OTHER,
    Gateway,
    NodeProcess,
    ViewerClient,
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
        report = await start_lease(control, "lease-a", gateway.egress("lease-a"), tabs=3)
        assert report.state is LeaseState.STARTED, node.logs
        yield "lease-a"


@pytest.fixture
def show(node: NodeProcess, gateway: Gateway, lease: str) -> Any:
    @contextlib.asynccontextmanager
    async def opened(body: str, path: str = "/page") -> AsyncIterator[ViewerClient]:
        gateway.html(path, "<!doctype html><style>html{background:#fff}body{margin:0;font:16px sans-serif}</style>" + body)
        async with node.viewer(lease, path) as viewer:
            await viewer.message(m.Location, lambda x: x.path == path)
            await viewer.until(lambda v: v.frames)
            yield viewer
            await viewer.say(m.ClosePage())
            await viewer.message(m.Closed)

    return opened


# ---------------------------------------------------------------- name and password


@pytest.mark.case(69)
async def test_a_server_that_asks_who_is_there(node: NodeProcess, gateway: Gateway, lease: str) -> None:
    gateway.html("/archive", "<title>the archive</title>")
    gateway.html("/archive/next", "<title>next</title>")
    wanted = "Basic " + base64.b64encode(b"bob:hunter2").decode()
    gateway.protected = {ORIGIN + path: wanted for path in ("/archive", "/archive/next")}
    async with node.viewer(lease, "/archive") as viewer:
        asked = await viewer.message(m.Auth)
        assert (asked.origin, asked.realm) == (ORIGIN, 'The "Archive"')
        # Wrong: asked again. An answer to the old question means nothing.
        await viewer.say(m.AuthReply(asked.id, True, "bob", "guess"))
        again = await viewer.message(m.Auth, lambda x: x.id != asked.id)
        await viewer.say(m.AuthReply(asked.id, True, "bob", "hunter2"))
        # Cancelled: the server's own page stays.
        await viewer.say(m.AuthReply(again.id, False, "", ""))
        await viewer.title("denied")
        await viewer.say(m.Reload(False))
        third = await viewer.message(m.Auth, lambda x: x.id > again.id)
        await viewer.say(m.AuthReply(third.id, True, "bob", "hunter2"))
        await viewer.title("the archive")
        # Given once, known for the session.
        await viewer.say(m.Navigate("/archive/next"))
        await viewer.title("next")
        assert len([x for x in viewer.messages if isinstance(x, m.Auth)]) == 3
        assert "hunter2" not in str(node.logs)
        await viewer.say(m.ClosePage())
        await viewer.message(m.Closed)


@pytest.mark.feature("HTTP authentication", by="keyboard")
async def test_a_server_that_asks_by_digest(node: NodeProcess, gateway: Gateway, lease: str) -> None:
    gateway.html("/digest", "<title>the digest</title>")
    gateway.digests = {ORIGIN + "/digest": ("bob", "hunter2")}
    async with node.viewer(lease, "/digest") as viewer:
        asked = await viewer.message(m.Auth)
        assert (asked.origin, asked.realm) == (ORIGIN, "archive")
        await viewer.say(m.AuthReply(asked.id, True, "bob", "guess"))
        again = await viewer.message(m.Auth, lambda x: x.id != asked.id)
        await viewer.say(m.AuthReply(again.id, True, "bob", "hunter2"))
        await viewer.title("the digest")
        await viewer.say(m.ClosePage())
        await viewer.message(m.Closed)


async def test_a_question_is_taken_back_when_the_page_goes(node: NodeProcess, gateway: Gateway, lease: str) -> None:
    gateway.html("/private", "<title>private</title>")
    gateway.html("/public", "<title>public</title>")
    gateway.protected = {ORIGIN + "/private": "Basic x"}
    async with node.viewer(lease, "/private") as viewer:
        asked = await viewer.message(m.Auth)
        await viewer.title("denied")
        await viewer.say(m.Navigate("/public"))
        await viewer.title("public")
        await viewer.message(m.DialogClosed, lambda x: x.id == asked.id)
        await viewer.say(m.ClosePage())
        await viewer.message(m.Closed)


# ---------------------------------------------------------------- links for the device


@pytest.mark.case(19)
async def test_links_for_the_device_need_the_persons_press(show: Any) -> None:
    body = """<title>-</title><a href='mailto:carol@contoso.example?subject=Run%205' style='position:absolute;left:0;top:0;width:100px;height:40px'>write</a>
      <a href='intent://x' style='position:absolute;left:0;top:100px;width:100px;height:40px'>other</a>
      <script>location.href = 'tel:+431'; document.title = 'tried';</script>"""
    async with show(body, "/links") as viewer:
        await viewer.title("tried")
        await viewer.click(20, 20)
        offered = await viewer.message(m.External)
        assert offered.url == "mailto:carol@contoso.example?subject=Run%205"
        assert [x for x in viewer.messages if isinstance(x, m.External)] == [offered]
        await viewer.click(20, 120)
        await viewer.message(m.Notice, lambda x: x.code is m.NoticeCode.NAVIGATION_BLOCKED)


# ---------------------------------------------------------------- permissions


@pytest.mark.case(49)
async def test_permissions_are_denied_and_told_now_and_then(show: Any) -> None:
    body = """<title>-</title><script>
      const asked = async (name, what) => { try { await Promise.race([what(), new Promise((_, no) => setTimeout(no, 20))]); return name + ' given'; } catch (e) { return name + ' not given'; } };
      (async () => {
        const told = [];
        for (let i = 0; i < 20; i++) told.push(await asked('location', () => new Promise((yes, no) => navigator.geolocation.getCurrentPosition(yes, no))));
        told.push(await asked('camera', () => navigator.mediaDevices.getUserMedia({ video: true })));
        document.dispatchEvent(new CustomEvent('isolation-asked', { detail: '<img onerror=x>' }));
        document.title = [...new Set(told)].join(', ') + ' ' + /native code/.test(navigator.geolocation.getCurrentPosition);
      })();</script>"""
    async with show(body, "/asks") as viewer:
        await viewer.titled("location not given, camera not given true")
        kinds = [x.kind for x in viewer.messages if isinstance(x, m.Permission)]
        assert kinds == [m.PermissionKind.LOCATION, m.PermissionKind.CAMERA]


async def test_a_page_that_asks_where_the_person_is_hears_that_it_may_not(show: Any) -> None:
    """PERMISSION_DENIED is 1 (W3C Geolocation §8.1): a page that waits for an answer gets one."""
    body = """<title>-</title><script>
      navigator.geolocation.getCurrentPosition(() => document.title = 'given', error => document.title = 'error ' + error.code);</script>"""
    async with show(body, "/where") as viewer:
        await viewer.title("error 1")


# ---------------------------------------------------------------- suggestions


LIST = """<title>-</title><input id=city list=cities style='position:absolute;left:10px;top:10px;width:200px'><datalist id=cities>
  <option value=Vienna>Austria</option><option value=Venice></option><option value=Oslo></option><option value=Varna disabled></option></datalist>
  <script>city.oninput = () => document.title = 'typed ' + city.value; city.onchange = () => document.title = 'chose ' + city.value;</script>"""


@pytest.mark.feature("datalist", by="keyboard")
@pytest.mark.case(65)
async def test_suggestions_by_keyboard(show: Any) -> None:
    async with show(LIST, "/list") as viewer:
        await viewer.click(50, 20)
        whole = await viewer.message(m.Select)
        assert (whole.kind, [o.label for o in whole.options]) == (m.SelectKind.DATALIST, ["Vienna – Austria", "Venice", "Oslo"])
        await viewer.type("v")
        await viewer.message(m.Select, lambda x: len(x.options) == 2)
        await viewer.key("ArrowDown", "ArrowDown")
        await viewer.key("ArrowDown", "ArrowDown")
        last = await viewer.message(m.Select, lambda x: len(x.options) == 2 and x.options[1].selected)
        await viewer.key("Enter", "Enter")
        await viewer.title("chose Venice")
        await viewer.message(m.SelectClosed, lambda x: x.id == last.id)
        await viewer.key("Escape", "Escape")


@pytest.mark.feature("datalist", by="mouse")
async def test_suggestions_by_mouse(show: Any) -> None:
    async with show(LIST, "/list") as viewer:
        await viewer.click(50, 20)
        whole = await viewer.message(m.Select)
        await viewer.say(m.SelectReply(whole.id, ("2",)))
        await viewer.title("chose Oslo")


# ---------------------------------------------------------------- dialogs of frames


@pytest.mark.case(70)
@pytest.mark.parametrize("origin", [ORIGIN, OTHER])
async def test_a_dialog_names_the_frame_that_opens_it(show: Any, gateway: Gateway, origin: str) -> None:
    gateway.html("/inner", "<button style='width:200px;height:100px;background:red' onclick='alert(1)'>press</button>", origin)
    async with show(f"<iframe src='{origin}/inner' style='border:0;width:300px;height:200px'></iframe>", "/outer") as viewer:
        await viewer.colour(50, 40, (255, 0, 0))  # the frame is there to be clicked
        await viewer.click(50, 40)
        dialog = await viewer.message(m.Dialog)
        assert dialog.origin == origin
        await viewer.say(m.DialogReply(dialog.id, True, ""))


# ---------------------------------------------------------------- tabs


@pytest.mark.case(48)
async def test_pages_are_counted_by_the_node_too(show: Any, node: NodeProcess, lease: str, gateway: Gateway) -> None:
    """The client lies: it opens more than it may, past its own router."""
    body = "<title>-</title><button style='width:200px;height:100px' onclick=\"window.open('/second')\">open</button>"
    gateway.html("/second", "<title>second</title>")
    async with show(body, "/first") as one:
        async with node.viewer(lease, "/second") as two, node.viewer(lease, "/second") as three:
            await two.message(m.Ready)
            await three.message(m.Ready)
            async with node.viewer(lease, "/second") as four:
                assert (await four.message(m.Closed)).code is m.CloseCode.TAB_LIMIT
            await one.click(20, 20)
            await one.message(m.Notice, lambda x: x.code is m.NoticeCode.TAB_LIMIT)
        # Pages whose viewers left are kept for them, and make room for one that is here.
        async with node.viewer(lease, "/second") as five:
            await five.message(m.Ready)
            await five.say(m.ClosePage())
            await five.message(m.Closed)
