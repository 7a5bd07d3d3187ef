"""The composition root: settings → adapters → services → ASGI application, and their end in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from starlette.requests import Request

from isolation import tokens
from isolation.audit import events as audit
from isolation.broker.book import StoreLeaseBook
from isolation.broker.leases import LeaseService
from isolation.broker.model import EgressAddress, Lease, NodeAddress
from isolation.broker.relay import Relay
from isolation.broker.tickets import Tickets
from isolation.clock import Clock, SystemClock
from isolation.egress import leases as egress_leases
from isolation.egress.certificates import Certificates
from isolation.egress.gateway import Gateway
from isolation.egress.journal import AuditSink
from isolation.egress.requests import Channel
from isolation.egress.resolve import Resolver, SystemLookup
from isolation.egress.rules import AppDestinations
from isolation.errors import ConfigurationError, IsolationError, StoreError
from isolation.identity.oidc.client import EntraClient
from isolation.identity.oidc.flow import Cloud, EntraProvider
from isolation.identity.sessions.live import LiveRegistry
from isolation.identity.sessions.model import Session
from isolation.limits import RECHECK_SECONDS
from isolation.policy.facts import Context, Facts
from isolation.proxy.assertion import Assertions
from isolation.proxy.http import HttpForwarder
from isolation.proxy.pool import Pools
from isolation.proxy.websocket import Tunneler
from isolation.settings.model import ProviderSettings, Settings
from isolation.signals.freshness import Freshness
from isolation.store.audit import AuditLog
from isolation.store.database import Store
from isolation.store.events import Event, EventKind, EventRepository
from isolation.store.handoffs import FlowRepository, HandoffRepository, UsedTicketRepository
from isolation.store.keys import KeyRepository
from isolation.store.leases import LeaseRepository
from isolation.store.people import PeopleRepository
from isolation.store.principals import PrincipalReader
from isolation.store.risk import RiskRepository
from isolation.store.sessions import SessionRepository
from isolation.store.watcher import EventWatcher
from isolation.web.callers import NOBODY, Callers
from isolation.web.cookies import Cookies
from isolation.web.decisions import Decisions
from isolation.web.endpoints.hand_off import HandOff
from isolation.web.endpoints.health import Health, Readiness
from isolation.web.endpoints.kit import Kit, Site
from isolation.web.endpoints.own import build as build_own_pages
from isolation.web.endpoints.portal import Portal
from isolation.web.endpoints.viewer import ViewerEndpoints
from isolation.web.gate import Gate, Routes
from isolation.web.ingress import Ingress
from isolation.web.known import KnownSessions
from isolation.web.metrics import Metrics
from isolation.web.pages import PageRenderer
from isolation.web.replies import Replies

if TYPE_CHECKING:
    from isolation.signals.providers.entra import GraphReader

log = structlog.get_logger()

HOUSEKEEPING_SECONDS = 600.0
"""How often old rows are removed and the signing key's age is looked at."""
LAPSE_SECONDS = 5.0
"""How often sessions are looked for whose time is over. At every use they are checked anyway: this is for what is open on them."""
BLIND_SECONDS = 5.0
"""When the bus could not be read for this long, nothing remembered is relied on: a revocation may stand there."""
SECRET_FILE = "secret.key"  # noqa: S105 - a name, not a secret


# ---------------------------------------------------------------------- state


def prepare_state(settings: Settings) -> None:
    """Make the state directory. Raises :class:`ConfigurationError` that says what to do.

    Mode 0711: the renderer's account walks through it to its own directory below ``run``, and can list nothing.
    """
    passable = stat.S_IRWXU | stat.S_IXGRP | stat.S_IXOTH
    try:
        for folder in (settings.state_dir, settings.state_dir / "run"):
            folder.mkdir(parents=True, exist_ok=True)
            if folder.stat().st_uid == os.geteuid():
                folder.chmod(passable)
        if not os.access(settings.state_dir, os.W_OK):
            raise PermissionError(13, "not writable", str(settings.state_dir))
    except OSError as error:
        raise ConfigurationError(
            f"state_dir {settings.state_dir} cannot be used: {error.strerror}. Create it for this account, or name another one."
        ) from error


def deployment_secret(settings: Settings) -> str:
    """Return the deployment's secret; without a configured one, make one and keep it in the state directory (mode 0600)."""
    if settings.secret:
        return settings.secret
    path = settings.state_dir / SECRET_FILE
    try:
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(tokens.new_secret(48))
            log.info("secret.made", path=str(path))
        secret = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigurationError(f"the deployment secret {path} cannot be read or made: {error.strerror}") from error
    if len(secret) < 32:
        raise ConfigurationError(
            f"the deployment secret in {path} is too short: remove the file to have one made (everybody signs in again)"
        )
    return secret


def freshness(settings: Settings) -> Freshness:
    """Return how old each signal may be."""
    return Freshness(risk=settings.risk_stale_after, groups=settings.groups_stale_after, user_type=settings.groups_stale_after)


def site(settings: Settings) -> Site:
    """Return the deployment's public addresses."""
    return Site(scheme=settings.scheme, auth_host=settings.auth_host, suffix=settings.authority_suffix)


def oidc_provider(settings: ProviderSettings) -> EntraProvider:
    """Return one way to sign in."""
    return EntraProvider(
        name=settings.name,
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        directory_id=settings.directory_id,
        cloud=Cloud(login=settings.login, graph=settings.graph),
        prompt=settings.prompt,
        email_claim=settings.email_claim,
    )


# ---------------------------------------------------------------------- small adapters


class SigningKeys:
    """The signing key of the moment, in memory: the data plane never waits for the store."""

    def __init__(self, keys: KeyRepository, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._current: tuple[str, RSAPrivateKey] | None = None

    async def refresh(self) -> None:
        """Read the key of this moment, making or rotating it when due. Raises StoreError."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        await self._keys.rotate_if_due(self._clock.now())
        key = await self._keys.current()
        loaded = load_pem_private_key(key.pem.encode(), password=None)
        if not isinstance(loaded, RSAPrivateKey):
            raise IsolationError("the signing key in the store is not an RSA key")
        self._current = (key.kid, loaded)

    def current(self) -> tuple[str, RSAPrivateKey]:
        """Return key id and key."""
        if self._current is None:
            raise IsolationError("no signing key has been read yet")
        return self._current

    async def public_jwks(self) -> dict[str, Any]:
        """Return the published keys."""
        return dict(await self._keys.public_jwks())


class IsolationAudit:
    """Start and end of isolation in the audit log."""

    def __init__(self, log_: AuditLog, clock: Clock) -> None:
        self._log = log_
        self._clock = clock

    async def isolation_started(self, lease: Lease) -> None:
        """Record that a browser starts."""
        await self._log.record(
            audit.isolation_started(
                at=self._clock.now(),
                person=lease.person_key,
                session=lease.session_digest,
                lease=lease.id,
                node=lease.node,
                app=", ".join(sorted(lease.apps)),
                controls=dict(lease.controls.as_json()),
            )
        )

    async def isolation_ended(self, lease: Lease, why: str) -> None:
        """Record that it ended."""
        now = self._clock.now()
        await self._log.record(
            audit.isolation_ended(
                at=now,
                person=lease.person_key,
                session=lease.session_digest,
                lease=lease.id,
                node=lease.node,
                app=", ".join(sorted(lease.apps)),
                why=why,
                seconds=round(now - lease.started_at, 1),
            )
        )


class EgressLookup:
    """The broker's leases as the gateway sees them."""

    def __init__(self, leases: LeaseService) -> None:
        self._leases = leases

    async def find(self, username: str, password: str) -> egress_leases.Lease | None:
        """Return the live lease with these credentials. A store that cannot be read knows nobody."""
        try:
            lease = await self._leases.find(username, password)
        except StoreError as error:
            log.error("egress.leases-unreadable", error=str(error))
            return None
        if lease is None:
            return None
        return egress_leases.Lease(id=lease.id, session_digest=lease.session_digest, person_key=lease.person_key, apps=lease.apps)


# ---------------------------------------------------------------------- a worker


@dataclass(frozen=True, slots=True)
class Listeners:
    """Sockets a worker serves, already listening."""

    public: socket.socket
    operations: socket.socket
    egress: socket.socket


class Worker:
    """One router process. :meth:`run` serves until told to stop."""

    def __init__(
        self,
        settings: Settings,
        *,
        secret: str,
        gateway_key: bytes,
        nodes: tuple[NodeAddress, ...],
        listeners: Listeners,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._gateway_key = gateway_key
        self._nodes = nodes
        self._listeners = listeners
        self._clock = clock or SystemClock()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set; then finish what is under way and close everything in reverse order."""
        async with AsyncExitStack() as stack:
            settings, clock = self._settings, self._clock
            store = Store.open(settings.store, clock=clock)
            stack.callback(store.close)
            metrics = Metrics()
            services = await stack.enter_async_context(self._services(store, metrics))
            ingress = Ingress(services.gate, tls=_tls(settings))
            services.connect(ingress)
            operations = Ingress(services.health)
            watcher = EventWatcher(store)
            await watcher.start()
            stack.push_async_callback(watcher.close)
            await services.gateway.start(listener=self._listeners.egress)
            stack.push_async_callback(services.gateway.close)
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(watcher.run(services.deliver, services.resync), name="events"),
                    group.create_task(services.leases.run(), name="leases"),
                    group.create_task(services.recheck_forever(watcher), name="recheck"),
                    group.create_task(services.end_lapsed_forever(), name="lapse"),
                    group.create_task(services.keep_house(store), name="housekeeping"),
                ]
                servers = [
                    group.create_task(_serve(ingress, self._listeners.public), name="public"),
                    group.create_task(_serve(operations, self._listeners.operations), name="operations"),
                ]
                services.ready.set()
                log.info("worker.ready", listen=settings.listen, apps=len(settings.apps))
                await stop.wait()
                services.live_everything_ends()
                for server in (ingress.server, operations.server):
                    server.should_exit = True
                await asyncio.wait(servers)
                for task in background:
                    task.cancel()

    @asynccontextmanager
    async def _services(self, store: Store, metrics: Metrics) -> AsyncIterator[Services]:
        settings, clock = self._settings, self._clock
        place = site(settings)
        signer = tokens.Tokens([self._secret])
        cookies = Cookies(signer, clock, secure=settings.scheme == "https")
        pages = PageRenderer()
        recorder = AuditLog(store)
        sessions = SessionRepository(store)
        people = PeopleRepository(store)
        events = EventRepository(store)
        keys = SigningKeys(KeyRepository(store, [self._secret]), clock)
        await keys.refresh()
        live = LiveRegistry()
        pools = Pools()
        routes = Routes.of(settings.apps)
        principals = PrincipalReader(store, freshness(settings))
        clients = {provider.name: EntraClient(oidc_provider(provider), clock) for provider in settings.providers}
        for client in clients.values():
            client.start()

        async def sync_wanted(person_key: str) -> None:
            await events.announce(EventKind.SYNC_WANTED, person_key)

        def client_ip(request: Request) -> str:
            return request.client.host if request.client else NOBODY  # the gate has put the person's own address there

        kit = Kit(
            site=place,
            tokens=signer,
            cookies=cookies,
            clock=clock,
            pages=pages,
            providers=clients,
            sessions=sessions,
            hand_offs=HandoffRepository(store),
            flows=FlowRepository(store),
            people=people,
            audit=recorder,
            app_for=routes.table.find,
            client_ip=client_ip,
            sync_wanted=sync_wanted,
            session_seconds=settings.session_seconds,
            idle_seconds=settings.idle_seconds,
        )

        async def facts_for(request: Request, session: Session) -> Facts:
            context = Context(now=clock.now(), ip=ip_address(client_ip(request)))
            return Facts(context=context, person=await principals.read(session.person_key, session))

        certificates = Certificates(clock, self._gateway_key)
        egress_host, egress_port = settings.egress_advertise or self._listeners.egress.getsockname()[:2]
        leases = LeaseService(
            nodes=self._nodes,
            book=StoreLeaseBook(LeaseRepository(store)),
            audit=IsolationAudit(recorder, clock),
            egress=EgressAddress(str(egress_host), int(egress_port), certificates.spki),
            clock=clock,
            idle_seconds=None if settings.workers > 1 else 150.0,
        )
        lookup = SystemLookup()
        ingresses: list[Ingress] = []

        def serve(transport: asyncio.Transport, channel: Channel) -> Any:
            return ingresses[0].serve(transport, channel, scheme="https" if channel.secure else "http")

        gateway = Gateway(
            clock=clock,
            leases=EgressLookup(leases),
            serve=serve,
            destinations=AppDestinations(find=routes.table.find, apps=lambda: routes.apps, ports={80, 443, settings.port}),
            certificates=certificates,
            resolver=Resolver(clock, lookup),
            audit=AuditSink(recorder, clock),
        )
        decisions = Decisions(principals, recorder, live, clock)
        known = KnownSessions(sessions, cookies, place, clock)
        assertions = Assertions(keys, place.auth_origin, clock)
        relay = Relay(leases=leases, live=live, clock=clock)
        viewer = ViewerEndpoints(pages=pages, tickets=Tickets(signer, clock, UsedTicketRepository(store)), relay=relay)
        gate = Gate(
            site=place,
            routes=routes,
            callers=Callers(settings.trusted_proxies),
            sessions=known,
            decisions=decisions,
            http=HttpForwarder(pools, live),
            websocket=Tunneler(pools, live),
            identity=assertions,
            own=build_own_pages(kit, Portal(kit, lambda: routes.apps, facts_for)),
            replies=Replies(
                site=place, apps=lambda: routes.apps, pages=pages, hand_off=HandOff(kit), viewer=viewer, metrics=metrics
            ),
            viewer=viewer,
            jwks=keys,
            gateway=gateway,
            clock=clock,
            metrics=metrics,
        )
        risk = RiskRepository(store, stale_after=settings.risk_stale_after)
        ready = asyncio.Event()
        services = Services(
            gate=gate,
            gateway=gateway,
            leases=leases,
            decisions=decisions,
            known=known,
            assertions=assertions,
            keys=keys,
            live=live,
            relay=relay,
            metrics=metrics,
            clock=clock,
            ready=ready,
            sessions=sessions,
            repositories=(
                sessions,
                HandoffRepository(store),
                FlowRepository(store),
                UsedTicketRepository(store),
                LeaseRepository(store),
                events,
            ),
            ingresses=ingresses,
            health=Health(
                Readiness(
                    store=store,
                    nodes=leases.nodes,
                    risk=risk,
                    started=ready,
                    clock=clock,
                    metrics=metrics,
                    live=live,
                    relay=relay,
                )
            ),
        )
        try:
            yield services
        finally:
            pools.close()
            lookup.close()
            for client in clients.values():
                await client.aclose()


@dataclass(slots=True)
class Services:
    """What a worker runs, and how it answers to events."""

    gate: Gate
    gateway: Gateway
    leases: LeaseService
    decisions: Decisions
    known: KnownSessions
    assertions: Assertions
    keys: SigningKeys
    live: LiveRegistry
    relay: Relay
    metrics: Metrics
    clock: Clock
    ready: asyncio.Event
    sessions: SessionRepository
    repositories: tuple[Any, ...]
    ingresses: list[Ingress]
    health: Health

    def connect(self, ingress: Ingress) -> None:
        """Let the egress gateway hand its connections to this ingress."""
        self.ingresses.append(ingress)

    async def deliver(self, event: Event) -> None:
        """Act on one event of the bus."""
        self.metrics.event_lag.set(max(0.0, self.clock.now() - event.at))
        match event.kind:
            case EventKind.PERSON_CHANGED:
                await self.decisions.person_changed(event.subject)
            case EventKind.SESSION_ENDED:
                self.known.ended(event.subject)
                self.decisions.session_ended(event.subject)
                self.assertions.forget(event.subject)
                await self.leases.end(event.subject, "session-ended")
            case EventKind.PROVIDER_CHANGED | EventKind.POLICY_CHANGED:
                await self.decisions.everything_changed()
            case EventKind.KEYS_CHANGED:
                await self.keys.refresh()
                self.assertions.forget()
            case EventKind.LEASE_ENDED:
                await self.gateway.close_lease(event.subject)
            case EventKind.SYNC_WANTED:
                pass  # for the sync process

    async def resync(self) -> None:
        """Events were missed: nothing remembered can be relied on."""
        log.warning("events.missed")
        self.known.forget()
        self.assertions.forget()
        await self.keys.refresh()
        await self.decisions.everything_changed()

    async def recheck_forever(self, watcher: EventWatcher) -> None:
        """Decide again what the passing of time has ended, and everything as long as the bus cannot be read."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            if watcher.blind_for > BLIND_SECONDS:
                self.known.forget()
                await self.decisions.everything_changed()
            await self.decisions.expired()
            self.metrics.live.set(self.live.count())
            self.metrics.viewers.set(self.relay.streams)

    async def end_lapsed_forever(self) -> None:
        """End sessions whose time is over, in the store, so that every worker hears of it."""
        while True:
            try:
                await self.sessions.end_lapsed()
            except StoreError as error:
                log.error("sessions.not-ended", error=str(error))
            await asyncio.sleep(LAPSE_SECONDS)

    async def keep_house(self, store: Store) -> None:
        """Remove old rows, and rotate the signing key when due."""
        while True:
            try:
                await self.keys.refresh()
                for repository in self.repositories:
                    await repository.prune()
            except StoreError as error:
                log.error("housekeeping.failed", error=str(error), store=str(store.path))
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    def live_everything_ends(self) -> None:
        """Tell every open connection that this worker goes; viewers connect again by themselves."""
        for session, app in list(self.live.pairs()):
            self.live.end(session, app, "going-away")


async def _serve(ingress: Ingress, listener: socket.socket) -> None:
    """Serve a listener without uvicorn's signal handlers: the supervisor talks to us through standard input."""
    server = ingress.server
    if not server.config.loaded:
        server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
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


def graph_reader(provider: ProviderSettings, clock: Clock) -> GraphReader:
    """Return a reader of one tenant's Graph. Imports msgraph-sdk, which only the sync process and single commands do."""
    from isolation.signals.providers.entra import GraphReader, GraphSettings

    return GraphReader(
        GraphSettings(
            login=provider.login,
            graph=provider.graph,
            directory_id=provider.directory_id,
            client_id=provider.client_id,
            secret=lambda: provider.client_secret,
            risk_supported=provider.risk_supported,
        ),
        clock,
    )


async def run_sync(settings: Settings, clock: Clock) -> None:
    """Keep risk, groups and profiles current until cancelled. One directory; its first provider's registration reads it."""
    from isolation.signals.sync import DirectorySync, SyncSettings

    provider = settings.providers[0]
    store = Store.open(settings.store, clock=clock)
    watcher = EventWatcher(store)
    reader = graph_reader(provider, clock)
    try:
        sync = DirectorySync(
            RiskRepository(store, stale_after=settings.risk_stale_after),
            PeopleRepository(store),
            reader,
            clock,
            SyncSettings(
                directory_id=provider.directory_id,
                risk_interval=settings.risk_poll_interval,
                risk_stale_after=settings.risk_stale_after,
                refresh_interval=settings.groups_refresh_interval,
                idle_seconds=settings.idle_seconds,
            ),
        )

        async def deliver(event: Event) -> None:
            if event.kind is EventKind.SYNC_WANTED:
                sync.wanted(event.subject)

        await watcher.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(watcher.run(deliver, sync.refresh_all))
            group.create_task(sync.run())
    finally:
        await reader.aclose()
        await watcher.close()
        store.close()


async def sync_once(settings: Settings, clock: Clock, say: Callable[[str], None]) -> None:
    """Read the tenant's risky users once and say what was found: the test of an app registration's permissions."""
    store = Store.open(settings.store, clock=clock)
    reader = graph_reader(settings.providers[0], clock)
    try:
        poll = await reader.risky_users()
        changed = await RiskRepository(store, stale_after=settings.risk_stale_after).replace_all(poll.levels, poll.as_of)
        say(f"risk: {len(poll.levels)} people reported by Entra, {changed} changed")
    finally:
        await reader.aclose()
        store.close()


def node_addresses(settings: Settings, local: Mapping[str, Any] | None) -> tuple[NodeAddress, ...]:
    """Return the renderer nodes: those of the configuration, or the local one (``host``, ``port``, ``token``)."""
    if local is not None:
        return (NodeAddress("local", f"ws://{local['host']}:{local['port']}", local["token"]),)
    return tuple(NodeAddress(f"{node.host}:{node.port}", f"ws://{node.host}:{node.port}", node.token) for node in settings.nodes)
