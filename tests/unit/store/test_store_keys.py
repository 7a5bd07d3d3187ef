"""Signing keys: sealed at rest, overlapping, made once."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import pytest

from isolation.errors import ConfigurationError
from isolation.store.database import Store
from isolation.store.keys import AHEAD_SECONDS, KEEP_SECONDS, SIGN_SECONDS, KeyRepository
from isolation.testing.clock import FakeClock
from tests.support.store import Bus

SECRET = "a deployment secret of 32 or more characters"


@pytest.fixture
def keys(store: Store) -> KeyRepository:
    return KeyRepository(store, [SECRET])


async def published(keys: KeyRepository) -> list[str]:
    return [key["kid"] for key in (await keys.public_jwks())["keys"]]


async def verify(keys: KeyRepository, token: str) -> Any:
    kid = jwt.get_unverified_header(token)["kid"]
    [jwk] = [key for key in (await keys.public_jwks())["keys"] if key["kid"] == kid]
    return jwt.decode(token, jwt.PyJWK(dict(jwk)).key, algorithms=["RS256"])


async def sign(keys: KeyRepository) -> str:
    key = await keys.current()
    return jwt.encode({"sub": "alice"}, key.pem, algorithm="RS256", headers={"kid": key.kid})


async def test_what_is_signed_verifies_with_the_published_set(keys: KeyRepository, bus: Bus) -> None:
    token = await sign(keys)

    assert await verify(keys, token) == {"sub": "alice"}
    [jwk] = (await keys.public_jwks())["keys"]
    assert set(jwk) == {"kty", "use", "alg", "kid", "n", "e"}
    assert (jwk["kty"], jwk["use"], jwk["alg"], len(jwk["kid"])) == ("RSA", "sig", "RS256", 64)
    assert await bus.heard() == [("keys-changed", jwk["kid"])]
    assert await sign(keys) == token  # RS256 is deterministic: the same key


async def test_the_private_key_is_sealed_in_the_file(store: Store, keys: KeyRepository) -> None:
    key = await keys.current()
    store.close()

    written = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert b"PRIVATE KEY" not in written
    assert key.pem.splitlines()[5].encode() not in written
    assert "PRIVATE" not in repr(key)


async def test_another_secret_does_not_open_it_and_an_added_one_does(store: Store, keys: KeyRepository) -> None:
    kid = (await keys.current()).kid
    other = "another deployment secret, also long enough"

    with pytest.raises(ConfigurationError, match="does not open"):
        await KeyRepository(store, [other]).current()
    assert (await KeyRepository(store, [other, SECRET]).current()).kid == kid


@pytest.mark.parametrize("secrets", [[], [""], ["short"], [SECRET, "short"]])
def test_a_short_secret_is_refused(store: Store, secrets: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="at least 32"):
        KeyRepository(store, secrets)


async def test_a_key_is_published_before_it_signs_and_after(keys: KeyRepository, clock: FakeClock, bus: Bus) -> None:
    first = (await keys.current()).kid
    assert await keys.rotate_if_due(clock.now()) is False
    clock.advance(SIGN_SECONDS - AHEAD_SECONDS - 1)
    assert await keys.rotate_if_due(clock.now()) is False
    await bus.news()

    clock.advance(1)  # a day before
    assert await keys.rotate_if_due(clock.now()) is True
    assert await keys.rotate_if_due(clock.now()) is False
    both = await published(keys)
    assert both[0] == first
    assert (await keys.current()).kid == first
    second = both[1]
    assert await bus.heard() == [("keys-changed", second)]
    last = await sign(keys)

    clock.advance(AHEAD_SECONDS)
    assert (await keys.current()).kid == second
    assert set(await published(keys)) == {first, second}
    clock.advance(KEEP_SECONDS - 1)
    assert await verify(keys, last) == {"sub": "alice"}

    clock.advance(1)
    assert await published(keys) == [second]
    assert await keys.rotate_if_due(clock.now()) is True
    assert await bus.heard() == [("keys-changed", first)]


async def test_after_a_long_sleep_the_old_key_signs_until_the_new_one_is_known(keys: KeyRepository, clock: FakeClock) -> None:
    first = (await keys.current()).kid
    clock.advance(SIGN_SECONDS + KEEP_SECONDS * 3)
    assert (await keys.current()).kid == first  # nobody rotated: it signs on, and is still published
    assert await published(keys) == [first]

    await keys.rotate_if_due(clock.now())
    assert (await keys.current()).kid == first
    assert len(await published(keys)) == 2
    clock.advance(AHEAD_SECONDS)
    assert (await keys.current()).kid != first
    clock.advance(KEEP_SECONDS - 1)
    assert first in await published(keys)


async def test_many_workers_make_one_key(store: Store, clock: FakeClock) -> None:
    second = Store.open(f"sqlite:///{store.path}", clock=clock)
    try:
        workers = [KeyRepository(store, [SECRET]), KeyRepository(second, [SECRET])]
        made = await asyncio.gather(*[worker.current() for worker in workers * 3])
    finally:
        second.close()

    assert len({key.kid for key in made}) == 1
    assert await published(workers[0]) == [made[0].kid]


async def test_a_worker_whose_clock_is_behind_signs_with_the_first_key(keys: KeyRepository, clock: FakeClock) -> None:
    kid = (await keys.current()).kid
    clock.jump(-3600)

    assert (await keys.current()).kid == kid
    assert await published(keys) == [kid]
