"""The client on real sockets: what it caches, how often it asks, and what it makes of a hostile or dying provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from isolation.clock import SystemClock
from isolation.errors import SignInError
from isolation.identity.oidc.client import KEEP_FOR, MAX_BODY, UNKNOWN_KEY_PAUSE, EntraClient
from isolation.identity.oidc.flow import Cloud, EntraProvider
from isolation.testing.clock import FakeClock
from isolation.testing.tenant.server import Tenant


def provider_of(tenant: Tenant) -> EntraProvider:
    return EntraProvider(
        "Entra", tenant.client_id, tenant.client_secret, tenant.tenant_id, Cloud(tenant.base_url, tenant.base_url)
    )


def asked(tenant: Tenant, end: str) -> int:
    return sum(seen.path.endswith(end) for seen in tenant.seen)


async def code_of(waiting: Awaitable[object]) -> str:
    with pytest.raises(SignInError) as caught:
        await waiting
    return caught.value.code


@pytest.fixture
async def served() -> AsyncIterator[tuple[Tenant, FakeClock, EntraClient]]:
    clock = FakeClock()
    with Tenant() as tenant:
        client = EntraClient(provider_of(tenant), clock, timeout=5.0)
        yield tenant, clock, client
        await client.aclose()


async def test_keys_are_kept_for_a_day_and_then_fetched_again(served: tuple[Tenant, FakeClock, EntraClient]) -> None:
    tenant, clock, client = served
    (kid, *_) = (await client.keys("?")).keys()
    asked_first = asked(tenant, "/keys")
    clock.advance(KEEP_FOR - 1)
    await client.keys(kid)
    assert asked(tenant, "/keys") == asked_first
    clock.advance(2)
    await client.keys(kid)
    assert asked(tenant, "/keys") == asked_first + 1


async def test_a_flood_of_unknown_keys_causes_one_fetch_in_five_minutes(served: tuple[Tenant, FakeClock, EntraClient]) -> None:
    tenant, clock, client = served
    await client.keys("?")
    before = asked(tenant, "/keys")
    await asyncio.gather(*(client.keys(f"forged-{number}") for number in range(200)))
    assert asked(tenant, "/keys") == before
    clock.advance(UNKNOWN_KEY_PAUSE + 1)
    await asyncio.gather(*(client.keys(f"forged-{number}") for number in range(200)))
    assert asked(tenant, "/keys") == before + 1


async def test_a_failing_provider_leaves_the_last_good_keys(served: tuple[Tenant, FakeClock, EntraClient]) -> None:
    tenant, clock, client = served
    keys = await client.keys("?")
    (kid, *_) = keys
    for kind in ("status", "malformed", "wrong-shape", "truncated", "redirect"):
        tenant.fail("keys", kind)
        tenant.fail("discovery", kind)
        clock.advance(KEEP_FOR + UNKNOWN_KEY_PAUSE)
        await client.refresh()
        assert await client.keys(kid) == keys
        assert await client.keys("rotated") == keys
        assert client.known_endpoints() is not None


async def test_many_who_wait_for_the_same_document_cause_one_request(served: tuple[Tenant, FakeClock, EntraClient]) -> None:
    tenant, _, client = served
    tenant.fail("discovery", "slow", seconds=0.3)
    await asyncio.gather(*(client.endpoints() for _ in range(50)))
    assert asked(tenant, "/openid-configuration") == 1


async def test_somebody_who_leaves_does_not_cancel_what_others_wait_for(
    served: tuple[Tenant, FakeClock, EntraClient],
) -> None:
    tenant, _, client = served
    tenant.fail("discovery", "slow", seconds=0.3)
    leaving = asyncio.create_task(client.endpoints())
    await asyncio.sleep(0.05)
    staying = asyncio.create_task(client.endpoints())
    await asyncio.sleep(0.05)
    leaving.cancel()
    assert (await staying).token


async def test_the_background_refresh_brings_keys_without_a_sign_in(served: tuple[Tenant, FakeClock, EntraClient]) -> None:
    tenant, _, client = served
    client.start()
    client.start()
    for _ in range(200):
        if asked(tenant, "/keys"):
            break
        await asyncio.sleep(0.02)
    assert asked(tenant, "/keys") == 1


async def test_proxies_of_the_environment_are_ignored(
    served: tuple[Tenant, FakeClock, EntraClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, clock, _ = served
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    client = EntraClient(provider_of(tenant), clock)
    assert (await client.endpoints()).token
    await client.aclose()


async def test_errors_have_names(served: tuple[Tenant, FakeClock, EntraClient]) -> None:
    tenant, _, client = served
    for status, code in ((500, "idp-unavailable"), (503, "idp-unavailable"), (429, "idp-throttled"), (404, "idp-malformed")):
        tenant.fail("discovery", status=status)
        assert await code_of(client.endpoints()) == code
    tenant.fail("discovery", "redirect")
    assert await code_of(client.endpoints()) == "idp-malformed"
    tenant.fail("discovery", "slow", seconds=3)
    hasty = EntraClient(client.provider, SystemClock(), timeout=0.2)
    assert await code_of(hasty.endpoints()) == "idp-slow"
    await hasty.aclose()
    tenant.faults.clear()
    assert await code_of(client.redeem(code="1.x", verifier="v" * 43, redirect_uri="http://x")) == "idp-code-used"
    tenant.stop()
    gone = EntraClient(client.provider, SystemClock())
    assert await code_of(gone.endpoints()) == "idp-unreachable"
    await gone.aclose()


@asynccontextmanager
async def raw_server(answer: Callable[[int], bytes]) -> AsyncIterator[str]:
    """Serve one answer to everything; ``answer`` is given the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(port))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()


TENANT_ID = "c0417050-0000-4000-8000-00000000c050"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
async def test_a_hostile_answer_is_bounded_and_refused(answer: bytes) -> None:
    async with raw_server(lambda _: answer) as origin:
        client = EntraClient(EntraProvider("E", "c", "s", TENANT_ID, Cloud(origin, origin)), SystemClock(), timeout=5.0)
        assert await code_of(client.endpoints()) == "idp-malformed"
        await client.aclose()


async def test_something_that_is_not_http_is_unreachable() -> None:
    async with raw_server(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n") as origin:
        client = EntraClient(EntraProvider("E", "c", "s", TENANT_ID, Cloud(origin, origin)), SystemClock(), timeout=5.0)
        assert await code_of(client.endpoints()) == "idp-unreachable"
        await client.aclose()


def discovery(port: int, *, token_port: int, padding: int = 0) -> bytes:
    base = f"http://127.0.0.1:{port}/{TENANT_ID}"
    document = {
        "issuer": f"{base}/v2.0",
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"http://127.0.0.1:{token_port}/token",
        "jwks_uri": f"{base}/keys",
    }
    body = json.dumps(document).encode() + b" " * padding
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(("padding", "fits"), [(0, True), (MAX_BODY, False)])
async def test_an_answer_that_is_right_but_too_long_is_refused(padding: int, *, fits: bool) -> None:
    async with raw_server(lambda port: discovery(port, token_port=port, padding=padding)) as origin:
        client = EntraClient(EntraProvider("E", "c", "s", TENANT_ID, Cloud(origin, origin)), SystemClock(), timeout=5.0)
        if fits:
            assert (await client.endpoints()).token
        else:
            assert await code_of(client.endpoints()) == "idp-malformed"
        await client.aclose()


async def test_the_secret_goes_nowhere_that_a_document_names() -> None:
    async with raw_server(lambda port: discovery(port, token_port=port + 1)) as origin:
        client = EntraClient(EntraProvider("E", "c", "s", TENANT_ID, Cloud(origin, origin)), SystemClock(), timeout=5.0)
        assert await code_of(client.redeem(code="c", verifier="v", redirect_uri="r")) == "idp-malformed"
        await client.aclose()
