"""How the services of a worker are put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

from starlette.requests import Request

from isolation import tokens
from isolation.broker.book import StoreLeaseBook
from isolation.broker.leases import LeaseService
from isolation.broker.model import EgressAddress, NodeAddress
from isolation.broker.relay import Relay
from isolation.broker.tickets import Tickets
from isolation.clock import Clock
from isolation.egress.certificates import Certificates
from isolation.egress.gateway import Gateway
from isolation.egress.journal import AuditSink
from isolation.egress.requests import Channel
from isolation.egress.resolve import Resolver, SystemLookup
from isolation.egress.rules import AppDestinations
from isolation.identity.oidc.client import EntraClient
from isolation.identity.sessions.live import LiveRegistry
from isolation.identity.sessions.model import Session
from isolation.policy.facts import Context, Facts
from isolation.proxy.assertion import Assertions
from isolation.proxy.http import HttpForwarder
from isolation.proxy.pool import Pools
from isolation.proxy.websocket import Tunneler
from isolation.settings.model import Settings
from isolation.store.audit import AuditLog
from isolation.store.database import Store
from isolation.store.events import EventKind, EventRepository
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
from isolation.web.endpoints.kit import Kit
from isolation.web.endpoints.own import build as build_own_pages
from isolation.web.endpoints.portal import Portal
from isolation.web.endpoints.viewer import ViewerEndpoints
from isolation.web.gate import Gate, Routes
from isolation.web.ingress import Ingress
from isolation.web.known import KnownSessions
from isolation.web.metrics import Metrics
from isolation.web.pages import PageRenderer
from isolation.web.replies import Replies
from isolation.wiring.adapters import EgressLookup, IsolationAudit, SigningKeys, TransferAudit
from isolation.wiring.services import Services
from isolation.wiring.state import freshness, oidc_provider, site


@asynccontextmanager
async def build_services(
    settings: Settings,
    store: Store,
    *,
    secret: str,
    gateway_key: bytes,
    nodes: tuple[NodeAddress, ...],
    egress_listens_at: tuple[str, int],
    clock: Clock,
    metrics: Metrics,
) -> AsyncIterator[Services]:
    """Make the services of a worker on an open store. Raises StoreError."""
    place = site(settings)
    signer = tokens.Tokens([secret])
    cookies = Cookies(signer, clock, secure=settings.scheme == "https")
    pages = PageRenderer()
    recorder = AuditLog(store)
    sessions = SessionRepository(store)
    people = PeopleRepository(store)
    events = EventRepository(store)
    keys = SigningKeys(KeyRepository(store, [secret]), clock)
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

    certificates = Certificates(clock, gateway_key)
    egress_host, egress_port = settings.egress_advertise or egress_listens_at
    leases = LeaseService(
        nodes=nodes,
        book=StoreLeaseBook(LeaseRepository(store)),
        audit=IsolationAudit(recorder, clock),
        egress=EgressAddress(str(egress_host), int(egress_port), certificates.spki),
        clock=clock,
        idle_seconds=None if settings.workers > 1 else 150.0,
        figures=metrics,
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
    relay = Relay(leases=leases, live=live, audit=TransferAudit(recorder, clock), clock=clock, figures=metrics)
    viewer = ViewerEndpoints(pages=pages, tickets=Tickets(signer, clock, UsedTicketRepository(store)), relay=relay, clock=clock)
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
        replies=Replies(site=place, apps=lambda: routes.apps, pages=pages, hand_off=HandOff(kit), viewer=viewer, metrics=metrics),
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
        store=store,
        watcher=EventWatcher(store),
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
