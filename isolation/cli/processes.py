"""The processes that ``isolation serve`` starts: a router worker, and the directory sync."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import structlog
import uvloop

from isolation.cli import context, logs
from isolation.cli.bootstrap import Bootstrap
from isolation.cli.supervisor import say_ready, standard_input, wait_for_end_of_input
from isolation.clock import SystemClock
from isolation.errors import IsolationError
from isolation.settings.model import Settings
from isolation.wiring.state import node_addresses

log = structlog.get_logger()


def worker() -> None:
    """Serve until the supervisor says so, or is gone."""
    uvloop.run(_supervised("worker", _worker))


async def _worker(bootstrap: Bootstrap, settings: Settings, stop: asyncio.Event) -> None:
    from isolation.wiring.worker import Listeners, Worker

    process = Worker(
        settings,
        secret=bootstrap.secret,
        gateway_key=bootstrap.gateway_key.encode(),
        nodes=node_addresses(settings, asdict(bootstrap.node) if bootstrap.node else None),
        listeners=Listeners(bootstrap.socket("public"), bootstrap.socket("operations"), bootstrap.socket("egress")),
        answering=say_ready,
    )
    # What exists now lives as long as the process; the collector need not look at it again and again under load.
    gc.collect()
    gc.freeze()
    await process.run(stop)


def sync(*, supervised: bool, once: bool) -> None:
    """Read the directory: forever under a supervisor or by itself, or once."""
    if supervised:
        asyncio.run(_supervised("sync", _sync))
        return
    from isolation.wiring.sync import sync_once

    settings = context.settings()
    logs.configure("sync", level=settings.log_level, style="console")
    asyncio.run(sync_once(settings, SystemClock(), context.console.print) if once else _alone(settings))


async def _sync(_bootstrap: Bootstrap, settings: Settings, stop: asyncio.Event) -> None:
    from isolation.wiring.sync import run_sync

    await _until(stop, run_sync(settings, SystemClock()))


async def _alone(settings: Settings) -> None:
    from isolation.wiring.sync import run_sync

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await _until(stop, run_sync(settings, SystemClock()))


async def _until(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Run ``work`` until it ends or ``stop`` is set; an error in it is raised."""
    task = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not task.done():
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _supervised(name: str, work: Callable[[Bootstrap, Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Read the bootstrap, then work until SIGTERM or until the supervisor is gone. What ends it early is one line in the log, and exit status 1."""
    reader = await standard_input()
    bootstrap = Bootstrap.decode(await reader.readline())
    logs.configure(name)
    try:
        settings = bootstrap.settings()
        logs.configure(name, level=settings.log_level, style=settings.log_format)
        await _until_told(reader, lambda stop: work(bootstrap, settings, stop))
    except IsolationError as error:
        log.error("process.cannot-run", code=error.code, error=str(error))
        raise SystemExit(1) from error
    except Exception as error:
        log.critical("process.crashed", error=type(error).__name__, exc_info=True)
        raise SystemExit(1) from error


async def _until_told(reader: asyncio.StreamReader, work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    ended = loop.create_task(wait_for_end_of_input(reader))
    ended.add_done_callback(lambda _: stop.set())
    try:
        await work(stop)
    finally:
        ended.cancel()
