"""``isolation decide``: what would happen, and why. Decided and explained by the code that enforces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from rich.table import Table

from isolation.cli import context
from isolation.clock import SystemClock
from isolation.errors import IsolationError, ProviderError
from isolation.identity.principals import PersonRecord, person_key
from isolation.identity.sessions.model import Session
from isolation.policy.explain import Explanation, explain
from isolation.policy.facts import Context, Facts
from isolation.routing.decide import decide
from isolation.routing.model import App, Decision, Forward, Isolate, Refuse, SignIn
from isolation.routing.reasons import refusal_text
from isolation.settings.model import Settings
from isolation.store.database import Store
from isolation.store.events import EventKind, EventRepository
from isolation.store.people import PeopleRepository
from isolation.store.principals import PrincipalReader
from isolation.wiring.state import freshness
from isolation.wiring.sync import graph_reader


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision for one person and one app, with its explanation."""

    user: str
    app: App
    decision: Decision
    explanation: Explanation

    @property
    def headline(self) -> str:
        """Return the outcome in words."""
        match self.decision:
            case Forward():
                return "[green]straight through[/]"
            case Isolate(controls=controls):
                return f"[yellow]isolated[/] (clipboard {controls.clipboard.value})"
            case SignIn():
                return "sign-in"
            case Refuse() as refuse:
                return f"[red]refused[/]: {refusal_text(refuse).title}"

    @property
    def why(self) -> str:
        """Return what decided, in words."""
        because = self.decision.because
        parts = [f"policy “{because.policy}”"] if because.policy else []
        parts += [f"rule “{rule}”" for rule in because.rules]
        parts += [f"{signal} not known for certain" for signal in because.signals]
        return ", ".join(parts) or "no policy lets this person in"


async def decide_for(store: Store, settings: Settings, person: PersonRecord, app: App, ip: str = "127.0.0.1") -> Answer:
    """Decide as the router would for a person who is signed in."""
    clock = SystemClock()
    now = clock.now()
    session = Session(
        id="",
        digest="",
        person_key=person.key,
        idp=person.login_method or settings.providers[0].name,
        created_at=now,
        expires_at=now + settings.session_seconds,
        idle_seconds=settings.idle_seconds,
        last_seen_at=now,
    )
    facts = Facts(
        context=Context(now=now, ip=ip_address(ip), host=app.domain),
        person=await PrincipalReader(store, freshness(settings)).read(person.key, session),
    )
    return Answer(person.email or person.oid, app, decide(app, facts), explain(app.policy, facts))


async def known_person(store: Store, settings: Settings, text: str) -> PersonRecord:
    """Return who ``text`` means; somebody the store does not know is looked up in the directory and written down."""
    try:
        return await context.one_person(store, text)
    except IsolationError:
        if "@" not in text:
            raise
    provider = settings.providers[0]
    reader = graph_reader(provider, SystemClock())
    try:
        oid = await reader.find(text)
        if oid is None:
            raise IsolationError(f"neither the store nor the directory knows {text!r}")
        key = person_key(provider.directory_id, oid)
        profile = await reader.profile(oid)
        people = PeopleRepository(store)
        await people.record_profile(
            key, as_of=profile.as_of, email=profile.email, name=profile.name, user_type=profile.user_type, enabled=profile.enabled
        )
        reading = await reader.groups_of(oid)
        await people.record_groups(
            key, reading.groups or (), profile.as_of if reading.as_of is None else reading.as_of, complete=True
        )
    except ProviderError as error:
        raise IsolationError(f"the store does not know {text!r}, and the directory could not be asked: {error}") from error
    finally:
        await reader.aclose()
    return await context.one_person(store, key)


async def decide_everywhere(settings: Settings, users: Sequence[str], *, wait: float) -> list[Answer]:
    """Decide for several people and every app, once risk and groups are known (or ``wait`` seconds have passed)."""
    loop = asyncio.get_running_loop()
    end = loop.time() + wait
    async with context.opened_store(settings) as store:
        events = EventRepository(store)
        people = [await known_person(store, settings, user) for user in users]
        for person in people:
            await events.announce(EventKind.SYNC_WANTED, person.key)
        while True:
            answers = [await decide_for(store, settings, person, app) for person in people for app in settings.apps]
            if loop.time() > end or not any(answer.decision.because.signals for answer in answers):
                return answers
            await asyncio.sleep(0.1)


def command(user: str, app: str | None, ip: str, *, as_json: bool) -> None:
    """Print the decision for one person and one app (or all), with every policy, rule, value and age."""

    async def work() -> None:
        settings = context.settings()
        wanted = [found for found in settings.apps if app is None or app.casefold() in {found.name.casefold(), found.domain}]
        if not wanted:
            raise IsolationError(f"no app is called {app!r}; apps: {', '.join(found.name for found in settings.apps)}")
        try:
            ip_address(ip)
        except ValueError as error:
            raise IsolationError(f"{ip!r} is no IP address") from error
        async with context.opened_store(settings) as store:
            person = await known_person(store, settings, user)
            for found in wanted:
                answer = await decide_for(store, settings, person, found, ip)
                if as_json:
                    print(json.dumps(_document(answer)))
                else:
                    _show(answer)

    context.run(work)


def _show(answer: Answer) -> None:
    console = context.console
    console.print(f"\n[bold]{answer.user}[/] at [bold]{answer.app.name}[/] ({answer.app.domain}): {answer.headline}")
    console.print(f"because of {answer.why}")
    signals = Table("signal", "value", "age", "source", title="What is known", title_justify="left")
    for row in answer.explanation.signals:
        signals.add_row(
            row.name, row.value if row.state == "known" else f"{row.value} ({row.state})", context.age(row.age), row.source
        )
    console.print(signals)
    matrix = Table("policy or rule", "part", "condition", "answer", "value", "age", title="Every rule", title_justify="left")
    for line in answer.explanation.rows():
        mark = " ◄" if line.decided else ""
        matrix.add_row(
            f"{line.kind} “{line.rule}”: {line.rule_truth}{mark}",
            line.role,
            line.words,
            line.truth + (" (stale)" if line.stale else ""),
            line.value,
            context.age(line.age),
        )
    console.print(matrix)


def _document(answer: Answer) -> dict[str, Any]:
    because = answer.decision.because
    return {
        "user": answer.user,
        "app": answer.app.name,
        "decision": type(answer.decision).__name__.lower(),
        "reason": answer.decision.reason.value if isinstance(answer.decision, Refuse) else None,
        "controls": answer.decision.controls.as_json() if isinstance(answer.decision, Isolate) else None,
        "policy": because.policy or None,
        "rules": list(because.rules),
        "signals_in_doubt": list(because.signals),
        "steps": [{"rung": step.rung, "text": step.text, "value": step.value, "age": step.age} for step in because.steps],
    }
