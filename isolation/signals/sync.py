"""Keeps risk, groups and profiles current: the loops of the sync process.

* **Risk**: the whole list of risky users every ``risk_interval``; after a failure sooner at first, then ever more rarely, never more rarely than
  lets one success within ``risk_stale_after`` be likely. What a failed poll leaves behind goes stale by itself: that is the safety net.
* **People**: groups and profile of whoever has just signed in (:meth:`DirectorySync.wanted`), and of everybody with a live session every
  ``refresh_interval``. An account that the directory has disabled or removed loses its sessions.

No failure of a provider or of the store ends a loop. Every attempt's outcome is recorded under the provider's name, so that the console can
say how old everything is and rules see *unknown* and *stale* for what they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from isolation import tokens
from isolation.clock import Clock
from isolation.errors import ProviderError, StoreError
from isolation.policy.facts import UserType
from isolation.signals.model import RISK_PROVIDER, GroupsReading, ProviderStatus, RiskReading
from isolation.signals.providers import NoSuchPersonError, ThrottledError
from isolation.signals.providers.entra import Profile, RiskPoll

# ---- limits
MIN_INTERVAL: Final = 1.0  # seconds between requests for risk: all that Graph allows a tenant
FIRST_RETRY: Final = 2.0  # seconds after a first failure: most are over by then
MAX_BACK_OFF: Final = 300.0  # seconds: after an outage, everybody is current again within five minutes
BACK_OFF_SHARE: Final = 3.0  # at least so many attempts fall within risk_stale_after
WORKERS: Final = 4  # people read at once: some 100 requests a second, a fraction of Graph's budget for the smallest tenant
MAX_TRIES: Final = 6  # attempts for one person in a row (about a minute); then the next round has to do
LOOP_PAUSE: Final = 5.0  # seconds after an error nobody foresaw

DIRECTORY_PROVIDER: Final = "entra-directory"
"""Name of the provider state that stands behind groups and profiles."""

_log = structlog.get_logger()


class Reader(Protocol):
    """Reads from the directory; everything raises :class:`ProviderError`. See :class:`isolation.signals.providers.entra.GraphReader`."""

    async def risky_users(self) -> RiskPoll:
        """Return the complete list of risky users."""
        ...

    async def groups_of(self, oid: str) -> GroupsReading:
        """Return all groups of a person."""
        ...

    async def profile(self, oid: str) -> Profile:
        """Return a person's profile."""
        ...


class RiskStore(Protocol):
    """Where risk and provider states go. Raises :class:`StoreError`."""

    async def replace_all(self, levels: Mapping[str, RiskReading], as_of: float) -> int:
        """Replace the last poll by a complete one; return how many people changed."""
        ...

    async def set_provider_state(
        self, name: str, status: ProviderStatus | str, message: str, at: float, *, success: bool = False
    ) -> bool:
        """Record the outcome of an attempt; say whether the state is another one than before."""
        ...


class SignedIn(Protocol):
    """Somebody with a live session."""

    @property
    def key(self) -> str:
        """Return the person key."""
        ...


class PeopleStore(Protocol):
    """Where groups and profiles go. Raises :class:`StoreError`."""

    async def record_profile(
        self,
        key: str,
        *,
        as_of: float,
        name: str | None = None,
        user_type: UserType | None = None,
        enabled: bool | None = None,
        sessions_valid_from: float | None = None,
    ) -> None:
        """Record a profile; ``enabled`` False ends the person's sessions."""
        ...

    async def record_groups(self, key: str, groups: Iterable[str], as_of: float, complete: bool) -> None:
        """Record all groups of a person."""
        ...

    async def record_failure(self, key: str, what: str, status: ProviderStatus | str, message: str, at: float) -> None:
        """Record that ``what`` (``groups`` or ``profile``) could not be read."""
        ...

    async def list_signed_in(self, since: float) -> Sequence[SignedIn]:
        """Return the people with a session used after ``since``."""
        ...


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How often. All in seconds. ``idle_seconds``: sessions unused for longer are over, so nobody need be read for them."""

    directory_id: str
    risk_interval: float = 30.0
    risk_stale_after: float = 900.0
    refresh_interval: float = 300.0
    idle_seconds: float = 28_800.0


def uniform() -> float:
    """Return a number from 0 to 1, drawn from the project's only source of randomness."""
    return int(tokens.digest(tokens.new_secret(8))[:8], 16) / 0xFFFFFFFF


def back_off(failures: int, *, first: float, longest: float, draw: float) -> float:
    """Return the seconds to wait after ``failures`` (at least 1) in a row: doubling from ``first`` up to ``longest``, less up to half by ``draw``."""
    doubled = first * 2.0 ** min(failures - 1, 32)
    return min(doubled, longest) * (1.0 - draw / 2.0)


class DirectorySync:
    """The loops for one tenant. ``sleep`` and ``draw`` (0 to 1, for jitter) are replaced in tests."""

    def __init__(
        self,
        risk: RiskStore,
        people: PeopleStore,
        reader: Reader,
        clock: Clock,
        settings: SyncSettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = uniform,
    ) -> None:
        self._risk, self._people, self._reader, self._clock, self._settings = risk, people, reader, clock, settings
        self._sleep, self._draw = sleep, draw
        self._prefix = f"{settings.directory_id.casefold()}/"
        self._interval = max(MIN_INTERVAL, settings.risk_interval)
        self._longest = min(MAX_BACK_OFF, max(self._interval, settings.risk_stale_after / BACK_OFF_SHARE))
        self._failures = 0
        self._due: dict[str, float] = {}  # person key → when to read (monotonic); 0 for at once
        self._tries: dict[str, int] = {}
        self._missing: set[str] = set()
        self._quiet_until = 0.0  # monotonic: the directory asked to be left alone
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        _log.info("sync.started", risk_interval=self._interval, refresh_interval=self._settings.refresh_interval)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forever("risk", self._poll_risk))
                group.create_task(self._forever("round", self._start_round))
                group.create_task(self._forever("people", self._read_people))
        finally:
            _log.info("sync.stopped")

    def wanted(self, person_key: str) -> None:
        """Read this person at once: they have just signed in. To be called for every ``sync-wanted`` event, from the loop's thread."""
        if person_key.startswith(self._prefix):
            self._due[person_key] = 0.0
            self._tries.pop(person_key, None)
            self._wake.set()

    async def refresh_all(self) -> None:
        """Read everybody with a live session soon: to be called when events were missed. Raises :class:`StoreError`."""
        since = self._clock.now() - self._settings.idle_seconds
        now = self._clock.monotonic()
        for person in await self._people.list_signed_in(since):
            if person.key.startswith(self._prefix):
                self._due[person.key] = min(now, self._due.get(person.key, now))
        self._wake.set()

    async def _forever(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        """Take steps; each returns the seconds to wait before the next."""
        while True:
            try:
                pause = await step()
            except StoreError as error:
                _log.error("sync.not-stored", loop=name, reason=str(error))
                pause = LOOP_PAUSE
            except Exception as error:  # noqa: BLE001 - the loop has to outlive every mistake of ours
                _log.error("sync.failed", loop=name, error=type(error).__name__, reason=str(error)[:200])
                pause = LOOP_PAUSE
            await self._sleep(pause)

    # ------------------------------------------------------------------ risk

    async def _poll_risk(self) -> float:
        started = self._clock.monotonic()
        try:
            poll = await self._reader.risky_users()
        except ProviderError as error:
            return await self._risk_failed(error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must show as a failing provider, not as silence
            wrapped = ProviderError(f"internal error ({type(error).__name__})")
            return await self._risk_failed(wrapped)
        changed = await self._risk.replace_all(poll.levels, poll.as_of)
        took = self._clock.monotonic() - started
        note = _log.info if changed or self._failures else _log.debug
        note("risk.polled", people=len(poll.levels), changed=changed, pages=poll.pages, seconds=round(took, 2))
        self._failures = 0
        return max(MIN_INTERVAL, self._interval - took)

    async def _risk_failed(self, error: ProviderError) -> float:
        self._failures += 1
        # A throttled tenant gets at least the usual distance: trying sooner is what is being complained about.
        throttled = isinstance(error, ThrottledError)
        first = self._interval if throttled else min(FIRST_RETRY, self._interval)
        pause = back_off(self._failures, first=first, longest=self._longest, draw=self._draw())
        if isinstance(error, ThrottledError) and error.retry_after is not None:
            pause = max(pause, min(error.retry_after, self._longest))
        pause = max(MIN_INTERVAL, pause)
        _log.warning("risk.failed", status=error.code, reason=str(error), failures=self._failures, again_in=round(pause, 1))
        await self._risk.set_provider_state(RISK_PROVIDER, error.code, str(error), self._clock.now())
        return pause

    # ------------------------------------------------------------------ people

    async def _start_round(self) -> float:
        await self.refresh_all()
        return max(MIN_INTERVAL, self._settings.refresh_interval)

    async def _read_people(self) -> float:
        """Read those who are due, the most urgent first; then wait for the next, or for somebody who is wanted at once."""
        self._wake.clear()
        now = self._clock.monotonic()
        due = sorted((key for key, at in self._due.items() if at <= now), key=lambda key: self._due[key])[:WORKERS]
        if due and now >= self._quiet_until:
            for key in due:
                del self._due[key]
            outcomes = await asyncio.gather(*(self._read_person(key) for key in due))
            await self._note(outcomes)
            return 0.0
        soonest = min(self._due.values(), default=now + self._settings.refresh_interval)
        await self._wait(max(0.01, max(soonest, self._quiet_until) - now))
        return 0.0

    async def _wait(self, seconds: float) -> None:
        """Wait, but not when somebody is wanted."""
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()

    async def _note(self, outcomes: Sequence[ProviderError | None]) -> None:
        """Record how the directory is doing: well when any answer was good."""
        errors = [outcome for outcome in outcomes if outcome is not None]
        if len(errors) < len(outcomes):
            await self._risk.set_provider_state(DIRECTORY_PROVIDER, ProviderStatus.OK, "", self._clock.now(), success=True)
        elif errors:
            last = errors[-1]
            await self._risk.set_provider_state(DIRECTORY_PROVIDER, last.code, str(last), self._clock.now())

    async def _read_person(self, key: str) -> ProviderError | None:
        """Read one person's profile and groups and store both; return what went wrong with the provider."""
        oid = key.removeprefix(self._prefix)
        results = await asyncio.gather(self._read_profile(key, oid), self._read_groups(key, oid), return_exceptions=True)
        errors = [result for result in results if isinstance(result, ProviderError)]
        ours = [result for result in results if isinstance(result, Exception) and not isinstance(result, ProviderError)]
        for problem in ours:
            event = "sync.not-stored" if isinstance(problem, StoreError) else "sync.failed"
            _log.error(event, loop="people", person=key, error=type(problem).__name__, reason=str(problem)[:200])
        if not errors and not ours:
            self._tries.pop(key, None)
            return None
        self._again(key)
        for error in errors:
            if isinstance(error, ThrottledError) and error.retry_after is not None:
                self._quiet_until = max(self._quiet_until, self._clock.monotonic() + min(error.retry_after, MAX_BACK_OFF))
        return next((error for error in errors if not isinstance(error, NoSuchPersonError)), None)

    async def _read_profile(self, key: str, oid: str) -> ProviderError | None:
        try:
            profile = await self._reader.profile(oid)
        except NoSuchPersonError as error:
            # A directory's replicas may not know a new person yet: only the second answer counts.
            if key not in self._missing:
                self._missing.add(key)
                return error
            self._missing.discard(key)
            _log.warning("person.removed", person=key)
            await self._people.record_profile(key, as_of=self._clock.now(), enabled=False)
            return None
        except ProviderError as error:
            return await self._person_failed(key, "profile", error)
        self._missing.discard(key)
        if profile.enabled is False:
            _log.warning("person.disabled", person=key)
        # The e-mail address stays the one of the sign-in: rules are written for it, and Graph's mail may be another.
        await self._people.record_profile(
            key,
            as_of=profile.as_of,
            name=profile.name,
            user_type=profile.user_type,
            enabled=profile.enabled,
            sessions_valid_from=profile.sessions_valid_from,
        )
        return None

    async def _read_groups(self, key: str, oid: str) -> ProviderError | None:
        try:
            reading = await self._reader.groups_of(oid)
        except NoSuchPersonError:
            return None  # the profile says what that means
        except ProviderError as error:
            return await self._person_failed(key, "groups", error)
        if reading.groups is None or reading.as_of is None:
            return await self._person_failed(key, "groups", ProviderError("the groups were not read", code="incomplete"))
        await self._people.record_groups(key, reading.groups, reading.as_of, True)
        return None

    async def _person_failed(self, key: str, what: str, error: ProviderError) -> ProviderError:
        _log.warning("person.not-read", person=key, what=what, status=error.code, reason=str(error))
        await self._people.record_failure(key, what, error.code, str(error), self._clock.now())
        return error

    def _again(self, key: str) -> None:
        """Try somebody again later, a limited number of times; the next round comes anyway."""
        tries = self._tries.get(key, 0) + 1
        if tries >= MAX_TRIES:
            self._tries.pop(key, None)
            return
        self._tries[key] = tries
        pause = back_off(tries, first=FIRST_RETRY, longest=MAX_BACK_OFF, draw=self._draw())
        self._due.setdefault(key, self._clock.monotonic() + pause)
