"""From what the rounds gave to figures: medians over rounds, ratios of whole scripts, tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.report import console, table, write
from bench.stream.script import JPEG, KEY_SECONDS, NOTCH_SECONDS, NOTCHES, OURS, PHASES, PNG, VNC, WINDOWS, Part

MARK = 0.05  # ours / raw screencast: what the first version has to reach
_SLUGS = {OURS: "stream", JPEG: "screencast", PNG: "screencast_png", VNC: "novnc"}


@dataclass
class Results:
    """What the rounds gave. ``runs``: (system, page) → one dictionary of phases per round. ``missing``: what could not be measured, and why."""

    runs: dict[tuple[str, str], list[dict[str, Part]]] = field(default_factory=dict)
    new_session: list[float] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def systems(self) -> list[str]:
        """Systems that were measured, in order."""
        return list(dict.fromkeys(system for system, _ in self.runs))

    @property
    def pages(self) -> list[str]:
        """Pages, in order."""
        return list(dict.fromkeys(page for _, page in self.runs))

    def bytes(self, system: str, page: str, phase: str) -> int:
        """Return the median over the rounds."""
        return round(statistics.median(parts[phase].taken.bytes for parts in self.runs[system, page]))

    def pictures(self, system: str, page: str, phase: str) -> int:
        """Return the median over the rounds."""
        return round(statistics.median(parts[phase].taken.pictures for parts in self.runs[system, page]))

    def cpu(self, system: str, page: str, phase: str, kind: str = "all") -> float:
        """Return the median over the rounds, seconds."""
        return round(statistics.median(parts[phase].cpu.get(kind, 0.0) for parts in self.runs[system, page]), 3)

    def kinds(self, system: str) -> list[str]:
        """Return the kinds of processes that a system's processor time was counted for."""
        runs = [parts for (name, _), rounds in self.runs.items() if name == system for parts in rounds]
        return sorted({kind for parts in runs for part in parts.values() for kind in part.cpu} - {"all"})

    def total(self, system: str, pages: Iterable[str] | None = None) -> int:
        """Return the bytes of the whole script on the given pages: the median over the rounds of each round's sum."""
        chosen = list(pages or self.pages)
        sums: list[int] = [
            sum(part.taken.bytes for parts in one for part in parts.values())
            for one in zip(*(self.runs[system, page] for page in chosen), strict=True)
        ]
        return round(statistics.median(sums))

    def ratio(self, peer: str, pages: Iterable[str] | None = None) -> float | None:
        """Return ours / peer, whole script, or None where the peer was not measured."""
        if peer not in self.systems or OURS not in self.systems:
            return None
        return round(self.total(OURS, pages) / self.total(peer, pages), 5)

    def keys(self, system: str) -> list[float]:
        """Return every key's time to its picture, all rounds and pages, in order of size."""
        runs = [parts for (name, _), rounds in self.runs.items() if name == system for parts in rounds]
        return sorted(value for parts in runs for value in parts["type"].taken.keys)

    def first_pictures(self, system: str) -> list[float]:
        """Return the times to the first picture of every run."""
        runs = [parts for (name, _), rounds in self.runs.items() if name == system for parts in rounds]
        return [first for parts in runs if (first := parts["load"].taken.first_picture) is not None]


def quantile(values: list[float], share: float) -> float | None:
    """Return the value below which a share of the sorted values lies."""
    return round(values[min(len(values) - 1, int(len(values) * share))], 1) if values else None


def figures(results: Results) -> dict[str, float | int | None]:
    """Return every figure by name. None: not measured here."""
    keys = {system: results.keys(system) for system in results.systems}
    found: dict[str, float | int | None] = {
        "stream.bytes_vs_screencast": results.ratio(JPEG),
        "stream.bytes_vs_screencast_png": results.ratio(PNG),
        "stream.bytes_vs_novnc": results.ratio(VNC),
        "stream.key_to_paint_p50_ms": quantile(keys.get(OURS, []), 0.5),
        "stream.key_to_paint_p95_ms": quantile(keys.get(OURS, []), 0.95),
        "screencast.key_to_frame_p50_ms": quantile(keys.get(JPEG, []), 0.5),
        "screencast.key_to_frame_p95_ms": quantile(keys.get(JPEG, []), 0.95),
        "screencast_png.key_to_frame_p50_ms": quantile(keys.get(PNG, []), 0.5),
        "novnc.key_to_bytes_p50_ms": quantile(keys.get(VNC, []), 0.5),
        "novnc.key_to_bytes_p95_ms": quantile(keys.get(VNC, []), 0.95),
        "stream.first_picture_ms": quantile(sorted(results.first_pictures(OURS)), 0.5),
        "stream.first_picture_new_session_ms": quantile(sorted(results.new_session), 0.5),
    }
    for page in results.pages:
        for peer, name in ((JPEG, "screencast"), (PNG, "screencast_png"), (VNC, "novnc")):
            found[f"stream.bytes_vs_{name}.{page}"] = results.ratio(peer, [page])
    for system in results.systems:
        slug = _SLUGS[system]
        for page in results.pages:
            for phase in PHASES:
                found[f"{slug}.bytes.{page}.{phase}"] = results.bytes(system, page, phase)
        for phase in PHASES:
            found[f"{slug}.cpu_s.{phase}"] = round(sum(results.cpu(system, page, phase) for page in results.pages), 3)
    if OURS in results.systems:
        for phase in PHASES:
            found[f"stream.node_cpu_s.{phase}"] = round(sum(results.cpu(OURS, page, phase, "node") for page in results.pages), 3)
    return found


def report(results: Results, seconds: float, rounds: int, *, complete: bool) -> None:
    """Print the tables; write the figures where every system was asked for."""
    _tables(results)
    found = figures(results)
    headline = [name for name in found if name.count(".") == 1 and not name.startswith(("screencast", "novnc"))]
    table("Figures", ["", "value"], [[name, found[name]] for name in headline])
    ratio = found["stream.bytes_vs_screencast"]
    if ratio is not None:
        verdict = "[green]reached[/]" if ratio <= MARK else "[red]missed[/]"
        console.print(f"Ours sends 1/{1 / ratio:,.0f} of the raw screencast's bytes; the mark is 1/{1 / MARK:.0f}: {verdict}")
    for line in results.missing:
        console.print(f"[yellow]Not measured:[/] {line}")
    if not complete:
        return
    path = write(
        "stream",
        found,
        {
            "mark": {"stream.bytes_vs_screencast": MARK},
            "missing": results.missing,
            "conditions": {
                "rounds": rounds,
                "total_seconds": round(seconds),
                "script": {
                    "notches": NOTCHES,
                    "notch_seconds": NOTCH_SECONDS,
                    "key_seconds": KEY_SECONDS,
                    "windows_seconds": WINDOWS,
                },
            },
            "rounds": {
                f"{system}, {page}": [
                    {
                        phase: {"bytes": part.taken.bytes, "messages": part.taken.pictures, "cpu": part.cpu}
                        for phase, part in parts.items()
                    }
                    for parts in one
                ]
                for (system, page), one in results.runs.items()
            },
        },
    )
    console.print(f"Written to {path}")


def _tables(results: Results) -> None:
    rows: list[list[object]]
    for page in results.pages:
        rows = []
        for system in results.systems:
            pictures = sum(results.pictures(system, page, phase) for phase in PHASES)
            rows.append(
                [system, *(results.bytes(system, page, phase) for phase in PHASES), results.total(system, [page]), pictures]
            )
        table(f"Bytes to the viewer, page “{page}”", ["", *PHASES, "whole script", "messages"], rows)
    rows = []
    for system in results.systems:
        cpu = [sum(results.cpu(system, page, phase) for page in results.pages) for phase in PHASES]
        rows.append([system, *cpu, quantile(results.keys(system), 0.5), quantile(results.keys(system), 0.95)])
        kinds = results.kinds(system)
        for kind in kinds if len(kinds) > 1 else ():
            rows.append(
                [
                    f"  {kind}",
                    *(sum(results.cpu(system, page, phase, kind) for page in results.pages) for phase in PHASES),
                    "",
                    "",
                ]
            )
    console.print(
        "\nProcessor seconds of the serving side, its Chromium included, both pages; milliseconds from a key to its picture"
    )
    table("", ["", *PHASES, "key p50", "key p95"], rows)
