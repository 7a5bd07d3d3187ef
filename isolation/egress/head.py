"""Reads the head of the first request on a proxy connection. Pure, strict: one spelling of everything, or a refusal.

Only what is needed to know who speaks and where to is read here. Requests for apps are parsed again, whole, by the ingress; where the
two readings of credentials differ the request is refused there (:meth:`isolation.egress.gateway.Gateway.check`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# limits
MAX_HEAD_BYTES = 16_384
"""Request line and headers. Chromium's largest ordinary heads (cookies of 4 KiB each are sent inside tunnels) stay below; servers
commonly allow 8 to 16 KiB."""

_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]{1,12288}) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([\x20-\x7e\x80-\xff\t]*)")


@dataclass(frozen=True, slots=True)
class Head:
    """``size``: bytes of the head including its blank line. ``credentials``: the one ``Proxy-Authorization`` value, if any."""

    method: str
    target: str
    credentials: str | None
    size: int


class HeadError(ValueError):
    """The bytes are not the head of a proxy request. ``status`` is what to answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"bad request head ({status})")
        self.status = status


def parse_head(data: bytes) -> Head | None:
    """Return the head that ``data`` begins with, or ``None`` when it has not arrived completely.

    Raises :class:`HeadError` with 431 for a head over ``MAX_HEAD_BYTES``, 400 for anything malformed or ambiguous.
    """
    end = data.find(_END, 0, MAX_HEAD_BYTES)
    if end < 0:
        if len(data) >= MAX_HEAD_BYTES:
            raise HeadError(431)
        if data and not data[:1].isalpha():  # TLS, SOCKS, line noise: no reason to wait for more
            raise HeadError(400)
        return None
    lines = data[:end].split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(lines[0])
    if request is None:
        raise HeadError(400)
    credentials: list[str] = []
    for line in lines[1:]:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise HeadError(400)
        if header[1].lower() == b"proxy-authorization":
            credentials.append(header[2].decode("latin-1").strip(" \t"))
    if len(credentials) > 1:
        raise HeadError(400)
    return Head(request[1].decode(), request[2].decode(), credentials[0] if credentials else None, end + len(_END))
