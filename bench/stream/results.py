"""From what the runs gave to figures: medians over rounds, ratios of whole scripts."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.stream.feel import Feel
from bench.stream.script import JPEG, OURS, PNG, VNC, XPRA, Part

FIRST_VERSION = ("text", "grid")  # scenarios that together are the first version's script
SESSIONS = 60  # idle sessions that this machine has to carry: what is there once is shared by so many
SLUGS = {OURS: "ours", JPEG: "screencast", PNG: "screencast_png", VNC: "novnc", XPRA: "xpra"}


@dataclass
class Idle:
    """Memory of the product, megabytes (PSS). ``before``: of all but browsers without sessions; ``after``: with ``browsers``, one for each session."""

    before: float
    after: float
    browsers: tuple[float, ...]

    def session(self) -> float:
        """Return what an idle session takes: its browser, what it adds to router and node, and its share of what is there once."""
        count = len(self.browsers)
        return round(sum(self.browsers) / count + max(0.0, self.after - self.before) / count + self.before / SESSIONS, 1)


@dataclass
class Results:
    """What the runs gave. ``runs``: (system, scenario) → one dictionary of phases per round. ``missing``: what could not be measured, and why.

    ``feels``: one person, by system. ``together``: several of ours at once. ``first``: milliseconds from click to picture in new sessions.
    ``load``: the machine's load average before the run.
    """

    runs: dict[tuple[str, str], list[dict[str, Part]]] = field(default_factory=dict)
    feels: dict[str, list[Feel]] = field(default_factory=dict)
    together: list[Feel] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    idle: Idle | None = None
    missing: list[str] = field(default_factory=list)
    load: float = 0.0

    @property
    def systems(self) -> list[str]:
        """Systems that were measured, in order."""
        return list(dict.fromkeys([*(system for system, _ in self.runs), *self.feels]))

    @property
    def scenarios(self) -> list[str]:
        """Scenarios, in order."""
        return list(dict.fromkeys(scenario for _, scenario in self.runs))

    def phases(self, scenario: str) -> list[str]:
        """Return the phases of a scenario."""
        return next((list(rounds[0]) for (_, name), rounds in self.runs.items() if name == scenario and rounds), [])

    def sent(self, system: str, scenario: str, phase: str | None = None) -> int | None:
        """Return the bytes of a whole script, or of a phase of it: the median over the rounds."""
        sums = [
            sum(part.taken.bytes for name, part in parts.items() if phase in {None, name})
            for parts in self._rounds(system, scenario)
        ]
        return round(statistics.median(sums)) if sums else None

    def seconds(self, system: str, scenario: str, side: str) -> float | None:
        """Return the processor seconds of a whole script. ``side``: ``client``, or a kind of process of the server (``all``)."""
        sums = []
        for parts in self._rounds(system, scenario):
            values = [part.client if side == "client" else part.server.get(side, 0.0) for part in parts.values()]
            if any(value is None for value in values):
                return None
            sums.append(sum(value or 0.0 for value in values))
        return round(statistics.median(sums), 2) if sums else None

    def fps(self, system: str, scenario: str) -> float | None:
        """Return the pictures a second of a scenario's moving phase: the median over the rounds."""
        found = [part.fps for parts in self._rounds(system, scenario) for part in parts.values() if part.fps is not None]
        return round(statistics.median(found), 1) if found else None

    def kinds(self, system: str) -> list[str]:
        """Return the kinds of processes that a system's processor time was counted for."""
        rounds = [parts for (name, _), each in self.runs.items() if name == system for parts in each]
        return sorted({kind for parts in rounds for part in parts.values() for kind in part.server} - {"all"})

    def _rounds(self, system: str, scenario: str) -> Sequence[dict[str, Part]]:
        return self.runs.get((system, scenario), [])

    def ratio(self, peer: str, scenarios: Iterable[str]) -> float | None:
        """Return ours / peer, or None where one of them was not measured in one of the scenarios."""
        pairs = [(self.sent(OURS, name), self.sent(peer, name)) for name in scenarios]
        if not pairs or any(ours is None or theirs is None for ours, theirs in pairs):
            return None
        return round(sum(ours or 0 for ours, _ in pairs) / sum(theirs or 0 for _, theirs in pairs), 5)

    def keys(self, system: str) -> list[float]:
        """Return every key's time to its pixels."""
        return sorted(delay for each in self.feels.get(system, []) for delay in each.keys.delays)

    def notches(self, system: str) -> list[float]:
        """Return every wheel notch's time to its pixels."""
        return sorted(delay for each in self.feels.get(system, []) for delay in each.notches.delays)

    def scroll_fps(self, system: str) -> float | None:
        """Return the pictures a second while scrolling: the median over the rounds."""
        found = [each.fps for each in self.feels.get(system, []) if each.fps is not None]
        return round(statistics.median(found), 1) if found else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which a share of the sorted values lies."""
    return round(values[min(len(values) - 1, int(len(values) * share))], 1) if values else None


def figures(results: Results) -> dict[str, float | int]:
    """Return every figure by name. What was not measured is left out."""
    ours, raw = quantile(results.keys(OURS), 0.5), quantile(results.keys(JPEG), 0.5)
    together = sorted(delay for each in results.together for delay in each.keys.delays)
    scrolled = [each.fps for each in results.together if each.fps is not None]
    found: dict[str, float | int | None] = {
        "stream.bytes_vs_screencast": results.ratio(JPEG, FIRST_VERSION),
        "stream.bytes_vs_screencast_png": results.ratio(PNG, FIRST_VERSION),
        "stream.bytes_vs_novnc": results.ratio(VNC, FIRST_VERSION),
    }
    for scenario in results.scenarios:
        for peer in (JPEG, PNG, VNC, XPRA):
            found[f"stream.{scenario}.bytes_vs_{SLUGS[peer]}"] = results.ratio(peer, [scenario])
    found |= {
        "stream.key_to_paint_p50_ms": ours,
        "stream.key_to_paint_p95_ms": quantile(results.keys(OURS), 0.95),
        "stream.key_to_paint_p50_ms_over_screencast": None if ours is None or raw is None else round(ours - raw, 1),
        "stream.key_to_paint_p50_ms_4_sessions": quantile(together, 0.5),
        "stream.key_to_paint_p95_ms_4_sessions": quantile(together, 0.95),
        "stream.wheel_to_paint_p50_ms": quantile(results.notches(OURS), 0.5),
        "stream.wheel_to_paint_p95_ms": quantile(results.notches(OURS), 0.95),
        "stream.scroll_fps": results.scroll_fps(OURS),
        "stream.scroll_fps_4_sessions": min(scrolled) if scrolled else None,
        "stream.first_frame_s": round(statistics.median(results.first) / 1000, 3) if results.first else None,
        "stream.idle_session_pss_mb": results.idle.session() if results.idle else None,
    }
    for system in results.systems:
        slug = SLUGS[system]
        for scenario in results.scenarios:
            found[f"{slug}.{scenario}.bytes"] = results.sent(system, scenario)
            found[f"{slug}.{scenario}.server_cpu_s"] = results.seconds(system, scenario, "all")
            found[f"{slug}.{scenario}.client_cpu_s"] = results.seconds(system, scenario, "client")
            found[f"{slug}.{scenario}.fps"] = results.fps(system, scenario)
        if system != OURS:
            found[f"{slug}.key_to_paint_p50_ms"] = quantile(results.keys(system), 0.5)
            found[f"{slug}.key_to_paint_p95_ms"] = quantile(results.keys(system), 0.95)
            found[f"{slug}.wheel_to_paint_p50_ms"] = quantile(results.notches(system), 0.5)
            found[f"{slug}.wheel_to_paint_p95_ms"] = quantile(results.notches(system), 0.95)
            found[f"{slug}.scroll_fps"] = results.scroll_fps(system)
    return {name: value for name, value in found.items() if value is not None}
