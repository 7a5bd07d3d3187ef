"""The app that the soak's people work with: plain pages, one that hangs, one that is a file."""

from __future__ import annotations

import asyncio
from typing import Self

HANGS = b"<title>hangs</title><script>setTimeout(() => { while (true); }, 200)</script>"
PAGE = b"<title>page</title><body style='height:5000px;background:linear-gradient(#fff,#46c)'><input autofocus>"


class Site:
    """A small HTTP server. ``/hang`` never answers again; ``/file`` is a download; everything else is a page."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                if path.startswith(b"/file"):
                    more, body = (
                        b"Content-Type: text/csv\r\nContent-Disposition: attachment; filename=rows.csv\r\n",
                        b"a,b\n" * 5000,
                    )
                else:
                    more, body = b"Content-Type: text/html; charset=utf-8\r\n", HANGS if path.startswith(b"/hang") else PAGE
                writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (more, len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()
