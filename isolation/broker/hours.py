"""When a session's browser ends by the clock: unused for as long as the controls allow, or as old as they allow.

Judged here from what passes the gatekeeper, never from what a viewer or a renderer says about time. Every stream watches for itself under
its own grant; the first whose time is up ends the browser for all of them, so the strictest wins.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Protocol

import structlog

from isolation.broker.model import Grant, Lease
from isolation.clock import Clock
from isolation.errors import StoreError
from isolation.policy.controls import Controls
from renderer.wire import messages as m
from renderer.wire.codec import encode

log = structlog.get_logger()

# ---------------------------------------------------------------- limits
WARNING_SECONDS = 60.0  # long enough to come back from the kettle, short enough to be believed
SAVE_SECONDS = 15.0  # activity is told to other workers this often; so exactly is idle time kept between them
FORGET = 10_000  # sessions whose last activity is remembered

_CODES = {m.EndingReason.IDLE: m.CloseCode.IDLE, m.EndingReason.TIME: m.CloseCode.TIME_UP}

# What a person does. Acknowledgements, sizes and focus are the viewer's own and keep nobody's session.
_DEEDS = (
    m.Pointer
    | m.Wheel
    | m.Touch
    | m.Key
    | m.Text
    | m.Composition
    | m.Navigate
    | m.History
    | m.Reload
    | m.DialogReply
    | m.AuthReply
    | m.SelectReply
    | m.MenuReply
    | m.Find
    | m.Paste
    | m.PasteImage
    | m.CopyRequest
    | m.Print
    | m.FileChoice
    | m.FileDrop
)


def is_deed(message: object) -> bool:
    """Say whether a viewer's message shows that somebody is there. A page opened anew does, one that comes back does not."""
    return isinstance(message, _DEEDS) or (isinstance(message, m.Hello) and message.page == "")


@dataclass(frozen=True, slots=True)
class Term:
    """When something ends (epoch seconds), and why. ``warning``: how many seconds before the person is told."""

    at: float
    reason: m.EndingReason
    warning: float

    @property
    def code(self) -> m.CloseCode:
        """Return what viewers are told at the end."""
        return _CODES[self.reason]


def term(controls: Controls, started_at: float, active_at: float) -> Term | None:
    """Return the sooner end of the two, or None where the controls set none. Pure."""
    terms = []
    for minutes, since, reason in (
        (controls.idle_minutes, max(started_at, active_at), m.EndingReason.IDLE),
        (controls.total_minutes, started_at, m.EndingReason.TIME),
    ):
        if minutes is not None:
            # Who has one minute is not warned the whole of it.
            terms.append(Term(since + 60 * minutes, reason, min(WARNING_SECONDS, 60 * minutes / 2)))
    return min(terms, key=lambda one: one.at, default=None)


class Leases(Protocol):
    """What is asked of the leases (:class:`isolation.broker.leases.LeaseService`)."""

    async def live(self, session_digest: str) -> Lease | None:
        """Return the session's live lease, or None."""
        ...

    async def touch(self, session_digest: str, at: float) -> None:
        """Note that somebody did something in a session."""
        ...


class Activity:
    """When somebody last did something in each session of this worker; told to the others now and then."""

    def __init__(self, leases: Leases, clock: Clock) -> None:
        self._leases = leases
        self._clock = clock
        self._at: dict[str, float] = {}
        self._saved: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Event] = {}
        self._saving: set[asyncio.Task[None]] = set()

    def deed(self, session_digest: str) -> None:
        """Note that somebody does something now."""
        now = self._clock.now()
        # The longest unused go first: a dictionary keeps its order.
        self._at.pop(session_digest, None)
        self._at[session_digest] = now
        if len(self._at) > FORGET:
            forgotten = next(iter(self._at))
            del self._at[forgotten]
            self._saved.pop(forgotten, None)
        if (waiting := self._waiting.pop(session_digest, None)) is not None:
            waiting.set()
        if now - self._saved.get(session_digest, -SAVE_SECONDS) >= SAVE_SECONDS:
            self._saved[session_digest] = now
            task = asyncio.get_running_loop().create_task(self._save(session_digest, now))
            self._saving.add(task)
            task.add_done_callback(self._saving.discard)

    def last(self, session_digest: str) -> float:
        """Return when somebody last did something, as far as this worker saw; 0 for never."""
        return self._at.get(session_digest, 0.0)

    def next(self, session_digest: str) -> asyncio.Event:
        """Return what is set by the next deed."""
        return self._waiting.setdefault(session_digest, asyncio.Event())

    async def _save(self, session_digest: str, at: float) -> None:
        try:
            await self._leases.touch(session_digest, at)
        except StoreError as error:
            log.warning("activity.not_saved", error=str(error))


class Watch:
    """Watches over one stream's time."""

    def __init__(
        self,
        grant: Grant,
        activity: Activity,
        leases: Leases,
        clock: Clock,
        sleep: Callable[[float], Coroutine[None, None, None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._grant = grant
        self._activity = activity
        self._leases = leases
        self._clock = clock
        self._lease: Lease | None = None
        self._warned: m.EndingReason | None = None

    @property
    def needed(self) -> bool:
        """Say whether the stream's controls set an end."""
        return term(self._grant.controls, 0.0, 0.0) is not None

    async def run(self, send: Callable[[bytes], Awaitable[None]]) -> m.CloseCode:
        """Warn the viewer before the end, take the warning back when somebody does something, and return why it is over.

        Waits for ever where there is no lease. Raises :class:`~isolation.errors.StoreError`.
        """
        session = self._grant.session_digest
        self._lease = await self._leases.live(session)
        while True:
            deed = self._activity.next(session)
            due = self._term()
            if due is None:
                await asyncio.get_running_loop().create_future()
                continue
            left = due.at - self._clock.now()
            if left <= 0:
                if due.reason is m.EndingReason.TIME or not await self._others_acted():
                    return due.code
                continue
            if left <= due.warning and self._warned is not due.reason:
                self._warned = due.reason
                await send(encode(m.Ending(due.reason, math.ceil(left))))
            elif left > due.warning and self._warned is not None:
                await send(encode(m.Ending(self._warned, 0)))
                self._warned = None
            if self._warned is None:
                await self._sleep(left - due.warning)
            else:
                await self._deed_or(deed, left)

    def over(self) -> m.CloseCode | None:
        """Return why the browser has probably been ended by another worker, or None: its watch keeps the same time."""
        due = self._term()
        return due.code if due is not None and due.at - self._clock.now() <= SAVE_SECONDS else None

    def _term(self) -> Term | None:
        if self._lease is None:
            return None
        active = max(self._lease.active_at, self._activity.last(self._grant.session_digest))
        return term(self._grant.controls, self._lease.started_at, active)

    async def _others_acted(self) -> bool:
        known = self._lease
        self._lease = await self._leases.live(self._grant.session_digest)
        if known is None or self._lease is None or self._lease.id != known.id:
            self._lease = known
            return False
        return self._lease.active_at > known.active_at and (due := self._term()) is not None and due.at > self._clock.now()

    async def _deed_or(self, deed: asyncio.Event, seconds: float) -> None:
        waits = [asyncio.ensure_future(deed.wait()), asyncio.ensure_future(self._sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
