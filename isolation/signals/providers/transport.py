"""HTTP with bounds: no proxies or certificates from the environment, no redirects, no compression, no endless bodies."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
from typing_extensions import override

from isolation.errors import ProviderError

# ---- limits
CONNECT_TIMEOUT = 5.0  # seconds: Microsoft's front doors answer within tens of milliseconds
READ_TIMEOUT = 20.0  # seconds between two packets; a page of 500 risky users can take several
MAX_BODY = 16 * 1024 * 1024  # bytes: a page of 999 groups is under 1 MiB; whatever is far beyond is not an answer of Graph
MAX_RETRY_AFTER = 300.0  # seconds; a longer wait would only be ours to discover as stale signals

_SECONDS = re.compile(r"\d{1,6}\Z")


class _BoundedStream(httpx.AsyncByteStream):
    """Passes a body on up to :data:`MAX_BODY`."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_BODY:
                raise ProviderError(f"the answer is longer than {MAX_BODY} bytes", code="malformed")
            yield chunk

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()


class BoundedTransport(httpx.AsyncBaseTransport):
    """A transport that raises :class:`ProviderError` for a body that is too long, or compressed although nobody asked for that."""

    def __init__(self, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._inner = inner or httpx.AsyncHTTPTransport(trust_env=False)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise ProviderError("the answer cannot be read", code="malformed")
        if response.headers.get("content-encoding", "identity").casefold() != "identity":
            await stream.aclose()
            raise ProviderError("the answer is compressed although that was not asked for", code="malformed")
        return httpx.Response(
            response.status_code, headers=response.headers, stream=_BoundedStream(stream), extensions=response.extensions
        )

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


def new_http_client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Return a client with these bounds. ``transport``: what really sends, for tests."""
    return httpx.AsyncClient(
        transport=BoundedTransport(transport),
        timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,
        trust_env=False,
    )


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds in ``Retry-After``, capped, or None. Graph sends seconds; a date counts as none."""
    value = response.headers.get("retry-after", "").strip()
    return min(float(value), MAX_RETRY_AFTER) if _SECONDS.match(value) else None
