"""What the commands share: which configuration, the store, who a name means."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import typer
from rich.console import Console

from isolation.clock import SystemClock
from isolation.errors import ConfigurationError, IsolationError
from isolation.identity.principals import PersonRecord
from isolation.settings import load
from isolation.settings.model import Settings
from isolation.store.database import Store
from isolation.store.people import PeopleRepository

PIPED_COLUMNS = (
    240  # where nobody's terminal sets a width: a table that goes into a file or a pipe keeps its longest addresses whole
)


def _console(stream: TextIO, *, stderr: bool = False) -> Console:
    fixed = stream.isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, width=None if fixed else PIPED_COLUMNS)


console = _console(sys.stdout)
errors = _console(sys.stderr, stderr=True)

DEMO_STATE = "isolation-demo"
_DURATION = re.compile(r"(?=.)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")


@dataclass(slots=True)
class Invocation:
    """Options given before the command."""

    config: Path | None = None


invocation = Invocation()


def demo_state_dir() -> Path:
    """Return where the demo keeps its state. As root it lies outside root's home, which Chromium's account cannot enter."""
    if os.geteuid() == 0:
        return Path("/var/lib") / DEMO_STATE
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / DEMO_STATE


def config_path() -> Path:
    """Return the configuration file: ``--config``, ``ISOLATION_CONFIG``, ``./isolation.yaml``, ``/etc/isolation/isolation.yaml``, the demo's."""
    if invocation.config is not None:
        return invocation.config
    if named := os.environ.get("ISOLATION_CONFIG"):
        return Path(named)
    candidates = (Path("isolation.yaml"), Path("/etc/isolation/isolation.yaml"), demo_state_dir() / "isolation.yaml")
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        looked = ", ".join(map(str, candidates))
        raise ConfigurationError(f"no configuration found (looked for {looked}); name one with --config FILE")
    return found


def settings() -> Settings:
    """Return the checked settings. Raises :class:`ConfigurationError` with every problem."""
    return load.require(config_path())


@asynccontextmanager
async def opened_store(configuration: Settings) -> AsyncIterator[Store]:
    """Open the deployment's store for one command."""
    store = Store.open(configuration.store, clock=SystemClock())
    try:
        yield store
    finally:
        store.close()


def run(command: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run an async command; an error of ours becomes one clear message and exit status 1."""
    import asyncio

    with reported():
        asyncio.run(command())


class reported:  # noqa: N801 - reads as a context manager
    """Turns an error of ours into a message and exit status 1."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """End."""
        if isinstance(error, IsolationError):
            errors.print(f"[bold red]isolation:[/] {_escape(str(error))}")
            raise typer.Exit(1) from error


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


async def one_person(store: Store, text: str) -> PersonRecord:
    """Return the one person whom ``text`` means (e-mail, its part before @, or object id). Raises :class:`IsolationError`."""
    found = await PeopleRepository(store).find(text)
    if not found:
        raise IsolationError(
            f"nobody here is known as {text!r}: people are known once they have signed in or Entra has reported a risk for them; "
            "an e-mail address, its part before the @, or an object id names one"
        )
    if len(found) > 1:
        raise IsolationError(f"{text!r} means several people: {', '.join(person.email or person.oid for person in found)}")
    return found[0]


def duration(text: str) -> float:
    """Return seconds of ``2h``, ``30m``, ``1d12h``. Raises :class:`IsolationError`."""
    match = _DURATION.fullmatch(text.strip())
    days, hours, minutes = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    seconds = float(days * 86_400 + hours * 3_600 + minutes * 60)
    if seconds <= 0:
        raise IsolationError(f"{text!r} is no duration: write 30m, 2h or 1d12h")
    return seconds


def moment(at: float | None) -> str:
    """Return a time for people, UTC."""
    if at is None or at == float("inf"):
        return "–"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def age(seconds: float | None) -> str:
    """Return an age for people."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def operator() -> str:
    """Return who runs the command, for the audit log."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container's account need not have a name (the error's class depends on Python's version)
        return f"uid {os.getuid()}"
