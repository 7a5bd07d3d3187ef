"""The directory sync process: the only place where msgraph-sdk runs, beside single commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from isolation.clock import Clock
from isolation.settings.model import ProviderSettings, Settings
from isolation.store.database import Store
from isolation.store.events import Event, EventKind
from isolation.store.people import PeopleRepository
from isolation.store.risk import RiskRepository
from isolation.store.watcher import EventWatcher

if TYPE_CHECKING:
    from isolation.signals.providers.entra import GraphReader


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
