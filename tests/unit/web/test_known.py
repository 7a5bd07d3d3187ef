"""Sessions in memory: found by a lookup, gone with their end, and never brought back by a read that was under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from isolation.errors import StoreError
from isolation.identity.sessions.model import Session
from isolation.testing.clock import FakeClock
from isolation.tokens import Tokens
from isolation.web import known
from isolation.web.cookies import Cookies
from isolation.web.endpoints.kit import Site
from isolation.web.known import KnownSessions

TOKENS = Tokens(["k" * 32])
SITE = Site(scheme="https", auth_host="auth.corp.example")
HOST = "app.corp.example"
Headers = list[tuple[bytes, bytes]]


@dataclass
class Store:
    clock: FakeClock
    sessions: dict[str, Session] = field(default_factory=dict)
    reads: int = 0
    touched: list[str] = field(default_factory=list)
    broken: bool = False
    before: Callable[[], None] | None = None  # runs after what is returned was read

    async def get(self, secret: str) -> Session | None:
        self.reads += 1
        found = self.sessions.get(secret)
        await asyncio.sleep(0)
        if self.before is not None:
            self.before()
        if self.broken:
            raise StoreError("locked")
        return found

    async def by_digest(self, digest: str) -> Session | None:
        return await self.get(digest.removeprefix("digest of "))

    async def touch(self, session: Session) -> Session:
        self.touched.append(session.digest)
        if self.broken:
            raise StoreError("full")
        return replace(session, last_seen_at=self.clock.now())


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Store(self.clock)
        self.cookies = Cookies(TOKENS, self.clock, secure=True)
        self.known = KnownSessions(self.store, self.cookies, SITE, self.clock)

    def start(self, secret: str = "s", *, lasts: float = 3_600.0, idle: float = 600.0) -> Headers:
        now = self.clock.now()
        self.store.sessions[secret] = Session(
            id=secret, digest=f"digest of {secret}", person_key="t/p", idp="Entra", created_at=now, expires_at=now + lasts,
            idle_seconds=idle, last_seen_at=now,
        )  # fmt: skip
        return [(b"cookie", self.cookies.set_session(secret, HOST).split(";")[0].encode())]


async def test_a_session_is_read_once() -> None:
    world = World()
    headers = world.start()
    assert world.known.known(headers, HOST) is None
    session = await world.known.find(headers, HOST)
    assert session is not None
    assert await world.known.find(headers, HOST) is session
    assert world.known.known(headers, HOST) is session
    assert world.store.reads == 1


async def test_a_cookie_counts_at_its_own_host_only() -> None:
    world = World()
    headers = world.start()
    assert await world.known.find(headers, HOST)
    assert world.known.known(headers, "other.corp.example") is None
    assert await world.known.find(headers, "other.corp.example") is None
    assert world.store.reads == 1  # the signature says no; nobody is asked


async def test_any_other_cookie_header_is_another_key() -> None:
    world = World()
    headers = world.start()
    assert await world.known.find(headers, HOST)
    planted = [*headers, (b"cookie", b"__Host-isolation=evil")]
    assert world.known.known(planted, HOST) is None
    assert await world.known.find(planted, HOST) is None
    assert await world.known.find([*headers, (b"cookie", b"theme=dark")], HOST) is not None
    assert await world.known.find([], HOST) is None


async def test_an_ended_session_is_gone_at_once_and_others_stay() -> None:
    world = World()
    first, second = world.start("a"), world.start("b")
    for headers in (first, second, [*first, (b"cookie", b"x=1")]):
        assert await world.known.find(headers, HOST)
    assert await world.known.by_digest("digest of a")
    del world.store.sessions["a"]
    world.known.ended("digest of a")
    assert world.known.known(first, HOST) is None
    assert world.known.known([*first, (b"cookie", b"x=1")], HOST) is None
    assert await world.known.by_digest("digest of a") is None
    assert world.known.known(second, HOST) is not None


async def test_a_session_that_ends_while_it_is_read_is_not_given_out() -> None:
    world = World()
    headers = world.start()
    world.store.before = lambda: world.known.ended("digest of s")
    assert await world.known.find(headers, HOST) is None
    assert await world.known.by_digest("digest of s") is None
    world.store.before = None
    assert world.known.known(headers, HOST) is None


async def test_a_read_during_a_resync_is_read_again() -> None:
    world = World()
    headers = world.start()

    def once() -> None:
        world.store.before = None
        world.store.sessions.clear()  # it ended, and that event was among the missed ones
        world.known.forget()

    world.store.before = once
    assert await world.known.find(headers, HOST) is None
    assert world.store.reads == 2


async def test_forgetting_without_end_fails_rather_than_passes() -> None:
    world = World()
    headers = world.start()
    world.store.before = world.known.forget
    with pytest.raises(StoreError):
        await world.known.find(headers, HOST)


async def test_a_session_lapses_in_memory() -> None:
    world = World()
    headers = world.start(lasts=100.0, idle=1_000.0)
    assert await world.known.find(headers, HOST)
    assert await world.known.by_digest("digest of s")
    world.clock.advance(99.9)
    assert world.known.known(headers, HOST)
    world.clock.advance(0.2)
    assert world.known.known(headers, HOST) is None
    assert await world.known.find(headers, HOST) is None
    assert await world.known.by_digest("digest of s") is None


async def test_use_is_noted_about_once_a_minute() -> None:
    world = World()
    headers = world.start(idle=10_000.0)
    assert await world.known.find(headers, HOST)
    for _ in range(10):
        world.known.known(headers, HOST)
    assert world.store.touched == []
    world.clock.advance(61)
    for _ in range(10):
        world.known.known(headers, HOST)
    await asyncio.sleep(0.01)
    for _ in range(10):
        assert world.known.known(headers, HOST)
    assert world.store.touched == ["digest of s"]


async def test_work_in_the_viewer_counts_as_use() -> None:
    world = World()
    world.start(idle=10_000.0)
    assert await world.known.by_digest("digest of s")
    world.clock.advance(61)
    assert await world.known.by_digest("digest of s")
    await asyncio.sleep(0.01)
    session = await world.known.by_digest("digest of s")
    assert session is not None
    assert session.last_seen_at == world.clock.now()
    assert world.store.touched == ["digest of s"]


async def test_a_full_disk_is_not_asked_by_every_request() -> None:
    world = World()
    headers = world.start(idle=10_000.0)
    assert await world.known.find(headers, HOST)
    world.clock.advance(61)
    world.store.broken = True
    for _ in range(20):
        assert world.known.known(headers, HOST)
        await asyncio.sleep(0)
    assert len(world.store.touched) == 1
    world.clock.advance(61)
    assert world.known.known(headers, HOST)
    await asyncio.sleep(0.01)
    assert len(world.store.touched) == 2


async def test_an_end_during_a_touch_is_final() -> None:
    world = World()
    headers = world.start()
    assert await world.known.find(headers, HOST)
    world.clock.advance(151)
    assert world.known.known(headers, HOST)
    world.known.ended("digest of s")
    await asyncio.sleep(0.01)
    assert world.known.known(headers, HOST) is None


async def test_a_store_that_fails_lets_nobody_in() -> None:
    world = World()
    headers = world.start()
    world.store.broken = True
    with pytest.raises(StoreError):
        await world.known.find(headers, HOST)
    with pytest.raises(StoreError):
        await world.known.by_digest("digest of s")
    assert world.known.known(headers, HOST) is None


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MAX_KNOWN", 3)
    monkeypatch.setattr(known, "MAX_ENDED", 2)
    world = World()
    everybody = [world.start(f"s{number}") for number in range(6)]
    for headers in everybody:
        assert await world.known.find(headers, HOST)
    assert sum(world.known.known(headers, HOST) is not None for headers in everybody) == 3
    for number in range(6):
        world.known.ended(f"digest of s{number}")
    assert len(world.known._ended) == 2
    assert world.known._by_cookie == {} == world.known._places


def test_whether_a_request_brings_a_cookie_of_ours() -> None:
    world = World()
    assert world.known.carries_cookie([(b"cookie", b"a=b; __Host-isolation=x")])
    assert not world.known.carries_cookie([(b"cookie", b"a=b"), (b"x", b"__Host-isolation=")])
