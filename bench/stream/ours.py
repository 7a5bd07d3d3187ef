"""Our stream, as the product makes it: ``isolation serve`` with the built-in tenant, bob at high risk, and our viewer page in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
from playwright.async_api import Browser, BrowserContext

from bench.report import MissingError
from bench.stream.processes import Meter, command, family, free_port, listens, running, wait_until
from bench.stream.script import HEIGHT, NOTCH, WIDTH, Spot, Subject, Taken
from bench.stream.viewing import Note, View, closed
from isolation.testing.tenant import people
from renderer.wire.codec import decode_from_renderer, decode_to_renderer
from renderer.wire.messages import Ack, Encoding, Frame, Key

PERSON = people.BOB
_CONFIGURATION = """
auth_host: auth.localhost
public_scheme: http
public_port: {port}
listen: 127.0.0.1:{port}
operations_listen: 127.0.0.1:{operations}
state_dir: {state}
identity_providers:
  - name: Entra
    type: azureAD
    config:
      client_id: {client_id}
      client_secret: env:BENCH_CLIENT_SECRET
      directory_id: {directory_id}
      cloud: {{login: "http://localhost:{tenant}", graph: "http://localhost:{tenant}"}}
apps:
  - name: Text
    domain: text.localhost
    upstream: http://127.0.0.1:{text}
    policies: &people
      - name: Staff
        decision: allow
        include: [{{azureAD: {{id: {employees}, name: Employees}}}}]
  - name: Data
    domain: data.localhost
    upstream: http://127.0.0.1:{data}
    policies: *people
isolation:
  - name: High-risk users
    include: [{{user_risk: {{at_least: high}}}}]
risk: {{unknown: isolate, stale_after: 15m, poll_interval: 5s}}
renderer: {{capacity: 4, warm: 1}}
log: {{format: json, level: warning}}
"""


@dataclass(frozen=True)
class Product:
    """A running product. ``node``: process id of its renderer node."""

    port: int
    node: int

    def origin(self, app: str) -> str:
        """Return an app's origin."""
        return f"http://{app}.localhost:{self.port}"


@contextlib.contextmanager
def product(folder: Path, *, text: int, data: int) -> Iterator[Product]:
    """Run the product in front of the text page and Datasette (their ports)."""
    ports = {"port": free_port(), "operations": free_port(), "tenant": free_port()}
    state = folder / "state"
    state.mkdir()
    # Chromium's account walks through this directory to its own; it can list nothing here.
    state.chmod(stat.S_IRWXU | stat.S_IXGRP | stat.S_IXOTH)
    config = folder / "isolation.yaml"
    config.write_text(
        _CONFIGURATION.format(
            **ports,
            state=state,
            text=text,
            data=data,
            client_id=people.CLIENT_ID,
            directory_id=people.TENANT_ID,
            employees=people.EMPLOYEES,
        ),
        encoding="utf-8",
    )
    tenant_log, log = folder / "tenant.log", folder / "product.log"
    base = f"http://localhost:{ports['tenant']}"
    tenant_argv = [sys.executable, "-m", "isolation.testing.tenant", "--port", str(ports["tenant"]), "--base-url", base]
    argv = [sys.executable, "-m", "isolation", "--config", str(config), "serve"]
    with (
        running(tenant_argv, tenant_log) as tenant,
        running(argv, log, env={"BENCH_CLIENT_SECRET": people.CLIENT_SECRET}) as process,
    ):
        wait_until(lambda: listens(ports["tenant"]), tenant, tenant_log, "the built-in tenant")
        wait_until(lambda: _ready(ports["operations"]), process, log, "the product")
        node = next((p.pid for p in family(process.pid) if {"renderer", "--runtime-dir"} <= set(command(p))), None)
        if node is None:
            raise MissingError("the product runs no renderer node")
        yield Product(ports["port"], node)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _kind(process: psutil.Process) -> str:
    if process.name().startswith("chrom"):
        return "chromium"
    return "driver" if "run-driver" in command(process) else "node"


@contextlib.asynccontextmanager
async def signed_in(browser: Browser, made: Product) -> AsyncIterator[Stream]:
    """Sign bob in, in a browser context of its own; sign him out at the end, which ends his Chromium."""
    context = await browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB")
    try:
        page = await context.new_page()
        await page.goto(made.origin("auth") + "/")
        await page.get_by_role("button", name=PERSON.name).click()
        await page.wait_for_url(made.origin("auth") + "/**")
        await page.close()
        yield Stream(context, made)
        page = await context.new_page()
        await page.goto(made.origin("auth") + "/.isolation/sign-out")
        await page.locator("form button").first.click()
        await page.close()
    finally:
        await closed(context)


class Stream:
    """Our viewer page, as a person's browser shows it."""

    name = "ours"

    def __init__(self, context: BrowserContext, made: Product) -> None:
        self._context = context
        self._product = made
        self._meter = Meter([made.node], _kind)
        self._view: View | None = None

    async def open(self, subject: Subject, run: str) -> None:
        """See :class:`bench.stream.script.System`."""
        self._view = view = await View.on(await self._context.new_page(), keep=True)
        await view.page.goto(f"{self._product.origin(subject.name)}{subject.address(run)}", wait_until="commit")
        await view.page.locator("canvas").wait_for(state="attached")

    @property
    def view(self) -> View:
        """The open viewer page."""
        assert self._view is not None
        return self._view

    async def click(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self._check_size()
        await self.view.click(spot)

    async def _check_size(self) -> None:
        size = await self.view.locate()
        if size != (WIDTH, HEIGHT):
            raise MissingError(f"our viewer shows {size}, not {(WIDTH, HEIGHT)}: {await self.view.page.inner_text('body')}")

    async def press(self, character: str) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.view.press(character)

    async def aim(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.view.move(spot)

    async def notch(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        del spot
        await self.view.page.mouse.wheel(0, NOTCH)

    async def first_picture(self, seconds: float) -> float | None:
        """Wait for the first picture of an opened page; return the milliseconds from the connection to it."""
        notes: list[Note] = []
        for _ in range(int(seconds * 10)):
            await asyncio.sleep(0.1)
            notes += await self.view.notes()
            if (first := read(notes).first_picture) is not None:
                return first
        return None

    async def target(self, subject: Subject) -> Spot:
        """See :class:`bench.stream.script.System`."""
        return subject.target

    async def take(self, phase: str) -> Taken:
        """See :class:`bench.stream.script.System`."""
        del phase
        return read(await self.view.notes())

    def cpu(self) -> dict[str, float]:
        """See :class:`bench.stream.script.System`."""
        return self._meter.read()

    async def address(self) -> str:
        """See :class:`bench.stream.script.System`: our viewer mirrors it in the address bar."""
        return urlsplit(self.view.page.url).path

    async def close(self) -> None:
        """See :class:`bench.stream.script.System`."""
        if self._view is not None:
            await self._view.page.close()
            self._view = None


def read(notes: list[Note]) -> Taken:
    """Make sense of what crossed: a key's picture is drawn when the first frame that came after the key is acknowledged."""
    taken = Taken()
    opened: float | None = None
    key: float | None = None
    painted: set[int] = set()
    awaited: int | None = None
    for note in notes:
        if note.kind == "open":
            opened = note.at
        elif note.kind == "in":
            taken.bytes += note.size
            message = decode_from_renderer(note.data)
            if isinstance(message, Frame):
                taken.pictures += 1
                taken.notes.append(describe(message, note))
                if key is not None and awaited is None:
                    awaited = message.seq
                if any(paint.encoding is not Encoding.FILL for paint in message.paints):
                    painted.add(message.seq)
        else:
            sent = decode_to_renderer(note.data)
            if isinstance(sent, Key) and sent.down:
                key, awaited = note.at, None
            elif isinstance(sent, Ack):
                if key is not None and sent.seq == awaited:
                    taken.keys.append(note.at - key)
                    key = awaited = None
                if taken.first_picture is None and opened is not None and sent.seq in painted:
                    taken.first_picture = note.at - opened
    return taken


def describe(frame: Frame, note: Note) -> str:
    """Return one line about a frame, for people who look for what is large."""
    kinds = {Encoding.WEBP_LOSSLESS: "", Encoding.WEBP_LOSSY: "~", Encoding.FILL: "="}
    paints = " ".join(f"{kinds[p.encoding]}{p.width}×{p.height}+{p.x}+{p.y}:{len(p.data)}" for p in frame.paints)
    copied = sum(c.width * c.height for c in frame.copies)
    return f"{note.at:9.0f} #{frame.seq} {note.size} B{' whole' * frame.whole} {len(frame.copies)} copies ({copied} px) {paints}"
