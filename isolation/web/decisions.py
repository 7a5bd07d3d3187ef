"""Decisions of this worker: made once, kept until something could change them, and re-made for what is live when it does.

The hot path is one dictionary lookup. A cached ruling ends when an event touches its person or session, when the configuration
changes, or when its ``valid_until`` passes (a tag expires, a reading goes stale). Then every live connection that rests on it is decided again at
once; a different outcome ends or moves the connection.

A ruling is in the audit log before anybody sees its effect; a repeat of the last one is not written again, and requests that arrive together
share one.

No ruling is kept that an event has overtaken: an event marks every decision under way that it concerns, and such a decision is made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

import structlog

from isolation.audit import events as audit
from isolation.clock import Clock
from isolation.errors import StoreError
from isolation.identity.sessions.live import LiveRegistry
from isolation.identity.sessions.model import Session
from isolation.policy.evaluate import consults_address
from isolation.policy.facts import Context, Facts, Person
from isolation.routing.decide import decide
from isolation.routing.model import App, Decision, Forward, Isolate, Refuse, SignIn

log = structlog.get_logger()

MAX_RULINGS = 50_000
"""Rulings kept in memory: about 1 KiB each. Beyond it the oldest is forgotten, with what is open on it: nobody would decide again for that."""

MAX_ATTEMPTS = 8
"""How often a decision is made anew when events about the same person arrive while it is made. After that nobody can say what holds."""

CONFIRM_SECONDS = 0.6
"""How long it may take to decide again for something live. A store that is stuck must not keep open what an event may have ended; the whole has a
second, of which the event itself spends a tenth."""

TOGETHER = 64
"""Decisions made again at the same time: as many as share one flush to disk."""


class PersonReader(Protocol):
    """Reads everything known about a signed-in person."""

    async def read(self, person_key: str, session: Session) -> Person:
        """Return the person with all signals. Raises StoreError."""
        ...


class AuditRecorder(Protocol):
    """Writes the audit log."""

    async def record(self, event: audit.AuditEvent) -> str:
        """Return the reference id once the event is durable. Raises StoreError."""
        ...


@dataclass(slots=True)
class Ruling:
    """A decision with its place in the audit log. ``fresh_viewer``: no viewer page was served on it yet."""

    decision: Decision
    ref: str
    session: Session
    person: Person
    app: App
    context: Context
    fresh_viewer: bool = True


@dataclass(eq=False, slots=True)
class _Attempt:
    """A decision under way. ``overtaken``: an event concerns it, so what was read for it may be old. ``over``: its session has ended."""

    session: Session
    overtaken: bool = False
    over: bool = False


Key = tuple[str, str, str]


class Decisions:
    """See the module's docstring. One per worker."""

    def __init__(self, people: PersonReader, recorder: AuditRecorder, live: LiveRegistry, clock: Clock) -> None:
        self._people = people
        self._recorder = recorder
        self._live = live
        self._clock = clock
        self._rulings: dict[Key, Ruling] = {}
        self._spent: dict[Key, Ruling] = {}  # to tell a repeat from news once the cached ruling is gone
        self._attempts: set[_Attempt] = set()
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._address_matters: dict[str, tuple[App, bool]] = {}
        self.evaluations = 0

    def cached(self, digest: str, app: App, ip: str) -> Ruling | None:
        """Return the ruling that still holds, or None. ``ip``: the request's address as it was given to :meth:`rule`."""
        ruling = self._rulings.get((digest, app.name, ip if self._by_address(app) else ""))
        if ruling is not None and ruling.decision.valid_until > self._clock.now():
            return ruling
        return None

    async def rule(self, session: Session, app: App, context: Context) -> Ruling | None:
        """Return the ruling that holds now: decided, written down, and kept. None where the session ended meanwhile.

        It holds until the caller next waits for something. Raises StoreError: then nothing may happen.
        """
        ip = str(context.ip)
        key = (session.digest, app.name, ip if self._by_address(app) else "")
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = asyncio.Lock()
        attempt = _Attempt(session)
        self._attempts.add(attempt)
        try:
            async with turn:
                for _ in range(MAX_ATTEMPTS):
                    if attempt.over:
                        return None
                    # Somebody else may have decided while this one waited for its turn.
                    ruling = self.cached(session.digest, app, ip)
                    if ruling is not None:
                        return ruling
                    attempt.overtaken = False
                    ruling = await self._decide(key, session, app, context)
                    if not attempt.overtaken and not attempt.over:
                        self._keep(key, ruling)
                        return ruling
        finally:
            self._attempts.discard(attempt)
        raise StoreError("what is known about this person kept changing while it was read")

    async def _decide(self, key: Key, session: Session, app: App, context: Context) -> Ruling:
        person = await self._people.read(session.person_key, session)
        decision = decide(app, Facts(context=context, person=person))
        self.evaluations += 1
        last = self._rulings.get(key) or self._spent.get(key)
        if last is not None and _same(last.decision, decision):
            ruling = Ruling(decision, last.ref, session, person, app, context, last.fresh_viewer)
        else:
            ref = await self._recorder.record(_event(session, person, app, decision, self._clock.now()))
            ruling = Ruling(decision, ref, session, person, app, context)
            log.info(
                "decision",
                app=app.name,
                person=person.email or session.person_key,
                outcome=outcome(decision),
                policy=decision.because.policy,
                rules=list(decision.because.rules),
                signals=list(decision.because.signals),
                reference=ref,
            )
        return ruling

    def _keep(self, key: Key, ruling: Ruling) -> None:
        """Put a ruling in force, and end what is open and may not stay so under it."""
        last = self._spent.get(key)
        why = transition(last.decision, ruling.decision) if last is not None else ""
        if why:
            ended = self._live.end(key[0], key[1], why)
            log.info("decision.moved", app=key[1], why=why, connections=ended, reference=ruling.ref)
        for kept in (self._rulings, self._spent):
            if len(kept) >= MAX_RULINGS and key not in kept:
                oldest = next(iter(kept))
                del kept[oldest]
                if kept is self._rulings:
                    self._live.end(oldest[0], oldest[1], "redecided")
            kept[key] = ruling

    def _by_address(self, app: App) -> bool:
        """Say whether decisions for an app depend on the request's address. Worked out once per app and configuration."""
        found = self._address_matters.get(app.name)
        if found is None or found[0] is not app:
            found = (app, consults_address(app.policy))
            self._address_matters[app.name] = found
        return found[1]

    async def person_changed(self, person_key: str) -> None:
        """Decide again for everything that rests on this person."""
        for attempt in self._attempts:
            attempt.overtaken |= attempt.session.person_key == person_key
        await self._again(ruling for ruling in self._rulings.values() if ruling.session.person_key == person_key)

    async def everything_changed(self) -> None:
        """Decide again for everything: what changed concerns everybody, or events were missed."""
        for attempt in self._attempts:
            attempt.overtaken = True
        await self._again(self._rulings.values())

    async def expired(self) -> None:
        """Decide again what time has ended. Called a few times a second."""
        now = self._clock.now()
        await self._again(ruling for ruling in self._rulings.values() if ruling.decision.valid_until <= now)

    def session_ended(self, digest: str) -> None:
        """Forget a session and end whatever is live on it."""
        for attempt in self._attempts:
            attempt.over |= attempt.session.digest == digest
        for kept in (self._rulings, self._spent):
            for key in [key for key in kept if key[0] == digest]:
                del kept[key]
        self._live.end(digest, None, "session-ended")

    def sessions(self) -> set[str]:
        """Return the digests of the sessions that rulings are kept for."""
        return {digest for digest, _, _ in self._rulings}

    async def _again(self, rulings: Iterable[Ruling]) -> None:
        withdrawn = list(rulings)
        # None of them holds from here on: a request that comes before its turn decides for itself.
        for ruling in withdrawn:
            self._rulings.pop(self._key(ruling), None)
        withdrawn.sort(key=lambda ruling: self._live.count(ruling.session.digest) == 0)  # what is open comes first
        for start in range(0, len(withdrawn), TOGETHER):
            await asyncio.gather(*(self._confirm(ruling) for ruling in withdrawn[start : start + TOGETHER]))

    async def _confirm(self, old: Ruling) -> None:
        """Decide again in place of a ruling that has been withdrawn. Where that cannot be done, end what is open on it."""
        digest, app = old.session.digest, old.app
        context = Context(
            now=self._clock.now(), ip=old.context.ip, method=old.context.method, host=old.context.host, path=old.context.path
        )
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await self.rule(old.session, app, context)
        except (StoreError, TimeoutError) as error:
            # Unreadable is not unchanged: nothing stays open on a ruling that cannot be confirmed.
            ended = self._live.end(digest, app.name, "redecided")
            log.error("decision.unconfirmed", app=app.name, connections=ended, error=str(error) or "the store takes too long")

    def _key(self, ruling: Ruling) -> Key:
        return (ruling.session.digest, ruling.app.name, str(ruling.context.ip) if self._by_address(ruling.app) else "")


def outcome(decision: Decision) -> str:
    """Return a decision's outcome in one word, for logs, metrics and the audit log."""
    match decision:
        case Forward():
            return "forward"
        case Isolate():
            return "isolate"
        case SignIn():
            return "sign-in"
        case Refuse():
            return "refuse"


def transition(old: Decision, new: Decision) -> str:
    """Say why connections that rest on ``old`` must end under ``new``, or return "" where they may stay."""
    if isinstance(old, Isolate) and isinstance(new, Isolate):
        return "" if (old.mode, old.controls) == (new.mode, new.controls) else "redecided"
    if type(old) is type(new):
        return ""
    match new:
        case Forward():
            return "released"
        case Isolate():
            return "isolated"
        case SignIn():
            return "session-ended"
        case Refuse():
            return "refused"


def _same(old: Decision, new: Decision) -> bool:
    if type(old) is not type(new) or old.because.policy != new.because.policy or old.because.rules != new.because.rules:
        return False
    if isinstance(old, Isolate) and isinstance(new, Isolate):
        return (old.mode, old.controls, old.because.signals) == (new.mode, new.controls, new.because.signals)
    if isinstance(old, Refuse) and isinstance(new, Refuse):
        return old.reason == new.reason
    return True


def detail(decision: Decision) -> Mapping[str, object]:
    """Return what the audit log keeps of a decision: policy, rules, every step with its value and age."""
    because = decision.because
    found: dict[str, object] = {
        "policy": because.policy,
        "rules": list(because.rules),
        "signals": list(because.signals),
        "steps": [{"rung": step.rung, "text": step.text, "value": step.value, "age": step.age} for step in because.steps],
    }
    if isinstance(decision, Isolate):
        found["controls"] = decision.controls.as_json()
    if isinstance(decision, Refuse):
        found["reason"] = decision.reason.value
    return found


def _event(session: Session, person: Person, app: App, decision: Decision, now: float) -> audit.AuditEvent:
    return audit.decision(
        at=now,
        session=session.digest,
        person=session.person_key,
        email=person.email,
        app=app.name,
        outcome=outcome(decision),
        detail=detail(decision),
    )
