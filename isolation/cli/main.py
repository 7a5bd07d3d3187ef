"""The command line: ``isolation [--config FILE] COMMAND``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from isolation.audit import events as audit
from isolation.cli import context, logs
from isolation.cli.context import console, errors, reported, run
from isolation.clock import SystemClock
from isolation.errors import IsolationError
from isolation.identity.sessions.model import EndReason
from isolation.policy.facts import FOREVER, RiskLevel

app = typer.Typer(
    name="isolation",
    help="The browser-isolation router: who passes, who is isolated, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
users = typer.Typer(help="Risk tags and overrides of people.", no_args_is_help=True)
sessions = typer.Typer(help="Signed-in sessions.", no_args_is_help=True)
audits = typer.Typer(help="The audit log.", no_args_is_help=True)
app.add_typer(users, name="users")
app.add_typer(sessions, name="sessions")
app.add_typer(audits, name="audit")

User = Annotated[str, typer.Argument(help="E-mail address, its part before the @, or object id.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; goes to the audit log.")]


@app.callback()
def _options(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Configuration file. Default: ./isolation.yaml, /etc/isolation/isolation.yaml, the demo's."
        ),
    ] = None,
) -> None:
    context.invocation.config = config
    logs.for_a_command()


# ---------------------------------------------------------------------- running


@app.command()
def serve() -> None:
    """Run the router, its directory sync and its renderer node, until Ctrl-C. SIGHUP applies a changed configuration."""
    from isolation.cli.serve import serve as start

    with reported():
        start(context.config_path())


@app.command()
def demo(
    port: Annotated[
        int,
        typer.Option(help="First of five loopback ports: router, tenant, Datasette, JupyterLab, health.", min=1024, max=65_000),
    ] = 8080,
    state_dir: Annotated[Path | None, typer.Option(help="Where the demo keeps its state.")] = None,
) -> None:
    """Run the whole product on this machine with real apps and a built-in tenant."""
    from isolation.cli.demo import demo as start

    with reported():
        start(port, state_dir)


@app.command(hidden=True)
def worker() -> None:
    """Serve as one router process (started by ``serve``)."""
    from isolation.cli.processes import worker as start

    with reported():
        start()


@app.command()
def sync(
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
    once: Annotated[bool, typer.Option("--once", help="Read everything once, say what was found, and end.")] = False,
) -> None:
    """Read risk, groups and profiles from Microsoft Graph. ``serve`` runs this by itself."""
    from isolation.cli.processes import sync as start

    with reported():
        start(supervised=supervised, once=once)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def renderer(ctx: typer.Context) -> None:
    """Run a renderer node (``isolation renderer --help`` lists its options). ``serve`` runs one by itself."""
    # Replaced by the other program rather than imported: the hostile side shares no process with what the router knows.
    os.execv(sys.executable, [sys.executable, "-m", "renderer", *ctx.args])  # noqa: S606 - no shell, and the arguments are the operator's own


@app.command()
def check() -> None:
    """Check the configuration: every problem at once, with file and line. Exit status 1 if there is an error."""
    from isolation.settings import load

    with reported():
        path = context.config_path()
        loaded = load.load(path)
    for problem in loaded.problems:
        (errors if problem.severity == "error" else console).print(problem.render(loaded.file), markup=False, soft_wrap=True)
    if loaded.settings is None:
        errors.print(f"{len(loaded.errors)} error(s): this configuration cannot be used", markup=False)
        raise typer.Exit(1)
    apps = ", ".join(found.name for found in loaded.settings.apps)
    console.print(f"{loaded.file}: good. {len(loaded.settings.apps)} app(s): {apps}", markup=False, soft_wrap=True)


@app.command()
def decide(
    user: Annotated[str, typer.Option("--user", help="Whom to decide for: e-mail address or object id.")],
    app_name: Annotated[str | None, typer.Option("--app", help="Name or host of an app; all of them without it.")] = None,
    ip: Annotated[str, typer.Option("--ip", help="Address the request comes from.")] = "127.0.0.1",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per app.")] = False,
) -> None:
    """Say what somebody would get, which policy and rule decide it, and every value with its age."""
    from isolation.cli.decide import command

    command(user, app_name, ip, as_json=as_json)


# ---------------------------------------------------------------------- users


@users.command("tag")
def tag(
    user: User,
    risk: Annotated[RiskLevel, typer.Option("--risk", help="The level this person has at least.")],
    reason: Reason,
    lasts: Annotated[str | None, typer.Option("--for", help="How long: 30m, 2h, 1d. Without it, until removed.")] = None,
) -> None:
    """Tag somebody with a risk level. It takes effect within a second, on open connections too."""
    from isolation.store.risk import TagRepository

    async def work() -> None:
        seconds = context.duration(lasts) if lasts else None
        async with context.opened_store(context.settings()) as store:
            person = await context.one_person(store, user)
            now = SystemClock().now()
            until = None if seconds is None else now + seconds
            entries: list[audit.AuditEvent] = []

            def audited(number: int) -> audit.AuditEvent:
                entry = audit.tag_added(
                    at=now,
                    person=person.key,
                    email=person.email,
                    actor=context.operator(),
                    tag=number,
                    level=risk.value,
                    reason=reason,
                    until=until,
                )
                entries.append(entry)
                return entry

            try:
                made = await TagRepository(store).add(
                    person.key, risk, reason, context.operator(), until=FOREVER if until is None else until, audited=audited
                )
            except ValueError as error:
                raise IsolationError(str(error)) from error
            console.print(
                f"{person.email or person.oid} is tagged {risk.value} until {context.moment(until) if until else 'removed'} "
                f"(tag {made.id}, reference {entries[-1].ref})"
            )

    run(work)


@users.command("untag")
def untag(
    user: User, number: Annotated[int | None, typer.Option("--tag", help="One tag's number; all of them without it.")] = None
) -> None:
    """Remove somebody's risk tags."""
    from isolation.store.audit import AuditLog
    from isolation.store.risk import TagRepository

    async def work() -> None:
        async with context.opened_store(context.settings()) as store:
            person = await context.one_person(store, user)
            tags = TagRepository(store)
            wanted = [found for found in await tags.list(person.key) if number is None or found.id == number]
            if not wanted:
                raise IsolationError(f"{person.email or person.oid} has no such tag")
            for found in wanted:
                await AuditLog(store).record(
                    audit.tag_removed(
                        at=SystemClock().now(),
                        person=person.key,
                        email=person.email,
                        actor=context.operator(),
                        tag=found.id,
                        level=found.level.value,
                    )
                )
                await tags.remove(found.id)
                console.print(f"removed tag {found.id} ({found.level.value}: {found.reason})", markup=False)

    run(work)


@users.command("override")
def override(
    user: User,
    risk: Annotated[RiskLevel, typer.Option("--risk", help="The level that counts, whatever Entra and tags say.")],
    lasts: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d.")],
    reason: Reason,
) -> None:
    """Set somebody's risk for a limited time, over every other source."""
    from isolation.store.risk import OverrideRepository

    async def work() -> None:
        seconds = context.duration(lasts)
        async with context.opened_store(context.settings()) as store:
            person = await context.one_person(store, user)
            now = SystemClock().now()
            until = now + seconds
            entries: list[audit.AuditEvent] = []

            def audited(number: int) -> audit.AuditEvent:
                entry = audit.override_added(
                    at=now,
                    person=person.key,
                    email=person.email,
                    actor=context.operator(),
                    override=number,
                    level=risk.value,
                    reason=reason,
                    until=until,
                )
                entries.append(entry)
                return entry

            try:
                made = await OverrideRepository(store).add(
                    person.key, risk, reason, context.operator(), until=until, audited=audited
                )
            except ValueError as error:
                raise IsolationError(str(error)) from error
            console.print(
                f"{person.email or person.oid} counts as {risk.value} until {context.moment(until)} "
                f"(override {made.id}, reference {entries[-1].ref})"
            )

    run(work)


@users.command("unoverride")
def unoverride(
    user: User,
    number: Annotated[int | None, typer.Option("--override", help="One override's number; all of them without it.")] = None,
) -> None:
    """Remove somebody's risk overrides."""
    from isolation.store.audit import AuditLog
    from isolation.store.risk import OverrideRepository

    async def work() -> None:
        async with context.opened_store(context.settings()) as store:
            person = await context.one_person(store, user)
            overrides = OverrideRepository(store)
            wanted = [found for found in await overrides.list(person.key) if number is None or found.id == number]
            if not wanted:
                raise IsolationError(f"{person.email or person.oid} has no such override")
            for found in wanted:
                await AuditLog(store).record(
                    audit.override_removed(
                        at=SystemClock().now(),
                        person=person.key,
                        email=person.email,
                        actor=context.operator(),
                        override=found.id,
                        level=found.level.value,
                    )
                )
                await overrides.remove(found.id)
                console.print(f"removed override {found.id} ({found.level.value}: {found.reason})", markup=False)

    run(work)


@users.command("show")
def show(user: User) -> None:
    """Show what is known about somebody: profile, tags, overrides, sessions."""
    from isolation.store.people import PeopleRepository
    from isolation.store.risk import OverrideRepository, TagRepository
    from isolation.store.sessions import SessionRepository

    async def work() -> None:
        async with context.opened_store(context.settings()) as store:
            person = await context.one_person(store, user)
            groups = await PeopleRepository(store).groups(person.key)
            known = "never read" if groups is None or groups.groups is None else f"{len(groups.groups)} groups"
            console.print(f"{person.name} <{person.email}>  {person.key}", markup=False)
            console.print(
                f"first seen {context.moment(person.first_seen_at)}, signed in {context.moment(person.signed_in_at)}, {known}"
            )
            if person.disabled_at is not None:
                console.print(f"[red]disabled[/] since {context.moment(person.disabled_at)}: {person.disabled_because}")
            for found in await TagRepository(store).list(person.key):
                console.print(
                    f"tag {found.id}: {found.level.value} until {context.moment(found.until)} by {found.by}: {found.reason}",
                    markup=False,
                )
            for over in await OverrideRepository(store).list(person.key):
                console.print(
                    f"override {over.id}: {over.level.value} until {context.moment(over.until)} by {over.by}: {over.reason}",
                    markup=False,
                )
            for session in await SessionRepository(store).list_active(person.key):
                console.print(
                    f"session {session.id}: since {context.moment(session.created_at)}, last used {context.moment(session.last_seen_at)}"
                )

    run(work)


# ---------------------------------------------------------------------- sessions


@sessions.command("list")
def list_sessions(user: Annotated[str | None, typer.Option("--user", help="Only this person's.")] = None) -> None:
    """List live sessions."""
    from isolation.store.people import PeopleRepository
    from isolation.store.sessions import SessionRepository

    async def work() -> None:
        async with context.opened_store(context.settings()) as store:
            key = (await context.one_person(store, user)).key if user else None
            table = Table("session", "person", "signed in", "last used", "ends")
            people = PeopleRepository(store)
            for session in await SessionRepository(store).list_active(key):
                person = await people.get(session.person_key)
                table.add_row(
                    session.id,
                    person.email if person else session.person_key,
                    context.moment(session.created_at),
                    context.moment(session.last_seen_at),
                    context.moment(session.ends_at),
                )
            console.print(table)

    run(work)


@sessions.command("revoke")
def revoke(
    session: Annotated[str | None, typer.Argument(help="A session's short id.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="All sessions of this person.")] = None,
) -> None:
    """End sessions. Every open connection on them ends within a second."""
    from isolation.store.audit import AuditLog
    from isolation.store.sessions import SessionRepository

    async def work() -> None:
        if (session is None) == (user is None):
            raise IsolationError("name either a session (see `isolation sessions list`) or --user")
        async with context.opened_store(context.settings()) as store:
            repository = SessionRepository(store)
            key = (await context.one_person(store, user)).key if user else None
            found = [one for one in await repository.list_active(key) if session is None or one.id == session]
            if not found:
                raise IsolationError("there is no such live session")
            for one in found:
                await AuditLog(store).record(
                    audit.session_ended(
                        at=SystemClock().now(),
                        person=one.person_key,
                        session=one.digest,
                        why=EndReason.REVOKED.value,
                        actor=context.operator(),
                    )
                )
                await repository.revoke(one.digest, EndReason.REVOKED)
                console.print(f"ended session {one.id}")

    run(work)


# ---------------------------------------------------------------------- audit


@audits.command("find")
def find(reference: Annotated[str, typer.Argument(help="Reference id from a page, like 7KQ4-M2XD.")]) -> None:
    """Show the audit entry that a reference id names."""
    from isolation.store.audit import AuditLog

    async def work() -> None:
        async with context.opened_store(context.settings()) as store:
            event = await AuditLog(store).find(reference)
            if event is None:
                raise IsolationError(f"no audit entry has the reference {reference!r}")
            print(json.dumps(_event(event), indent=1))

    run(work)


@audits.command("list")
def list_audit(
    user: Annotated[str | None, typer.Option("--user", help="Only this person's.")] = None,
    kind: Annotated[audit.Kind | None, typer.Option("--kind", help="Only this kind.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most this many, newest first.", min=1)] = 50,
) -> None:
    """List audit entries as JSON, one a line, newest first."""
    from isolation.store.audit import AuditLog

    async def work() -> None:
        async with context.opened_store(context.settings()) as store:
            key = (await context.one_person(store, user)).key if user else None
            for event in await AuditLog(store).list(person=key, kind=kind, limit=limit):
                print(json.dumps(_event(event)))

    run(work)


def _event(event: audit.AuditEvent) -> dict[str, Any]:
    return {
        "reference": event.ref,
        "at": context.moment(event.at),
        "kind": event.kind.value,
        "person": event.email or event.person,
        "app": event.app,
        "outcome": event.outcome,
        "actor": event.actor,
        "detail": dict(event.detail),
    }


def main() -> None:
    """Run the command line."""
    app()
