"""The services of one worker, and how they answer to events and to time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog

from isolation.broker.leases import LeaseService
from isolation.broker.relay import Relay
from isolation.clock import Clock
from isolation.egress.gateway import Gateway
from isolation.errors import StoreError
from isolation.identity.sessions.live import LiveRegistry
from isolation.limits import RECHECK_SECONDS
from isolation.proxy.assertion import Assertions
from isolation.store.database import Store
from isolation.store.events import Event, EventKind
from isolation.store.sessions import SessionRepository
from isolation.store.watcher import EventWatcher
from isolation.web.decisions import Decisions
from isolation.web.endpoints.health import Health
from isolation.web.gate import Gate
from isolation.web.ingress import Ingress
from isolation.web.known import KnownSessions
from isolation.web.metrics import Metrics
from isolation.wiring.adapters import SigningKeys

log = structlog.get_logger()

HOUSEKEEPING_SECONDS = 600.0
"""How often old rows are removed and the signing key's age is looked at."""
LAPSE_SECONDS = 5.0
"""How often sessions are looked for whose time is over. At every use they are checked anyway: this is for what is open on them."""
BLIND_SECONDS = 5.0
"""When the bus could not be read for this long, nothing remembered is relied on: a revocation may stand there."""


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
    store: Store
    watcher: EventWatcher

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
        self.assertions.forget()
        await self.look_anew()
        await self.keys.refresh()

    async def look_anew(self) -> None:
        """Check every session that something rests on, and decide again for everybody. What cannot be read ends."""
        self.known.forget()
        for digest in self.decisions.sessions() | {session for session, _ in self.live.pairs() if session}:
            try:
                gone = await self.sessions.by_digest(digest) is None
            except StoreError:
                gone = True
            if gone:
                self.decisions.session_ended(digest)
                self.assertions.forget(digest)
        await self.decisions.everything_changed()

    async def recheck_forever(self) -> None:
        """Decide again what the passing of time has ended, and everything as long as the bus cannot be read."""
        looked = self.clock.monotonic()
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            now = self.clock.monotonic()
            if self.watcher.blind_for > BLIND_SECONDS and now - looked > BLIND_SECONDS / 5:
                await self.look_anew()
                looked = now
            await self.decisions.expired()
            self.metrics.live.set(self.live.count())
            self.metrics.viewers.set(self.relay.streams)
            self.metrics.queued.set(len(self.leases.line))
            for name, node in self.leases.nodes.items():
                self.metrics.node(name, node.status)

    async def end_lapsed_forever(self) -> None:
        """End sessions whose time is over, in the store, so that every worker hears of it."""
        while True:
            try:
                await self.sessions.end_lapsed()
            except StoreError as error:
                log.error("sessions.not-ended", error=str(error))
            await asyncio.sleep(LAPSE_SECONDS)

    async def keep_house(self) -> None:
        """Remove old rows, and rotate the signing key when due."""
        while True:
            try:
                await self.keys.refresh()
                for repository in self.repositories:
                    await repository.prune()
            except StoreError as error:
                log.error("housekeeping.failed", error=str(error), store=str(self.store.path))
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    def live_everything_ends(self) -> None:
        """Tell every open connection that this worker goes; viewers connect again by themselves."""
        for session, app in list(self.live.pairs()):
            self.live.end(session, app, "going-away")
