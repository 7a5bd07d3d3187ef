"""What tests of the store share."""

from __future__ import annotations

from isolation.store.database import Store
from isolation.store.events import Event, since

TENANT = "c0417050-0000-4000-8000-00000000c050"


class Bus:
    """What was announced since the last question."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = 0

    async def news(self) -> list[Event]:
        batch = await self._store.read(lambda connection: since(connection, self._last))
        self._last = batch.position
        return list(batch.events)

    async def heard(self) -> list[tuple[str, str]]:
        return [(event.kind.value, event.subject) for event in await self.news()]
