"""What is recorded is found again, by anybody who can read a reference id aloud."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from isolation.audit import events as audit
from isolation.audit.events import Kind
from isolation.errors import StoreError
from isolation.store.audit import AuditLog
from isolation.store.database import Store


@pytest.fixture
def log(store: Store) -> AuditLog:
    return AuditLog(store)


def decided(at: float = 1.0, person: str = "t/a", app: str = "Data", outcome: str = "forward") -> audit.AuditEvent:
    steps = [{"rung": "policy", "text": "Staff", "value": "alice@contoso.example", "age": None}]
    return audit.decision(
        at=at,
        session="digest",
        person=person,
        email="alice@contoso.example",
        app=app,
        outcome=outcome,
        detail={"policy": "Staff", "steps": steps},
    )


async def test_an_event_is_found_by_its_reference(log: AuditLog) -> None:
    event = decided()
    ref = await log.record(event)

    assert ref == event.ref
    assert await log.find(ref) == event
    assert await log.find(f"  {ref.lower().replace('-', ' ')} ") == event
    for wrong in ("", "0000-0000", ref[:-1], ref + "0", "' OR ''='", "é" * 8):
        assert await log.find(wrong) is None


async def test_two_events_never_share_a_reference(log: AuditLog) -> None:
    one, two = decided(1.0), decided(2.0)
    await log.record(one)
    ref = await log.record(replace(two, ref=one.ref))

    assert ref != one.ref
    assert (await log.find(one.ref)) == one
    assert (await log.find(ref)) == replace(two, ref=ref)


async def test_an_event_that_was_not_written_has_no_reference(store: Store, log: AuditLog) -> None:
    await store.write(lambda c: c.execute(text("DROP TABLE audit")))

    with pytest.raises(StoreError):
        await log.record(decided())


async def test_listing_filters(log: AuditLog) -> None:
    events = [
        decided(1.0),
        decided(2.0, person="t/b"),
        decided(3.0, app="Lab", outcome="isolate"),
        audit.provider_state(at=4.0, provider="entra-risk", status="throttled"),
    ]
    for event in events:
        await log.record(event)

    assert await log.list() == events[::-1]
    assert await log.list(limit=2) == events[:1:-1]
    assert await log.list(limit=-5) == []
    assert await log.list(person="t/b") == [events[1]]
    assert await log.list(app="Lab") == await log.list(outcome="isolate") == [events[2]]
    assert await log.list(kind=Kind.PROVIDER_STATE) == [events[3]]
    assert await log.list(since=2.0, until=4.0) == [events[2], events[1]]
    assert await log.list(email="alice@contoso.example", session="digest", person="t/a") == [events[2], events[0]]
    assert await log.prune(3.0) == 2
    assert await log.list() == [events[3], events[2]]
