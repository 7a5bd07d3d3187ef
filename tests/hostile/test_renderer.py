"""Hostile pages in a real, sandboxed Chromium on a real node: schemes, sessions that spy on each other, and pages that abuse their browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from renderer.wire import messages as m
from renderer.wire.control import LeaseState
from tests.support.renderer import (
    ORIGIN,
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
        running.html("/calm", "<title>calm</title>")
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node() -> AsyncIterator[NodeProcess]:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "0") as running:
        yield running
    shutil.rmtree(runtime_dir.parent)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sessions(node: NodeProcess, gateway: Gateway) -> AsyncIterator[tuple[str, str]]:
    """Two sessions of two people: the attacker's and the victim's."""
    names = ("attacker", "victim")
    async with node.control() as control:
        for name in names:
            report = await start_lease(control, name, gateway.egress(name))
            assert report.state is LeaseState.STARTED, node.logs
        yield names
        for name in names:
            await end_lease(control, name)


@pytest.fixture
def attack(node: NodeProcess, gateway: Gateway, sessions: tuple[str, str]) -> Any:
    """Open a hostile page in a viewer: ``attack(body, "/path")``, of the attacker unless said otherwise."""

    @contextlib.asynccontextmanager
    async def opened(body: str, path: str, who: str = "attacker") -> AsyncIterator[ViewerClient]:
        gateway.html(path, "<!doctype html><style>html{background:#fff}body{margin:0;font:16px sans-serif}</style>" + body)
        async with node.viewer(who, path) as viewer:
            await viewer.message(m.Location, lambda x: x.path == path)
            await viewer.until(lambda v: v.frames)
            yield viewer
            if not any(isinstance(x, m.Closed) for x in viewer.messages):
                await viewer.say(m.ClosePage())
                await viewer.message(m.Closed)

    return opened


async def unharmed(node: NodeProcess, who: str) -> None:
    """Check that a session still opens pages."""
    async with node.viewer(who, "/calm") as viewer:
        await viewer.title("calm")
        await viewer.say(m.ClosePage())
        await viewer.message(m.Closed)


# ---------------------------------------------------------------- schemes

EVERY_WAY = """<title>-</title><body><script>
const pause = ms => new Promise(done => setTimeout(done, ms));
let found = '';
async function leave(to) {
  document.title = 'now ' + to;
  if (ITSELF) {
    try { location = to } catch {}
    try { location.replace(to) } catch {}
  }
  try { open(to) } catch {}
  try { open(to, 'named', 'width=200,height=100') } catch {}
  const frame = Object.assign(document.createElement('iframe'), {src: to});
  const refresh = Object.assign(document.createElement('iframe'), {srcdoc: `<meta http-equiv=refresh content="0;url=${to}">`});
  const object = Object.assign(document.createElement('object'), {data: to});
  const link = Object.assign(document.createElement('a'), {href: to, textContent: 'x'});
  const tab = Object.assign(document.createElement('a'), {href: to, target: '_blank', textContent: 'x'});
  const form = Object.assign(document.createElement('form'), {action: to, method: 'POST'});
  document.body.append(frame, refresh, object, link, tab, form);
  const itself = [() => link.click(), () => form.submit()];
  for (const act of [...ITSELF ? itself : [], () => tab.click(), () => navigator.sendBeacon(to, 'x'), () => navigator.registerProtocolHandler('web+x', to)])
    try { act() } catch {}
  const read = await fetch(to).then(answer => answer.text(), () => '');
  await pause(80);
  for (const some of [frame, refresh, object])
    try { if (/root:|Chromium|Loaded policies/.test(some.contentDocument.documentElement.textContent)) found ||= 'read ' + to } catch {}
  if (read.includes('root:')) found ||= 'read ' + to;
  for (const some of [frame, refresh, object, link, tab, form]) some.remove();
}
(async () => {
  for (const to of TARGETS) await leave(to);
  await pause(200);
  document.title = found || 'tried all';
})();
</script>"""

FILES = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    " file:///etc/passwd",
    "file://localhost/etc/passwd",
    "view-source:file:///etc/passwd",
    "view-source:view-source:file:///etc/passwd",
    "filesystem:file:///temporary/x",
    "blob:file:///x",
]
INNER = [
    "gpu",
    "policy",
    "settings",
    "crash",
    "kill",
    "version",
    "quit",
    "restart",
    "inducebrowsercrashforrealz",
    "gpucrash",
    "hang",
]
OTHERS = [
    "devtools://devtools/bundled/inspector.html",
    "chrome-extension://mhjfbmdgcfjbbpaeojofohoefgiehjai/index.html",
    "chrome-untrusted://print/",
    "chrome-search://local-ntp/",
    "data:text/html,<title>in</title>",
    "filesystem:http://app.localhost:8080/temporary/x",
    "ftp://127.0.0.1/",
    "intent://scan/#Intent;scheme=zxing;end",
    "ms-settings:",
    "ssh://127.0.0.1/",
    "isolated-app://x/",
]


def every_way(targets: list[str], *, itself: bool = True) -> str:
    """Return a page that tries every way to these addresses. ``itself``: also with the page's own tab."""
    return EVERY_WAY.replace("TARGETS", json.dumps(targets)).replace("ITSELF", json.dumps(itself))


async def stays(viewer: ViewerClient) -> None:
    """Wait until the page has tried everything; it must still be where it was, and so must whatever it opened."""
    assert (await viewer.titled("tried all|read .*|in")).group() == "tried all"
    for message in viewer.messages:
        if isinstance(message, m.Location):
            assert message.origin in {"", ORIGIN}
        if isinstance(message, m.Opened):
            assert message.origin in {"", ORIGIN}
            assert message.origin or not message.path, message


@pytest.mark.case(17)
async def test_files_are_not_opened(node: NodeProcess, attack: Any, gateway: Gateway) -> None:
    async with attack(every_way(FILES), "/files") as viewer:
        await stays(viewer)
        assert m.Notice(m.NoticeCode.NAVIGATION_BLOCKED) in viewer.messages
        # A link of a page, dragged onto another place of it.
        gateway.html(
            "/dragged",
            "<title>-</title><a href='file:///etc/passwd' style='position:absolute;left:0;top:0;width:100px;height:40px;background:#eee'>x</a>"
            "<script>ondragover = event => document.title = 'over'</script>",
        )
        await viewer.say(m.Navigate("/dragged"))
        await viewer.message(m.Location, lambda x: x.path == "/dragged")
        await viewer.say(m.Pointer(m.PointerKind.MOVE, 20, 20, 0, 0, 0, 0))
        await viewer.say(m.Pointer(m.PointerKind.DOWN, 20, 20, 0, 1, 1, 0))
        async with asyncio.timeout(20):
            while not any(isinstance(x, m.Title) and x.text == "over" for x in viewer.messages):
                for x in range(40, 400, 20):
                    await viewer.say(m.Pointer(m.PointerKind.MOVE, x, 60, 0, 1, 0, 0))
                    await asyncio.sleep(0.02)
        await viewer.say(m.Pointer(m.PointerKind.UP, 400, 60, 0, 0, 1, 0))
        await viewer.say(m.Navigate("/files-over"))
        await viewer.message(m.Location, lambda x: x.path == "/files-over")
        assert {x.origin for x in viewer.messages if isinstance(x, m.Location)} <= {"", ORIGIN}
    await unharmed(node, "attacker")


@pytest.mark.case(17, 18, 19)
@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "chrome://version", "data:text/html,<title>in</title>", "javascript:document.title='in'"]
)
async def test_a_redirect_stays_on_the_web(node: NodeProcess, attack: Any, gateway: Gateway, to: str) -> None:
    gateway.pages[ORIGIN + "/away"] = (302, {"Location": to}, b"")
    async with attack("<title>before</title>", "/redirected") as viewer:
        await viewer.title("before")
        await viewer.say(m.Navigate("/away"))
        await viewer.message(m.Loading, lambda x: not x.active)
        await viewer.say(m.Navigate("/calm"))
        await viewer.title("calm")
        assert {x.origin for x in viewer.messages if isinstance(x, m.Location)} <= {"", ORIGIN}
        assert {x.text for x in viewer.messages if isinstance(x, m.Title)} & {"in", "About Version", "passwd"} == set()


@pytest.mark.case(18)
@pytest.mark.parametrize("time", ["first", "second"])
async def test_the_browsers_own_pages_are_not_opened(node: NodeProcess, attack: Any, time: str) -> None:
    targets = [f"chrome://{name}" for name in INNER] + ["view-source:chrome://version"]
    async with attack(every_way(targets), f"/inner-{time}") as viewer:
        await stays(viewer)
    await unharmed(node, "attacker")


@pytest.mark.case(19)
async def test_other_schemes_are_not_opened(node: NodeProcess, attack: Any) -> None:
    async with attack(every_way(OTHERS, itself=False), "/others") as viewer:
        await stays(viewer)
    await unharmed(node, "attacker")


@pytest.mark.case(18, 19)
async def test_a_page_that_goes_there_itself_shows_nothing(node: NodeProcess, attack: Any, gateway: Gateway) -> None:
    """Chromium either stays where it is, or has an empty page in its place."""
    gateway.html(
        "/go",
        "<title>going</title><script>const to = decodeURIComponent(location.search.slice(1)); location = to;"
        "setTimeout(() => document.title = 'stayed at ' + to, 300)</script>",
    )
    async with attack("<title>-</title>", "/leaving") as viewer:
        for to in [*OTHERS, "about:version", "about:gpucrash", "about:settings"]:
            seen = len(viewer.messages)
            await viewer.say(m.Navigate("/go?" + quote(to, safe="")))

            def settled(v: ViewerClient, seen: int = seen, to: str = to) -> bool:
                new = v.messages[seen:]
                gone = any(isinstance(x, m.Location) and not x.origin for x in new)
                return gone or any(isinstance(x, m.Title) and x.text == f"stayed at {to}" for x in new)

            await viewer.until(settled)
        await viewer.say(m.Navigate("/calm"))
        await viewer.title("calm")
        titles = {x.text for x in viewer.messages if isinstance(x, m.Title)}
        assert {title for title in titles if not title.startswith("stayed at ")} <= {"", "-", "going", "calm"}
    await unharmed(node, "attacker")
