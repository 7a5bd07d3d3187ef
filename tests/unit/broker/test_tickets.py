"""Tickets, from the side of somebody who has found one."""

from __future__ import annotations

import pytest

from isolation.broker.tickets import TICKET_SECONDS, MemoryUsedTickets, Tickets
from isolation.errors import TokenError
from isolation.testing.clock import FakeClock
from isolation.tokens import Purpose, Tokens

SESSION, ORIGIN = "a" * 64, "https://payroll.corp.example"
KEY = "k" * 40


@pytest.fixture
def clock() -> FakeClock:
    import time

    return FakeClock(time.time())  # the signature's own age is the machine's


@pytest.fixture
def tickets(clock: FakeClock) -> Tickets:
    return Tickets(Tokens([KEY]), clock, MemoryUsedTickets(clock))


@pytest.mark.case(25)
async def test_good_once(tickets: Tickets) -> None:
    page = tickets.new_page(SESSION, ORIGIN)
    assert await tickets.redeem(SESSION, ORIGIN, page.ticket) == page.id
    with pytest.raises(TokenError):
        await tickets.redeem(SESSION, ORIGIN, page.ticket)


@pytest.mark.case(25)
@pytest.mark.parametrize(
    ("session", "origin"),
    [
        ("b" * 64, ORIGIN),
        (SESSION, "https://lab.corp.example"),
        (SESSION, "http://payroll.corp.example"),
        (SESSION, ORIGIN + ".evil.example"),
    ],
)
async def test_good_for_one_session_and_origin(tickets: Tickets, session: str, origin: str) -> None:
    page = tickets.new_page(SESSION, ORIGIN)
    with pytest.raises(TokenError):
        await tickets.redeem(session, origin, page.ticket)
    with pytest.raises(TokenError):
        tickets.renew(session, origin, page.handle)


@pytest.mark.case(25)
async def test_too_old(tickets: Tickets, clock: FakeClock) -> None:
    page = tickets.new_page(SESSION, ORIGIN)
    clock.advance(TICKET_SECONDS)
    with pytest.raises(TokenError):
        await tickets.redeem(SESSION, ORIGIN, page.ticket)


async def test_a_living_page_gets_another(tickets: Tickets, clock: FakeClock) -> None:
    page = tickets.new_page(SESSION, ORIGIN)
    clock.advance(TICKET_SECONDS * 100)
    another = tickets.renew(SESSION, ORIGIN, page.handle)
    assert await tickets.redeem(SESSION, ORIGIN, another) == page.id


async def test_a_handle_is_no_ticket_and_a_ticket_no_handle(tickets: Tickets) -> None:
    page = tickets.new_page(SESSION, ORIGIN)
    with pytest.raises(TokenError):
        await tickets.redeem(SESSION, ORIGIN, page.handle)
    with pytest.raises(TokenError):
        tickets.renew(SESSION, ORIGIN, page.ticket)


@pytest.mark.case(25)
async def test_forged(tickets: Tickets) -> None:
    page = tickets.new_page(SESSION, ORIGIN)
    foreign = Tokens(["x" * 40]).seal(Purpose.TICKET, ["p", "n", 9e9], audience=f"stream|{SESSION}|{ORIGIN}")
    strange = Tokens([KEY]).seal(Purpose.TICKET, {"p": 1}, audience=f"stream|{SESSION}|{ORIGIN}")
    for ticket in ("", "x", page.ticket[:-1], page.ticket + "A", foreign, strange):
        with pytest.raises(TokenError):
            await tickets.redeem(SESSION, ORIGIN, ticket)


@pytest.mark.case(25)
async def test_a_signature_in_another_spelling(tickets: Tickets) -> None:
    """Base64 of 32 bytes leaves two bits of its last character over, and lenient decoders pass by what is not of its alphabet."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    page = tickets.new_page(SESSION, ORIGIN)
    for good, use in ((page.ticket, lambda it: tickets.redeem(SESSION, ORIGIN, it)), (page.handle, None)):
        others = [good[:-1] + character for character in alphabet if character != good[-1]]
        for other in [*others, good + "=", good + "!", good[:-5] + "!" + good[-5:], good + "\n", good.replace(".", ".=")]:
            with pytest.raises(TokenError):
                await use(other) if use else tickets.renew(SESSION, ORIGIN, other)
    assert await tickets.redeem(SESSION, ORIGIN, page.ticket) == page.id


async def test_a_full_memory_lets_nobody_in(clock: FakeClock) -> None:
    used = MemoryUsedTickets(clock, most=50)
    for i in range(50):
        assert await used.first_use(str(i), until=clock.now() + 60)
    assert not await used.first_use("one more", until=clock.now() + 60)
    clock.advance(61)
    assert await used.first_use("one more", until=clock.now() + 60)
    assert await used.first_use("0", until=clock.now() + 60)
