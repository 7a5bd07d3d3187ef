"""Decisions of this worker: made once, kept until something could change them, and re-made for what is live when it does.

The hot path is one dictionary lookup. A cached ruling ends when an event touches its person or session, when the configuration
changes, or when its ``valid_until`` passes (a tag expires, a reading goes stale). Then every live connection that rests on it is decided again at
once; a different outcome ends or moves the connection.

A ruling is in the audit log before anybody sees its effect; a repeat of the last one is not written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

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
"""Rulings kept in memory: about 1 KiB each. Beyond it the oldest is forgotten, which costs one more evaluation."""

MAX_ATTEMPTS = 4
"""How often a decision is made anew when events arrive while it is made. Then it is used for this one request and not kept."""


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
        self._address_matters: dict[str, tuple[App, bool]] = {}
        self._epoch = 0
        self.evaluations = 0

    def cached(self, digest: str, app: App, ip: str) -> Ruling | None:
        """Return the ruling that still holds, or None. ``ip``: the request's address as it was given to :meth:`rule`."""
        ruling = self._rulings.get((digest, app.name, ip if self._by_address(app) else ""))
        if ruling is not None and ruling.decision.valid_until > self._clock.now():
            return ruling
        return None

    async def rule(self, session: Session, app: App, context: Context) -> Ruling:
        """Decide now, write it down, and keep it. Raises StoreError: then nothing may happen."""
        key = (session.digest, app.name, str(context.ip) if self._by_address(app) else "")
        attempts = 0
        while True:
            epoch, attempts = self._epoch, attempts + 1
            ruling = await self._decide(key, session, app, context)
            if epoch == self._epoch:
                self._keep(key, ruling)
                return ruling
            # Something changed while we read and wrote: what was read may be older than the event that is already handled.
            if attempts == MAX_ATTEMPTS:
                return ruling

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
        for kept in (self._rulings, self._spent):
            if len(kept) >= MAX_RULINGS and key not in kept:
                kept.pop(next(iter(kept)))
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
        self._epoch += 1
        await self._again([ruling for ruling in self._rulings.values() if ruling.session.person_key == person_key])

    async def everything_changed(self) -> None:
        """Decide again for everything: what changed concerns everybody, or events were missed."""
        self._epoch += 1
        await self._again(list(self._rulings.values()))

    async def expired(self) -> None:
        """Decide again what time has ended. Called a few times a second."""
        now = self._clock.now()
        await self._again([ruling for ruling in self._rulings.values() if ruling.decision.valid_until <= now])

    def session_ended(self, digest: str) -> None:
        """Forget a session and end whatever is live on it."""
        for kept in (self._rulings, self._spent):
            for key in [key for key in kept if key[0] == digest]:
                del kept[key]
        self._live.end(digest, None, "session-ended")

    async def _again(self, rulings: list[Ruling]) -> None:
        for old in rulings:
            digest = old.session.digest
            self._rulings.pop((digest, old.app.name, str(old.context.ip) if self._by_address(old.app) else ""), None)
            context = Context(
                now=self._clock.now(), ip=old.context.ip, method=old.context.method, host=old.context.host, path=old.context.path
            )
            try:
                new = await self.rule(old.session, old.app, context)
            except StoreError as error:
                # Unreadable is not unchanged: nothing stays open on a ruling that cannot be confirmed.
                log.error("decision.unconfirmed", app=old.app.name, error=str(error))
                self._live.end(digest, old.app.name, "redecided")
                continue
            why = transition(old.decision, new.decision)
            if why:
                ended = self._live.end(digest, old.app.name, why)
                log.info("decision.moved", app=old.app.name, why=why, connections=ended, reference=new.ref)


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
        found["controls"] = dict(decision.controls.as_json())
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
