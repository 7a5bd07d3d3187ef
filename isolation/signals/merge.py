"""Which source counts: one signal from all that was said. Pure and total.

Risk, in this order:

1. An unexpired **override** wins over everything, also over *unknown*: it is an administrator's decision with a reason and an end. Of
   several the newest counts.
2. Otherwise the **strictest** of Entra's level and the unexpired tags counts.
3. Where Entra's level is *unknown* or *stale*, the result is unknown or stale too, whatever milder thing a tag says: the missing source
   could have been stricter. The one exception is a tag of ``high``, since nothing is stricter than that.

Absent from a *complete* poll means no risk; absent from anything less means unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isolation.policy.facts import FOREVER, Known, RiskLevel, Signal, Stale, Unknown, UnknownReason, UserType
from isolation.signals.freshness import aged
from isolation.signals.model import GroupsReading, ProviderState, ProviderStatus, RiskOverride, RiskReading, RiskTag

ENTRA = "entra"


def merge_risk(
    reading: RiskReading | None,
    provider: ProviderState | None,
    tags: Iterable[RiskTag],
    overrides: Iterable[RiskOverride],
    now: float,
    stale_after: float,
) -> Signal[RiskLevel]:
    """Return somebody's risk at ``now`` (epoch seconds) by the rules of this module's docstring.

    ``reading``: their row in the last complete poll, None if they were not in it. ``provider``: the poll's state, None if there never was one.
    ``stale_after``: seconds. ``until`` of the result is the next moment at which time alone could change it.
    """
    in_force = [override for override in overrides if now < override.until]
    if in_force:
        newest = max(in_force, key=lambda override: (override.at, override.id))
        return Known(newest.level, newest.at, newest.until, source=f"override by {newest.by}: {newest.reason}")
    entra = _entra(reading, provider, now, stale_after)
    live = [tag for tag in tags if now < tag.until]
    if not live:
        return entra
    strictest = max(live, key=lambda tag: (tag.level.rank, tag.until))
    edge = min(tag.until for tag in live)
    tagged = Known(strictest.level, strictest.at, min(edge, entra.until), source=f"tag by {strictest.by}: {strictest.reason}")
    if strictest.level is RiskLevel.HIGH:
        return tagged
    match entra:
        case Known():
            if strictest.level.rank > entra.value.rank:
                return tagged
            return Known(entra.value, entra.as_of, min(edge, entra.until), entra.source)
        case Stale():
            source = tagged.source if strictest.level.rank > entra.value.rank else entra.source
            value = max(strictest.level, entra.value, key=lambda level: level.rank)
            return Stale(value, entra.as_of, entra.reason, min(edge, entra.until), source)
        case Unknown():
            return Unknown(entra.reason, entra.as_of, min(edge, entra.until), entra.source)


def groups_signal(
    readings: Sequence[GroupsReading], now: float, stale_after: float, *, default: UnknownReason = UnknownReason.NEVER_READ
) -> Signal[frozenset[str]]:
    """Return somebody's groups at ``now``: the newest complete reading, from the sign-in token or from Graph.

    A failed attempt leaves that reading in force until it is stale. ``default``: why there is nothing when no reading and no failure exist.
    """
    failed = max((reading for reading in readings if reading.failure), key=lambda reading: reading.failed_at or 0.0, default=None)
    why = failed.failure.reason if failed and failed.failure else None
    complete = [reading for reading in readings if reading.groups is not None and reading.as_of is not None]
    if not complete:
        return Unknown(why or default, failed.failed_at if failed else None)
    newest = max(complete, key=lambda reading: reading.as_of or 0.0)
    if newest.groups is None or newest.as_of is None:  # for the type checker: both were tested above
        return Unknown(default)
    return aged(newest.groups, newest.as_of, now, stale_after, source=newest.source, failure=why)


def user_type_signal(
    value: UserType | None,
    as_of: float | None,
    now: float,
    stale_after: float,
    *,
    source: str = "",
    failure: ProviderStatus | None = None,
) -> Signal[UserType]:
    """Return whether somebody is a member or a guest of the tenant at ``now``. ``failure``: state of a failed newer attempt."""
    why = failure.reason if failure else None
    if value is None or as_of is None:
        return Unknown(why or UnknownReason.NEVER_READ, as_of, source=source)
    return aged(value, as_of, now, stale_after, source=source, failure=why)


def _entra(reading: RiskReading | None, provider: ProviderState | None, now: float, stale_after: float) -> Signal[RiskLevel]:
    if provider is None:
        return Unknown(UnknownReason.NEVER_READ, source=ENTRA)
    if provider.last_success is None:
        return Unknown(provider.status.reason, provider.last_attempt, source=ENTRA)
    level = reading.level if reading is not None else RiskLevel.NONE
    if isinstance(level, UnknownReason):
        return Unknown(level, provider.last_success, FOREVER, source=ENTRA)
    failure = None if provider.status is ProviderStatus.OK else provider.status.reason
    return aged(level, provider.last_success, now, stale_after, source=ENTRA, failure=failure)
