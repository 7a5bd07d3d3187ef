"""A renderer that is no renderer: it speaks the wire protocol and lies, through the real gate and relay, to the real viewer in Chromium."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from html import unescape
from typing import Any

import imagecodecs
import numpy as np
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.async_api import Browser

from isolation.broker.leases import LeaseService, MemoryLeaseBook
from isolation.broker.model import EgressAddress, Grant, NodeAddress
from isolation.clock import SystemClock
from isolation.policy.controls import Clipboard, Controls, Transfer
from isolation.testing.fake_node import FakeNode, FakePage, quiet
from isolation.testing.viewer_site import RecordedAudit
from renderer.wire import messages as m
from renderer.wire.codec import encode
from renderer.wire.control import LeaseCode, LeaseReport, LeaseState, NodeStatus
from renderer.wire.fields import CURSORS, WireError
from renderer.wire.glyphs import Glyphs, Stamp, pack_glyphs
from tests.hostile.fuzz.seeds import seeds
from tests.hostile.fuzz.ways import MARK
from tests.support.viewer import EVIL, Person, opener
from tests.support.viewer import chromium as chromium  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

OPEN = Controls(clipboard=Clipboard.BOTH, download=Transfer.ALLOW, upload=Transfer.ALLOW, print=True)

# ---------------------------------------------------------------- what it says

texts = st.sampled_from(
    [
        EVIL,
        "javascript:hacked=1",
        "\u202egpj.exe",
        "<svg/onload=hacked=1>",
        "{{constructor.constructor('hacked=1')()}}",
        "a" * 60,
        "",
        "\n\n\n",
    ]
)
origins = st.sampled_from(["", "https://evil.example", "http://127.0.0.1:9", "https://xn--pypal-4ve.example"])
paths = st.sampled_from(
    ["/", "/.isolation/sign-out", "//evil.example/x", "/\\evil.example", "/?<script>hacked=1</script>", "/#javascript:hacked=1"]
)
numbers = st.integers(1, 9)
places = st.integers(-32_767, 32_767)


def picture(width: int, height: int, *, lossless: bool) -> bytes:
    pixels = np.full((height, width, 3), 90, np.uint8)
    return bytes(imagecodecs.webp_encode(pixels, lossless=lossless))


STAMPS = [
    pack_glyphs(Glyphs(forget, sizes, picture(16, 16, lossless=True) if sizes else b"", stamps))
    for forget in (False, True)
    for sizes in ((), ((16, 16),))
    for stamps in ((), (Stamp(0, 0, 0),), (Stamp(0, 3, 3), Stamp(1, -7, 9000)), (Stamp(4095, 0, 0),) * 2000)
]


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame as its bytes: honest, or with a rectangle, a size, a picture or a length that is false."""
    width, height = draw(st.sampled_from([(64, 48), (900, 600), (1, 1), (8192, 16), (3000, 2000)]))
    paints = []
    for _ in range(draw(st.integers(0, 3))):
        w, h = draw(st.sampled_from([(width, height), (1, 1), (min(40, width), min(16, height))]))
        encoding = draw(st.sampled_from(list(m.Encoding)))
        data = {
            m.Encoding.FILL: b"\xff\0\0",
            m.Encoding.WEBP_LOSSLESS: picture(w, h, lossless=True),
            m.Encoding.WEBP_LOSSY: picture(w, h, lossless=False),
            m.Encoding.RECALL: b"\0\1\0\0\0\0",
            m.Encoding.VIDEO: picture(w, h, lossless=False)[20:],
            m.Encoding.GLYPHS: draw(st.sampled_from(STAMPS)),
        }[encoding]
        paints.append(m.Paint(draw(st.integers(0, width - w)), draw(st.integers(0, height - h)), w, h, encoding, data))
    frame = m.Frame(
        draw(numbers), width, height, draw(st.booleans()), (), tuple(paints), (), draw(st.sampled_from([25, 100, 500]))
    )
    try:
        data = bytearray(encode(frame))
    except WireError:
        return b"\x41"
    if draw(st.booleans()):  # a lie somewhere
        at = draw(st.integers(0, len(data) - 1))
        data[at] = draw(st.integers(0, 255))
    return bytes(data)


def _said(message: m.FromRenderer) -> bytes:
    """Return what the wire can carry; b"": not this. What it cannot is in the garbage below."""
    try:
        return encode(message)
    except WireError:
        return b""


messages = st.one_of(
    st.builds(m.Title, texts),
    st.builds(m.Icon, st.just("")),
    st.builds(m.Cursor, st.sampled_from(sorted(CURSORS))),
    st.builds(m.Loading, st.booleans()),
    st.builds(lambda o, p, i, r: m.Location(o, p if o else "", i, 9, r), origins, paths, st.integers(0, 8), st.booleans()),
    st.builds(m.Dialog, numbers, st.sampled_from(m.DialogKind), origins, texts, texts),
    st.builds(m.DialogClosed, numbers),
    st.builds(
        lambda n, kind, x, y, text: m.Select(n, kind, x, y, 99, 20, False, (m.Option(text, text, False, True),), "", "", ""),
        numbers, st.sampled_from(m.SelectKind), places, places, texts,
    ),
    st.builds(m.SelectClosed, numbers),
    st.builds(m.Clipboard, texts),
    st.builds(m.Notice, st.sampled_from(m.NoticeCode)),
    st.builds(m.LinkHint, texts),
    st.builds(m.Menu, numbers, places, places, texts, st.booleans(), st.booleans(), st.booleans()),
    st.builds(m.Auth, numbers, origins, texts),
    st.builds(m.Editing, st.sampled_from(m.EditingMode), places, places, st.just(9), st.just(9)),
    st.builds(m.Permission, st.sampled_from(m.PermissionKind)),
    st.builds(m.Opened, st.sampled_from(["p", "isolation-page", "x" * 64]), origins, paths),
    st.builds(m.External, st.sampled_from(["mailto:a@b.example", "tel:+1", "mailto:?body=%22%3E%3Cscript%3E"])),
    st.builds(m.Fullscreen, st.booleans()),
    st.builds(m.Found, st.integers(0, 9), st.integers(0, 9)),
    st.builds(m.FileAsk, numbers, st.booleans(), texts),
    st.builds(m.Download, numbers, st.sampled_from(m.DownloadKind), texts.filter(bool), st.integers(0, 2**40)),
).map(_said).filter(bool)  # fmt: skip
GARBAGE = [part for seed in seeds("renderer") for part in seed[1:].split(MARK)]
lies = st.builds(
    lambda said, last: [*said, *last],
    st.lists(st.one_of(messages, messages, messages, frames()), min_size=1, max_size=25),
    st.lists(st.sampled_from(GARBAGE), max_size=2),  # most of it ends the stream
)

# ---------------------------------------------------------------- what must not happen

WATCH = """() => {
  window.violations = [];
  document.addEventListener('securitypolicyviolation', event => violations.push(event.violatedDirective));
}"""
STATE = """() => ({
  hacked: window.hacked ?? null,
  scripts: document.scripts.length,
  foreign: document.querySelectorAll('iframe, object, embed, base, form[action], img[src]:not([src^="data:"]):not([src^="blob:"]), [onclick], [onerror], [onload], [style*="url("]').length,
  links: [...document.links].filter(link => !/^(https?|mailto|tel|sms|blob):/.test(link.href)).map(link => link.href),
  stray: [...document.querySelectorAll('canvas')].filter(canvas => { const box = canvas.parentElement.getBoundingClientRect();
    return getComputedStyle(canvas.parentElement).overflow === 'visible' || box.right > innerWidth + 1 || box.bottom > innerHeight + 1; }).length,
  wide: document.documentElement.scrollWidth > innerWidth || document.documentElement.scrollHeight > innerHeight,
})"""
HARMLESS = {"hacked": None, "scripts": 1, "foreign": 0, "links": [], "stray": 0, "wide": False}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def person(chromium: Browser) -> AsyncIterator[Person]:
    """Somebody in front of a renderer that has been taken over."""
    async with opener(chromium)("/run", controls=OPEN) as somebody:
        await somebody.context.add_init_script(f"({WATCH})()")
        somebody.context.on("page", lambda page: asyncio.ensure_future(_close_others(somebody, page)))
        await somebody.live()
        yield somebody


async def _close_others(person: Person, page: Any) -> None:
    if page is not person.page:
        await page.close()


async def fresh(person: Person) -> FakePage:
    """Load the viewer anew; return the page that it is attached to."""
    person.site.node.pages.clear()
    await person.page.goto(person.site.origin + "/run")
    return await person.live()


@pytest.mark.timeout(400)
@pytest.mark.case(37, 39, 40)
@given(said=lies)
@settings(max_examples=6, suppress_health_check=list(HealthCheck))
async def test_whatever_it_says_nothing_runs_and_nothing_leaves_the_canvas(person: Person, said: list[bytes]) -> None:
    remote = await fresh(person)
    for one in said:
        await remote.send_raw(one)
    await remote.send(m.Title("the last word"))
    # Either the viewer has heard the last word, or the stream was ended before, or a question of the page's own stands before it.
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            while await person.page.title() != "the last word" and person.site.relay.streams and remote.viewer is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    state = await person.page.evaluate(STATE)
    assert state == HARMLESS
    assert await person.page.evaluate("violations") == []  # nothing was even tried
    assert person.page.url.startswith(person.site.origin + "/")
    assert not person.page.url.startswith(person.site.origin + "/.isolation")
    assert [
        url for url in person.requests if not url.startswith((person.site.origin + "/", "data:", "blob:" + person.site.origin))
    ] == []


@pytest.mark.case(39)
async def test_it_cannot_send_the_tab_back_to_where_the_person_was_before(person: Person) -> None:
    """It says that the page has gone forward by more than it has, and back again."""
    await person.page.goto(person.site.origin + "/.isolation/static/viewer/viewer.css")  # anything that is not the viewer
    remote = await fresh(person)
    for index in (3, 1, 0, 8, 7, 2, 0):
        await remote.send(m.Location(person.site.origin, f"/at-{index}", index, 9, False))
        await person.page.wait_for_url(f"**/at-{index}")
    await remote.send(m.Title("still here"))
    await person.page.wait_for_function("document.title === 'still here'")


@pytest.mark.case(39)
async def test_it_is_told_no_secret(person: Person) -> None:
    """Of all that reached it: no cookie, ticket, handle, session or person."""
    person.site.node.pages.clear()
    response = await person.page.goto(person.site.origin + "/run")
    assert response is not None
    found = re.search(r'data-configuration="([^"]*)"', await response.text())
    assert found is not None
    known: dict[str, Any] = json.loads(unescape(found[1]))
    remote = await person.live()
    grant = person.site.grant
    assert grant is not None
    secrets = [grant.session_digest, grant.person_key, known["ticket"], known["instance"], "bob@contoso.example"]
    heard = b"".join(encode(message) for message in remote.received).decode("utf-8", "replace")
    heard += repr(person.site.node.starts) + repr(person.site.node.heads)
    assert heard
    assert [secret for secret in secrets if secret in heard] == []


@pytest.mark.case(16, 39)
async def test_one_node_cannot_reach_another_nodes_sessions() -> None:
    """A node that has been taken over speaks of leases that are not its own, and of more room than there is."""
    async with FakeNode(quiet) as good, FakeNode(quiet) as evil:
        leases = LeaseService(
            nodes=[NodeAddress("good", good.url, good.token), NodeAddress("evil", evil.url, evil.token)],
            book=MemoryLeaseBook(),
            audit=RecordedAudit(),
            egress=EgressAddress("127.0.0.1", 1, ""),
            clock=SystemClock(),
        )
        running = asyncio.create_task(leases.run())
        try:
            grants = [grant(str(number)) for number in range(4)]
            hello = m.Hello(1, "", "/", 320, 240, 100, False, True, False)
            async with asyncio.timeout(20):
                for one in grants:
                    async with leases.attach(one, hello):
                        pass
            mine = [start.lease for start in good.starts]
            assert mine
            assert evil.starts
            for lease in mine:
                await evil._tell(LeaseReport(lease, LeaseState.ENDED, LeaseCode.CRASHED))
                await evil._tell(LeaseReport(lease, LeaseState.FAILED, LeaseCode.LAUNCH_FAILED))
            await evil._tell(NodeStatus(0, 1_000_000, 1_000_000, "x"))
            # the good node's sessions go on where they are
            before = len(good.starts)
            async with asyncio.timeout(20):
                for one in grants:
                    async with leases.attach(one, hello):
                        pass
            assert set(mine) <= set(good.leases)
            assert len({start.lease for start in good.starts[:before]}) == len(mine)
            assert not {start.lease for start in evil.starts} & set(mine)
            # and what each knows opens nothing of the other's
            assert {start.egress.password for start in good.starts}.isdisjoint({start.egress.password for start in evil.starts})
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def grant(session: str) -> Grant:
    return replace(
        Grant("0" * 64, "contoso/bob", "Payroll", "http://payroll.localhost:1", OPEN, "7KQ4-M2XD"), session_digest=session * 64
    )
