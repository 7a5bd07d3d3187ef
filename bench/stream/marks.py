"""What issue 3 asks of the stream, as numbers, and whether the figures reach them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SMALL = ("text", "grid", "typing")  # scenarios that a lossless stream of changes must be far better at
PEERS = ("screencast", "novnc")


@dataclass(frozen=True)
class Mark:
    """A figure and its bound. ``least``: the figure must be at least the bound; else at most."""

    figure: str
    bound: float
    least: bool = False

    def met(self, value: float | None) -> bool | None:
        """Tell whether a value reaches it; None: it was not measured."""
        if value is None:
            return None
        return value >= self.bound if self.least else value <= self.bound

    @property
    def words(self) -> str:
        """The bound as people read it: small shares as fractions."""
        bound = f"1/{round(1 / self.bound)}" if self.figure.rpartition(".")[2].startswith("bytes_vs_") else f"{self.bound:g}"
        return f"{'≥' if self.least else '≤'} {bound}"


def marks(scenarios: Iterable[str]) -> list[Mark]:
    """Return every mark of the stream, for the scenarios given."""
    bytes_marks = [
        Mark(f"stream.{scenario}.bytes_vs_{peer}", 1 / 40 if scenario in SMALL else 1 / 4)
        for scenario in scenarios
        for peer in PEERS
    ]
    return [
        *bytes_marks,
        Mark("stream.key_to_paint_p50_ms_over_screencast", 12),
        Mark("stream.key_to_paint_p95_ms_4_sessions", 100),
        Mark("stream.scroll_fps", 30, least=True),
        Mark("stream.scroll_fps_4_sessions", 12, least=True),
        Mark("stream.first_frame_s", 0.8),
        Mark("stream.idle_session_pss_mb", 130),
    ]


def verdicts(found: Mapping[str, float | None], wanted: Iterable[Mark]) -> list[tuple[str, float | None, str, str]]:
    """Return a row for each mark: figure, value, bound, and ``met``, ``not met`` or ``not measured``."""
    words = {True: "met", False: "not met", None: "not measured"}
    return [(mark.figure, found.get(mark.figure), mark.words, words[mark.met(found.get(mark.figure))]) for mark in wanted]
