"""Whatever is good once is good once."""

from __future__ import annotations

import asyncio

import pytest

from isolation import tokens
from isolation.identity.principals import PersonRecord
from isolation.store.database import Store
from isolation.store.handoffs import Flow, FlowRepository, Handoff, HandoffRepository, UsedTicketRepository
from isolation.store.sessions import SessionRepository
from isolation.testing.clock import FakeClock


@pytest.fixture
async def session(sessions: SessionRepository, alice: PersonRecord) -> str:
    made, _ = await sessions.create(alice.key, idp="Entra", lifetime=3600, idle_seconds=3600)
    return made.digest


@pytest.fixture
def handoffs(store: Store) -> HandoffRepository:
    return HandoffRepository(store)


@pytest.fixture
def flows(store: Store) -> FlowRepository:
    return FlowRepository(store)


async def offer(handoffs: HandoffRepository, session: str, clock: FakeClock, code: str = "the-code") -> None:
    await handoffs.create(tokens.digest(code), session, "data.localhost", "nonce", "/run?month=5", clock.now() + 60)


async def test_a_hand_off_is_redeemed_exactly_once(handoffs: HandoffRepository, session: str, clock: FakeClock) -> None:
    await offer(handoffs, session, clock)

    expected = Handoff(session, "data.localhost", "nonce", "/run?month=5", clock.now() + 60)
    assert await handoffs.redeem("the-code", host="data.localhost", nonce="nonce") == expected
    assert await handoffs.redeem("the-code") is None


async def test_of_many_that_redeem_at_once_one_succeeds(
    store: Store, handoffs: HandoffRepository, session: str, clock: FakeClock
) -> None:
    second = Store.open(f"sqlite:///{store.path}", clock=clock)
    try:
        for attempt in range(10):
            code = f"code-{attempt}"
            await offer(handoffs, session, clock, code)
            both = [handoffs, HandoffRepository(second)]
            results = await asyncio.gather(*[repository.redeem(code) for repository in both * 10])
            assert sum(result is not None for result in results) == 1
    finally:
        second.close()


@pytest.mark.parametrize("wrong", [{"host": "evil.localhost"}, {"nonce": "other"}, {"host": "", "nonce": "nonce"}])
async def test_a_code_in_the_wrong_place_is_worthless_from_then_on(
    handoffs: HandoffRepository, session: str, clock: FakeClock, wrong: dict[str, str]
) -> None:
    await offer(handoffs, session, clock)

    assert await handoffs.redeem("the-code", **wrong) is None
    assert await handoffs.redeem("the-code", host="data.localhost", nonce="nonce") is None


async def test_an_expired_code_is_worthless(handoffs: HandoffRepository, session: str, clock: FakeClock) -> None:
    await offer(handoffs, session, clock)
    clock.advance(60)

    assert await handoffs.redeem("the-code") is None


async def test_the_digest_in_the_store_redeems_nothing(handoffs: HandoffRepository, session: str, clock: FakeClock) -> None:
    await offer(handoffs, session, clock)

    assert await handoffs.redeem(tokens.digest("the-code")) is None
    assert await handoffs.redeem("") is None
    assert await handoffs.redeem("the-code") is not None


async def test_nothing_secret_shows_in_a_repr(handoffs: HandoffRepository, session: str, clock: FakeClock) -> None:
    await offer(handoffs, session, clock)

    assert "nonce'" not in repr(await handoffs.redeem("the-code"))


async def begin(flows: FlowRepository, clock: FakeClock) -> None:
    await flows.create(
        "state",
        idp="Entra",
        nonce="n",
        verifier="v",
        binding="cookie",
        target="https://data.localhost/",
        expires=clock.now() + 600,
    )


async def test_a_sign_in_under_way_is_redeemed_exactly_once(flows: FlowRepository, clock: FakeClock) -> None:
    await begin(flows, clock)

    expected = Flow("Entra", "n", "v", tokens.digest("cookie"), "https://data.localhost/", clock.now(), clock.now() + 600)
    assert await flows.redeem("state", binding="cookie") == expected
    assert await flows.redeem("state", binding="cookie") is None
    assert "'v'" not in repr(expected)


@pytest.mark.parametrize(("state", "binding"), [("state", "other browser"), ("state", ""), ("other", "cookie")])
async def test_another_browser_cannot_end_a_sign_in(flows: FlowRepository, clock: FakeClock, state: str, binding: str) -> None:
    await begin(flows, clock)

    assert await flows.redeem(state, binding=binding) is None


async def test_a_sign_in_that_took_too_long_is_over(flows: FlowRepository, clock: FakeClock) -> None:
    await begin(flows, clock)
    clock.advance(600)

    assert await flows.redeem("state", binding="cookie") is None


async def test_targets_are_bounded(handoffs: HandoffRepository, flows: FlowRepository, session: str) -> None:
    with pytest.raises(ValueError, match="too long"):
        await handoffs.create("d", session, "h", "n", "/" * 9000, 1)
    with pytest.raises(ValueError, match="too long"):
        await flows.create("s", idp="", nonce="", verifier="", binding="", target="/" * 9000, expires=1)


async def test_a_ticket_is_used_once_by_whichever_worker_is_first(store: Store, clock: FakeClock) -> None:
    second = Store.open(f"sqlite:///{store.path}", clock=clock)
    try:
        both = [UsedTicketRepository(store), UsedTicketRepository(second)]
        results = await asyncio.gather(*[used.first_use("ticket", until=clock.now() + 30) for used in both * 5])
        assert results.count(True) == 1
    finally:
        second.close()


async def test_what_has_expired_is_pruned(
    store: Store, handoffs: HandoffRepository, flows: FlowRepository, session: str, clock: FakeClock
) -> None:
    used = UsedTicketRepository(store)
    await offer(handoffs, session, clock)
    await begin(flows, clock)
    await used.first_use("ticket", until=clock.now() + 30)
    assert [await handoffs.prune(), await flows.prune(), await used.prune()] == [0, 0, 0]
    clock.advance(600)
    assert [await handoffs.prune(), await flows.prune(), await used.prune()] == [1, 1, 1]
