"""Single-use tickets for a viewer's stream.

A WebSocket upgrade carries cookies whoever asks for it (CWE-1385), so a cookie alone opens no stream: the page that the router served
holds a ticket, good once, for thirty seconds, for this session, on this origin, from this very page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from isolation.clock import Clock
from isolation.errors import TokenError
from isolation.tokens import Purpose, Tokens, new_secret

# ---------------------------------------------------------------- limits
TICKET_SECONDS = 30  # from the page's bytes to its script's first line; a slow phone needs ten
MAX_REMEMBERED = 100_000  # used tickets of half a minute: 3,000 streams opened a second


class UsedTickets(Protocol):
    """Remembers which tickets were used. With several router workers it has to be shared between them."""

    async def first_use(self, ticket: str, *, until: float) -> bool:
        """Record a use; say whether it was the first. ``until``: epoch seconds after which it may be forgotten."""
        ...


class MemoryUsedTickets:
    """Used tickets of one process."""

    def __init__(self, clock: Clock, *, most: int = MAX_REMEMBERED) -> None:
        self._clock = clock
        self._most = most
        self._used: dict[str, float] = {}

    async def first_use(self, ticket: str, *, until: float) -> bool:
        """Record a use; say whether it was the first. When the memory is full, nothing is a first use: fail closed."""
        now = self._clock.now()
        while self._used:
            oldest = next(iter(self._used))
            if self._used[oldest] > now:
                break
            del self._used[oldest]
        if ticket in self._used or len(self._used) >= self._most:
            return False
        self._used[ticket] = until
        return True


@dataclass(frozen=True, slots=True)
class PageInstance:
    """One served viewer page. ``handle`` is what the page shows to get further tickets; it is not secret and opens nothing by itself."""

    id: str
    handle: str
    ticket: str


class Tickets:
    """Issues and redeems tickets. A ticket is bound to the session's digest and the app's origin by its signature."""

    def __init__(self, tokens: Tokens, clock: Clock, used: UsedTickets) -> None:
        self._tokens = tokens
        self._clock = clock
        self._used = used

    def new_page(self, session_digest: str, origin: str) -> PageInstance:
        """Return a new page instance with its first ticket."""
        page = new_secret(12)
        handle = self._tokens.sign(Purpose.TICKET, page, audience=_audience("page", session_digest, origin))
        return PageInstance(page, handle, self._issue(session_digest, origin, page))

    def renew(self, session_digest: str, origin: str, handle: str) -> str:
        """Return another ticket for a page instance. Raises :class:`TokenError` when the handle is not of this session and origin."""
        page = self._tokens.unsign(Purpose.TICKET, handle, audience=_audience("page", session_digest, origin))
        return self._issue(session_digest, origin, page)

    async def redeem(self, session_digest: str, origin: str, ticket: str) -> str:
        """Return the page instance's id. Raises :class:`TokenError` when forged, foreign, expired or used before."""
        audience = _audience("stream", session_digest, origin)
        # The signature's own age bounds the replay memory even if the clock below is moved.
        value = self._tokens.unseal(Purpose.TICKET, ticket, max_age=TICKET_SECONDS, audience=audience)
        match value:
            case [str(page), str(nonce), int() | float() as expires]:
                if expires <= self._clock.now():
                    raise TokenError("the ticket is too old")
                if not await self._used.first_use(nonce, until=expires + TICKET_SECONDS):
                    raise TokenError("the ticket was used before")
                return page
            case _:
                raise TokenError("not a ticket")

    def _issue(self, session_digest: str, origin: str, page: str) -> str:
        value = [page, new_secret(16), self._clock.now() + TICKET_SECONDS]
        return self._tokens.seal(Purpose.TICKET, value, audience=_audience("stream", session_digest, origin))


def _audience(kind: str, session_digest: str, origin: str) -> str:
    return f"{kind}|{session_digest}|{origin}"
