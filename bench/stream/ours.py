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
from playwright.async_api import BrowserContext
from typing_extensions import override

from bench.report import MissingError
from bench.stream.browsers import Viewers
from bench.stream.processes import Meter, browsers_below, command, family, free_port, listens, pss_of, running, wait_until
from bench.stream.script import HEIGHT, OURS, WIDTH, Spot, Subject, Taken
from bench.stream.viewing import Note, View, Viewed, closed, count
from isolation.testing.tenant import people
from renderer.wire.codec import decode_from_renderer
from renderer.wire.messages import Frame

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
  - name: Site
    domain: site.localhost
    upstream: http://127.0.0.1:{site}
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
renderer: {{capacity: {capacity}, warm: {warm}}}
log: {{format: json, level: warning}}
"""


@dataclass(frozen=True)
class Memory:
    """Memory of a running product, megabytes of PSS. ``browsers``: of each Chromium and its helpers, the largest first. ``rest``: all else."""

    browsers: tuple[float, ...]
    rest: float


@dataclass(frozen=True)
class Product:
    """A running product. ``pid``: its supervisor. ``node``: its renderer node."""

    port: int
    pid: int
    node: int
    warm: int

    def origin(self, app: str) -> str:
        """Return an app's origin."""
        return f"http://{app}.localhost:{self.port}"

    def browsers(self) -> int:
        """Return how many Chromiums it runs, warm ones included."""
        return len(browsers_below(self.node))

    async def settled(self, sessions: int, seconds: float = 30.0) -> bool:
        """Wait until there are warm browsers again beside those of so many sessions; tell whether there are."""
        for _ in range(int(seconds * 5)):
            await asyncio.sleep(0.2)
            if self.browsers() >= sessions + self.warm:
                await asyncio.sleep(1.5)  # a browser that was just started is not warm yet
                return True
        return False

    def memory(self) -> Memory:
        """Return what its processes take now. Each is read once: some come and go meanwhile."""
        taken = {process.pid: pss_of(process.pid) for process in family(self.pid)}
        trees = [{process.pid for process in family(pid)} for pid in browsers_below(self.node)]
        browsers = sorted((sum(taken.get(pid, 0.0) for pid in tree) for tree in trees), reverse=True)
        inside = set().union(*trees)
        return Memory(tuple(browsers), sum(used for pid, used in taken.items() if pid not in inside and not _is_browser(pid)))


def _is_browser(pid: int) -> bool:
    """Tell whether a process is a Chromium's: one that is on its way out belongs to no browser any more, nor to the rest."""
    try:
        return psutil.Process(pid).name().startswith("chrom")
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def product(folder: Path, *, site: int, data: int, capacity: int, warm: int) -> Iterator[Product]:
    """Run the product in front of the site and Datasette (their ports)."""
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
            site=site,
            data=data,
            capacity=capacity,
            warm=warm,
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
        yield Product(ports["port"], process.pid, node, warm)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def kind_of(process: psutil.Process) -> str:
    """Return what kind of the product's processes one is."""
    if process.name().startswith("chrom"):
        return "chromium"
    words = command(process)
    if "run-driver" in words:
        return "driver"
    return "node" if "renderer" in words else "sync" if "sync" in words else "router"


@contextlib.asynccontextmanager
async def signed_in(viewers: Viewers, made: Product, *, keep: bool = False, out: bool = True) -> AsyncIterator[Stream]:
    """Sign bob in, in a browser context of its own. ``out``: sign him out at the end, which ends his Chromium."""
    context = await viewers.browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB")
    try:
        page = await context.new_page()
        await page.goto(made.origin("auth") + "/")
        await page.get_by_role("button", name=PERSON.name).click()
        await page.wait_for_url(made.origin("auth") + "/**")
        await page.close()
        yield Stream(context, made, viewers.meter, keep=keep)
        if out:
            page = await context.new_page()
            await page.goto(made.origin("auth") + "/.isolation/sign-out")
            # Done before the page is closed: closed in the middle of a change of its process it would stay, and be waited for for ever.
            async with page.expect_navigation(wait_until="load"):
                await page.locator("form button").first.click()
            await page.close()
    finally:
        await closed(context)


class Stream(Viewed):
    """Our viewer page, as a person's browser shows it. ``keep``: whether lines about frames are wanted."""

    name = OURS

    def __init__(self, context: BrowserContext, made: Product, client: Meter, *, keep: bool = False) -> None:
        super().__init__(Meter([made.pid], kind_of), client)
        self._context = context
        self._product = made
        self._keep = keep

    async def open(self, subject: Subject, run: str) -> None:
        """See :class:`bench.stream.script.System`."""
        self._view = view = await View.on(await self._context.new_page(), keep=self._keep)
        await view.page.goto(f"{self._product.origin(subject.app)}{subject.address(run)}", wait_until="commit")
        await view.page.locator("canvas").first.wait_for(state="attached")

    @override
    async def click(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        size = await self.view.locate()
        if size != (WIDTH, HEIGHT):
            raise MissingError(f"our viewer shows {size}, not {(WIDTH, HEIGHT)}: {await self.view.page.inner_text('body')}")
        await super().click(spot)

    @override
    async def take(self) -> Taken:
        """See :class:`bench.stream.script.System`."""
        notes = await self.view.notes()
        taken = count(notes)
        if self._keep:
            taken.notes = [line for note in notes if note.kind == "in" and (line := describe(note))]
        return taken

    async def address(self) -> str:
        """See :class:`bench.stream.script.System`: our viewer mirrors it in the address bar."""
        return urlsplit(self.view.page.url).path

    async def close(self) -> None:
        """See :class:`bench.stream.script.System`."""
        if self._view is not None:
            await self._view.page.close()
            self._view = None


def describe(note: Note) -> str | None:
    """Return one line about a frame, for people who look for what is large; None for other messages."""
    frame = decode_from_renderer(note.data)
    if not isinstance(frame, Frame):
        return None
    paints = " ".join(f"{p.encoding.name.lower()}:{p.width}×{p.height}+{p.x}+{p.y}:{len(p.data)}" for p in frame.paints)
    copied = sum(c.width * c.height for c in frame.copies)
    return f"{note.at:9.0f} #{frame.seq} {note.size} B{' whole' * frame.whole} {len(frame.copies)} copies ({copied} px) {paints}"
