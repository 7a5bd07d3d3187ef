"""The application's access tokens: cached, renewed early, and every failure by its name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs

import httpx
import pytest

from isolation.errors import ProviderError
from isolation.signals.providers import ThrottledError
from isolation.signals.providers.token import AppCredentials, ClientCredentials
from isolation.testing.clock import FakeClock

GOOD = {"token_type": "Bearer", "expires_in": 3599, "access_token": "first"}


def credentials(secret: Callable[[], str] = lambda: "s3cret") -> AppCredentials:
    return AppCredentials("https://login.example", "tenant-id", "client-id", secret, "https://graph.example/.default")


def source(clock: FakeClock, *answers: httpx.Response | Exception, seen: list[httpx.Request] | None = None) -> ClientCredentials:
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        result = left.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    return ClientCredentials(credentials(), clock, transport=httpx.MockTransport(answer))


def aadsts(number: int, status: int = 400) -> httpx.Response:
    return httpx.Response(status, json={"error": "invalid_client", "error_description": f"AADSTS{number}: secret words"})


async def test_request_and_cache() -> None:
    clock, seen = FakeClock(), list[httpx.Request]()
    tokens = source(clock, httpx.Response(200, json=GOOD), httpx.Response(200, json=GOOD | {"access_token": "second"}), seen=seen)
    assert await asyncio.gather(*(tokens.get() for _ in range(10))) == ["first"] * 10
    assert str(seen[0].url) == "https://login.example/tenant-id/oauth2/v2.0/token"
    assert parse_qs(seen[0].content.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["client-id"],
        "client_secret": ["s3cret"],
        "scope": ["https://graph.example/.default"],
    }
    clock.advance(3599 - 300 - 1)
    assert await tokens.get() == "first"
    clock.advance(1)
    assert await tokens.get() == "second"


async def test_refused_tokens_are_forgotten_but_only_those() -> None:
    tokens = source(FakeClock(), httpx.Response(200, json=GOOD), httpx.Response(200, json=GOOD | {"access_token": "second"}))
    assert await tokens.get() == "first"
    tokens.refused("another")
    assert await tokens.get() == "first"
    tokens.refused("first")
    assert await tokens.get() == "second"


async def test_a_short_life_is_used_for_half_of_it() -> None:
    clock = FakeClock()
    tokens = source(clock, httpx.Response(200, json=GOOD | {"expires_in": "10"}), httpx.Response(200, json=GOOD))
    await tokens.get()
    clock.advance(4.9)
    await tokens.get()
    clock.advance(0.2)
    await tokens.get()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (aadsts(7000215, 401), "credentials"),
        (aadsts(7000222, 401), "credentials"),
        (aadsts(90002), "credentials"),
        (aadsts(999999), "credentials"),
        (httpx.Response(403, text="<html>blocked</html>"), "credentials"),
        (httpx.Response(500, text="oops"), "unreachable"),
        (httpx.Response(429, headers={"Retry-After": "7"}), "throttled"),
        (httpx.Response(302, headers={"Location": "https://elsewhere.example"}), "malformed"),
        (httpx.Response(200, text="<html>"), "malformed"),
        (httpx.Response(200, json=["no"]), "malformed"),
        (httpx.Response(200, json={}), "malformed"),
        (httpx.Response(200, json=GOOD | {"expires_in": -5}), "malformed"),
        (httpx.Response(200, json=GOOD | {"expires_in": True}), "malformed"),
        (httpx.Response(200, json=GOOD | {"access_token": "a\r\nX: y"}), "malformed"),
        (httpx.Response(200, json=GOOD | {"token_type": "PoP"}), "malformed"),
        (httpx.ConnectError("refused"), "unreachable"),
        (httpx.ReadTimeout("slow"), "unreachable"),
    ],
)
async def test_failures_have_names(answer: httpx.Response | Exception, code: str) -> None:
    tokens = source(FakeClock(), answer, httpx.Response(200, json=GOOD))
    with pytest.raises(ProviderError) as caught:
        await tokens.get()
    assert caught.value.code == code
    assert "secret words" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    if isinstance(caught.value, ThrottledError):
        assert caught.value.retry_after == 7.0
    assert await tokens.get() == "first", "a failure is not remembered"


async def test_the_secret_is_read_for_every_request() -> None:
    secrets = ["old", "new"]
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        return httpx.Response(200, json=GOOD)

    tokens = ClientCredentials(credentials(lambda: secrets.pop(0)), FakeClock(), transport=httpx.MockTransport(answer))
    await tokens.get()
    tokens.refused("first")
    await tokens.get()
    assert b"client_secret=old" in seen[0]
    assert b"client_secret=new" in seen[1]
