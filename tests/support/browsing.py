"""Clients of the product: a browser with cookies and redirects, a WebSocket of that browser, and a plain connection for exact bytes."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from typing_extensions import override
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from isolation.testing.tenant.server import Tenant

BOUND = 20.0

NAVIGATION = {
    "accept": "text/html,*/*;q=0.8",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    "sec-fetch-site": "none",
}
FETCH = {"accept": "*/*", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}
IMAGE = {"accept": "image/*", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image", "sec-fetch-site": "same-origin"}
XHR = {"accept": "application/json", "x-requested-with": "XMLHttpRequest"}


class _Loopback(httpx.BaseTransport):
    """Connects to 127.0.0.1 whatever ``*.localhost`` name is asked for, as every browser does; names are not looked up."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=4))

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host.endswith(".localhost"):
            request = httpx.Request(
                request.method,
                request.url.copy_with(host="127.0.0.1"),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        return self._inner.handle_request(request)

    @override
    def close(self) -> None:
        self._inner.close()


class Browser:
    """One person's browser: one cookie jar, redirects followed, page loads by default."""

    def __init__(self, port: int, tenant: Tenant) -> None:
        self._port = port
        self._tenant = tenant
        self.secrets: list[str] = []
        self.trail: list[httpx.Response] = []
        self._stack = contextlib.ExitStack()
        self.client = httpx.Client(
            transport=_Loopback(),
            headers=NAVIGATION,
            follow_redirects=True,
            trust_env=False,
            timeout=BOUND,
            max_redirects=12,
            event_hooks={"response": [self._note]},
        )

    def close(self) -> None:
        self._stack.close()
        self.client.close()

    def _note(self, response: httpx.Response) -> None:
        """Keep what nobody else may ever see: cookie values, codes, states, seals."""
        self.trail = [*self.trail[-30:], response]
        for line in response.headers.get_list("set-cookie"):
            self.secrets.append(line.partition("=")[2].partition(";")[0])
        query = urlsplit(response.headers.get("location", "")).query
        self.secrets += [value for name, value in parse_qsl(query) if name in {"code", "state", "nonce", "to", "code_challenge"}]

    def get(self, url: str, headers: Mapping[str, str] | None = None, **options: Any) -> httpx.Response:
        return self.client.get(url, headers=headers, **options)

    def request(self, method: str, url: str, headers: Mapping[str, str] | None = None, **options: Any) -> httpx.Response:
        return self.client.request(method, url, headers=headers, **options)

    def fetch(self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None, **options: Any) -> httpx.Response:
        """Ask as a script of the page does: nothing is a page load, redirects are not followed."""
        options.setdefault("follow_redirects", False)
        return self.client.request(method, url, headers={**FETCH, **(headers or {})}, **options)

    def sign_in(self, url: str, person: str) -> httpx.Response:
        """Open a page, be sent to the tenant, press the button with a person's name, and come back."""
        page = self.get(url)
        assert urlsplit(str(page.url)).port == self._tenant.port, f"not the tenant's sign-in page: {page.url}\n{page.text[:2000]}"
        return self.choose(page, person)

    def choose(self, page: httpx.Response, person: str) -> httpx.Response:
        """Press the button with a person's name on the tenant's sign-in page."""
        number = re.search(r'name="page" value="([^"]+)"', page.text)
        action = re.search(r'action="([^"]+)"', page.text)
        assert number is not None
        assert action is not None
        return self.client.post(action.group(1), data={"page": number.group(1), "person": person})

    def cookie(self, host: str, name: str = "isolation") -> str:
        """Return the value of a cookie that this browser has for a host."""
        return next(
            cookie.value or ""
            for cookie in self.client.cookies.jar
            if cookie.name == name and cookie.domain.removeprefix(".") == host
        )

    def cookie_header(self, app: str) -> str:
        """Return the Cookie header this browser sends to an app."""
        host = f"{app.lower()}.localhost"
        request = self.client.build_request("GET", f"http://{host}:{self._port}/")
        return request.headers.get("cookie", "")

    def websocket(self, app: str = "data", path: str = "/socket", **options: Any) -> ClientConnection:
        """Open a WebSocket as a page of the app does."""
        authority = f"{app.lower()}.localhost:{self._port}"
        opening = connect(
            f"ws://{authority}{path}",
            sock=socket.create_connection(("127.0.0.1", self._port), BOUND),
            additional_headers={"Cookie": self.cookie_header(app), **options.pop("headers", {})},
            origin=f"http://{authority}",
            open_timeout=BOUND,
            close_timeout=1,
            proxy=None,
            compression=None,
            ping_interval=None,
            **options,
        )
        return self._stack.enter_context(opening)  # closed with the browser, if not before

    @contextlib.contextmanager
    def events(self, url: str) -> Iterator[Iterator[str]]:
        """Open a stream of server-sent events; yields an iterator over its lines."""
        with self.client.stream("GET", url, headers={**FETCH, "accept": "text/event-stream"}) as response:
            assert response.status_code == 200, response.read()
            yield response.iter_lines()


class Raw:
    """A plain connection: what is sent is sent exactly so."""

    def __init__(self, authority: str, port: int, source: str) -> None:
        self.authority = authority
        self._socket = socket.create_connection(("127.0.0.1", port), BOUND, source_address=(source, 0))
        self._socket.settimeout(BOUND)

    def ask(self, start: str, *lines: str, body: bytes = b"", host: str | None = None) -> bytes:
        """Send one request (``"GET / HTTP/1.1"``, header lines as they are) and return everything until the connection closes."""
        head = "\r\n".join([start, f"Host: {host or self.authority}", *lines, "Connection: close", "", ""])
        self._socket.sendall(head.encode("latin-1") + body)
        return self.rest()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def until(self, mark: bytes) -> bytes:
        """Return what comes up to ``mark``."""
        found = b""
        while mark not in found:
            piece = self._socket.recv(65_536)
            assert piece, found
            found += piece
        return found

    def rest(self) -> bytes:
        """Return everything until the end. Raises ConnectionResetError where the end is a reset."""
        found = b""
        while piece := self._socket.recv(65_536):
            found += piece
        self._socket.close()
        return found

    def close(self) -> None:
        self._socket.close()


def closed_at(websocket: ClientConnection) -> tuple[float, int, str]:
    """Read a WebSocket to its end; return the wall clock when the close frame (or the end) came, and the close code and reason."""
    end = time.monotonic() + BOUND
    while websocket.protocol.close_rcvd is None and websocket.protocol.state is not State.CLOSED and time.monotonic() < end:
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            websocket.recv(0.002)
    moment = time.time()
    with contextlib.suppress(TimeoutError, ConnectionClosed):
        while True:
            websocket.recv(BOUND)
    return moment, websocket.close_code or 0, websocket.close_reason or ""
