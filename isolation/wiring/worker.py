"""One router process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from isolation.broker.model import NodeAddress
from isolation.clock import Clock, SystemClock
from isolation.errors import ConfigurationError, StoreError
from isolation.settings.model import Settings
from isolation.store.database import Store
from isolation.web.endpoints.shut import Shut
from isolation.web.ingress import Ingress
from isolation.web.metrics import Metrics
from isolation.web.pages import PageRenderer
from isolation.wiring.build import build_services
from isolation.wiring.services import Services

log = structlog.get_logger()

STORE_RETRY_SECONDS = 1.0
"""How often a store that could not be opened is tried again. Meanwhile people are told."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Sockets a worker serves, already listening."""

    public: socket.socket
    operations: socket.socket
    egress: socket.socket


class Worker:
    """One router process. :meth:`run` serves until told to stop. ``answering``: called when it does, be it with what is wrong."""

    def __init__(
        self,
        settings: Settings,
        *,
        secret: str,
        gateway_key: bytes,
        nodes: tuple[NodeAddress, ...],
        listeners: Listeners,
        clock: Clock | None = None,
        answering: Callable[[], None] = lambda: None,
    ) -> None:
        self._answers = answering
        self._settings = settings
        self._secret = secret
        self._gateway_key = gateway_key
        self._nodes = nodes
        self._listeners = listeners
        self._clock = clock or SystemClock()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set; then finish what is under way and close everything in reverse order."""
        async with AsyncExitStack() as stack:
            services = await self._open(stack, stop)
            if services is None:
                return
            ingress = Ingress(services.gate, tls=_tls(self._settings))
            services.connect(ingress)
            operations = Ingress(services.health)
            watcher = services.watcher
            await services.gateway.start(listener=self._listeners.egress)
            stack.push_async_callback(services.gateway.close)
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(watcher.run(services.deliver, services.resync), name="events"),
                    group.create_task(services.leases.run(), name="leases"),
                    group.create_task(services.recheck_forever(), name="recheck"),
                    group.create_task(services.end_lapsed_forever(), name="lapse"),
                    group.create_task(services.keep_house(), name="housekeeping"),
                ]
                servers = [
                    group.create_task(_serve(ingress, self._listeners.public, self._answers), name="public"),
                    group.create_task(_serve(operations, self._listeners.operations), name="operations"),
                ]
                services.ready.set()
                log.info("worker.ready", listen=self._settings.listen, apps=len(self._settings.apps))
                await stop.wait()
                services.live_everything_ends()
                for server in (ingress.server, operations.server):
                    server.should_exit = True
                await asyncio.wait(servers)
                for task in background:
                    task.cancel()

    async def _open(self, stack: AsyncExitStack, stop: asyncio.Event) -> Services | None:
        """Open the store and make what stands on it. As long as that fails, people are told; None when ``stop`` is set first."""
        metrics = Metrics()
        shut = Shut(PageRenderer())
        async with AsyncExitStack() as meanwhile:
            while not stop.is_set():
                attempt = AsyncExitStack()
                try:
                    services = await self._try(attempt, metrics)
                except StoreError as error:
                    await attempt.aclose()
                    if not shut.reason:
                        await meanwhile.enter_async_context(self._answering(shut))
                    shut.reason = str(error)
                    log.error("store.unusable", error=str(error), again_in=STORE_RETRY_SECONDS)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), STORE_RETRY_SECONDS)
                except BaseException:
                    await attempt.aclose()
                    raise
                else:
                    stack.push_async_callback(attempt.aclose)
                    return services
        return None

    async def _try(self, stack: AsyncExitStack, metrics: Metrics) -> Services:
        store = await asyncio.to_thread(Store.open, self._settings.store, clock=self._clock)
        stack.callback(store.close)
        services = await stack.enter_async_context(
            build_services(
                self._settings,
                store,
                secret=self._secret,
                gateway_key=self._gateway_key,
                nodes=self._nodes,
                egress_listens_at=self._listeners.egress.getsockname()[:2],
                clock=self._clock,
                metrics=metrics,
            )
        )
        await services.watcher.start()
        stack.push_async_callback(services.watcher.close)
        return services

    @asynccontextmanager
    async def _answering(self, shut: Shut) -> AsyncIterator[None]:
        """Serve the listeners with what is said while the store cannot be used."""
        doors = [Ingress(shut, tls=_tls(self._settings)), Ingress(shut.operations)]
        # A server closes its socket when it ends: these have copies.
        listeners = [self._listeners.public.dup(), self._listeners.operations.dup()]
        serving = [asyncio.create_task(_serve(door, listener)) for door, listener in zip(doors, listeners, strict=True)]
        self._answers()
        try:
            yield
        finally:
            for door in doors:
                door.server.should_exit = True
            await asyncio.gather(*serving)


async def _serve(ingress: Ingress, listener: socket.socket, answering: Callable[[], None] = lambda: None) -> None:
    """Serve a listener without uvicorn's signal handlers: the supervisor talks to us through standard input."""
    server = ingress.server
    if not server.config.loaded:
        server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    answering()
    try:
        await server.main_loop()
    finally:
        await server.shutdown(sockets=[listener])


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(*settings.tls)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"tls: the certificate or key cannot be loaded: {error}") from error
    return context
