"""When a session may be used."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.identity.sessions.model import Session, short_id

SESSION = Session("abc", "abcdef", "t/a", "Entra", 100.0, 1000.0, 60.0, 200.0)


@pytest.mark.parametrize(("now", "live"), [(100, True), (200, True), (259.9, True), (260, False), (1e9, False)])
def test_a_session_ends_when_nobody_uses_it(now: float, live: bool) -> None:
    assert SESSION.is_live(now) is live


def test_use_does_not_carry_it_beyond_its_time() -> None:
    busy = replace(SESSION, last_seen_at=999.0)
    assert busy.ends_at == 1000.0
    assert busy.is_live(999.9)
    assert not busy.is_live(1000.0)


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(0, 1e12), st.floats(0, 1e12))
def test_a_revoked_session_is_never_live(now: float, expires: float, seen: float, revoked: float) -> None:
    assert not replace(SESSION, expires_at=expires, last_seen_at=seen, revoked_at=revoked).is_live(now)


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(0, 1e6), st.floats(0, 1e12))
def test_it_is_live_exactly_before_its_end(now: float, expires: float, idle: float, seen: float) -> None:
    session = replace(SESSION, expires_at=expires, last_seen_at=seen, idle_seconds=idle)
    assert session.is_live(now) == (now < session.ends_at)


def test_the_short_name_is_of_the_digest() -> None:
    assert short_id("0123456789abcdef" * 4) == "0123456789ab"
