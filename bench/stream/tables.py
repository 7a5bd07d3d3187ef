"""The results as people read them, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from bench.report import console, shown, table, write
from bench.stream import feel, scenarios
from bench.stream.marks import marks, verdicts
from bench.stream.pictures import CODEC
from bench.stream.results import SESSIONS, Results, figures, quantile
from bench.stream.script import JPEG, OURS, SYSTEMS


def report(results: Results, seconds: float, rounds: int, *, complete: bool) -> None:
    """Print the tables; write the figures where everything was asked for."""
    found = figures(results)
    _bytes(results)
    _processors(results)
    _feels(results)
    _marks(found, complete=complete)
    for line in results.missing:
        console.print(f"[yellow]Not measured:[/] {line}")
    console.print(f"{seconds:.0f} seconds, {rounds} round{'s' * (rounds != 1)}. The film: {CODEC}.")
    if complete:
        console.print(f"Written to {_write(results, found, seconds, rounds)}")


def _bytes(results: Results) -> None:
    if not results.scenarios:
        return
    rows: list[list[object]] = []
    for scenario in results.scenarios:
        rows.append([scenario, *(results.sent(system, scenario) for system in results.systems)])
        rows += [
            [f"  {phase}", *(results.sent(system, scenario, phase) for system in results.systems)]
            for phase in results.phases(scenario)
        ]
    table("Bytes to the viewer", ["scenario", *results.systems], rows)
    for name in results.scenarios:
        if any(results.fps(system, name) is not None for system in results.systems):
            each = ", ".join(f"{system} {shown(results.fps(system, name))}" for system in results.systems)
            console.print(f"Pictures a second, {name}: {each}")


def _processors(results: Results) -> None:
    rows: list[list[object]] = []
    for system in results.systems:
        if not any(name == system for name, _ in results.runs):
            continue
        rows.append([f"{system}, server", *(results.seconds(system, scenario, "all") for scenario in results.scenarios)])
        kinds = results.kinds(system)
        rows += [
            [f"  {kind}", *(results.seconds(system, scenario, kind) for scenario in results.scenarios)]
            for kind in (kinds if len(kinds) > 1 else ())
        ]
        rows.append([f"{system}, viewer", *(results.seconds(system, scenario, "client") for scenario in results.scenarios)])
    if rows:
        table("Processor seconds of each side, whole script", ["", *results.scenarios], rows)


def _feels(results: Results) -> None:
    rows: list[list[object]] = []
    for system in results.systems:
        keys, notches = results.keys(system), results.notches(system)
        memory = [each.memory for each in results.feels.get(system, []) if each.memory is not None]
        if keys or notches:
            times = [quantile(values, share) for values in (keys, notches) for share in (0.5, 0.95)]
            rows.append([system, *times, results.scroll_fps(system), round(memory[-1]) if memory else None])
    if results.together:
        keys = sorted(delay for each in results.together for delay in each.keys.delays)
        notches = sorted(delay for each in results.together for delay in each.notches.delays)
        times = [quantile(values, share) for values in (keys, notches) for share in (0.5, 0.95)]
        rows.append(
            [f"ours, {len(results.together)} at once", *times, " ".join(shown(each.fps) for each in results.together), None]
        )
    if rows:
        columns = ["", "key p50", "p95", "wheel p50", "p95", "scroll fps", "server MB"]
        table(
            "Milliseconds from act to pixels (screencast: to the raw frame), pictures a second, memory with one viewer",
            columns,
            rows,
        )
    if results.first:
        console.print(
            f"First picture of new sessions, seconds from the click: {', '.join(f'{each / 1000:.2f}' for each in results.first)}"
        )
    if results.idle:
        idle = results.idle
        console.print(
            f"Idle sessions: browsers {', '.join(f'{each:.0f}' for each in idle.browsers)} MB; everything else {idle.before:.0f} MB without "
            f"and {idle.after:.0f} MB with them; what is there once is shared by {SESSIONS}"
        )
    late = {name: sum(each.keys.late + each.notches.late for each in feels) for name, feels in results.feels.items()}
    late["ours, at once"] = sum(each.keys.late + each.notches.late for each in results.together)
    if any(late.values()):
        console.print(
            f"Acts that were not painted in time: {', '.join(f'{name} {count}' for name, count in late.items() if count)}"
        )


def _marks(found: Mapping[str, float | int], *, complete: bool) -> None:
    rows = verdicts(found, marks(scenarios.SCENARIOS))
    colour = {"met": "[green]met[/]", "not met": "[red]not met[/]"}
    made = [
        [name, value, bound, colour.get(verdict, verdict)]
        for name, value, bound, verdict in rows
        if complete or value is not None
    ]
    if made:
        table("Marks", ["", "value", "mark", ""], made)
    if (ratio := found.get("stream.bytes_vs_screencast")) is not None:
        console.print(f"The first version's script (text and grid): 1/{1 / ratio:,.0f} of the raw screencast's bytes")


def _write(results: Results, found: Mapping[str, float | int], seconds: float, rounds: int) -> Path:
    wanted = marks(scenarios.SCENARIOS)
    return write(
        "stream",
        found,
        {
            "marks": [
                {"figure": name, "value": value, "mark": bound, "verdict": verdict}
                for name, value, bound, verdict in verdicts(found, wanted)
            ],
            "missing": results.missing,
            "conditions": {
                "rounds": rounds,
                "load_before": results.load,
                "total_seconds": round(seconds),
                "screencast": JPEG,
                "systems": [system for system in SYSTEMS if system in results.systems],
                "film": CODEC,
                "key_seconds": feel.KEY_SECONDS,
                "notch_seconds": feel.NOTCH_SECONDS,
                "glide_pixels_a_second": feel.GLIDE_SPEED,
                "sessions_that_share": SESSIONS,
            },
            "idle": asdict(results.idle) if results.idle else None,
            "first_frames_ms": [round(each) for each in results.first],
            "feel": {
                system: [
                    {"keys": each.keys.delays, "notches": each.notches.delays, "fps": each.fps, "memory": each.memory}
                    for each in feels
                ]
                for system, feels in {**results.feels, f"{OURS}, at once": results.together}.items()
            },
            "rounds": {
                f"{system}, {scenario}": [
                    {
                        phase: {
                            "bytes": part.taken.bytes,
                            "messages": part.taken.messages,
                            "server": part.server,
                            "client": part.client,
                            "fps": part.fps,
                        }
                        for phase, part in parts.items()
                    }
                    for parts in each
                ]
                for (system, scenario), each in results.runs.items()
            },
        },
    )
