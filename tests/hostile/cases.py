"""The hostile cases, by number, and the table of the tests that prove them.

A test says which cases it proves with ``@pytest.mark.case(5, 6)``: the numbers then stand in its id (``…[case-05-case-06-…]``). The table in
``docs/hostile-tests.md`` is made from these marks: ``python -m tests.hostile.cases``; a test holds the two together. A case without a
test stands in :data:`LACKING` with the reason, and nowhere else.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.support.source import parsed

CHECKOUT = Path(__file__).parents[2]
TABLE = CHECKOUT / "docs" / "hostile-tests.md"

GROUPS = {
    1: "Network: a page that wants to reach what it may not",
    17: "Schemes and the browser's own pages",
    21: "Between sessions",
    28: "The viewer's stream",
    37: "What reaches the person's own browser",
    41: "Data that leaves or enters",
    48: "Pages that abuse the browser",
    55: "Beginnings and ends",
    61: "Ways around isolation",
    64: "Correctness under attack",
}

CASES = {
    1: "Metadata addresses: refused and logged",
    2: "A redirect from a permitted host to a private one: page, fetch, image, frame",
    3: "A chain of ten redirects whose last hop is private",
    4: "Meta refresh, script's location, form, link ping, beacon to a private address",
    5: "Spellings of addresses: decimal, hex, octal, short, mapped, full-width, user part",
    6: "Names: private, mixed and rebinding answers, IPv6 only, an alias of an internal name",
    7: "WebSocket to a private host",
    8: "Fetch from shared and dedicated workers",
    9: "Fetch from a service worker",
    10: "EventSource",
    11: "WebTransport and HTTP/3",
    12: "WebRTC: no datagram leaves, no candidate names an address",
    13: "preconnect and dns-prefetch: no name is looked up by the browser",
    14: "The router's, the gateway's and other listeners of the machine",
    15: "CONNECT to other ports",
    16: "Credentials of one session in another's hands",
    17: "file: by address bar, redirect, link, script, drag, view-source",
    18: "chrome: pages, twice in a row; the browser lives on",
    19: "about:, devtools:, extension, javascript:, data:, blob:, filesystem:, ftp:, intent: and custom schemes",
    20: "Addresses with line breaks, backslashes, double encoding, no scheme, look-alike names, 8 KB",
    21: "Copied in one session, pasted in another",
    22: "Cookies, storage, databases, caches, passwords and HSTS of one session in another",
    23: "Files of one session read by another",
    24: "One session crashes, loops or fills its memory; another goes on",
    25: "Guessed, foreign, used and expired tickets",
    26: "Two viewers of one page",
    27: "Another session's processes and shared memory",
    28: "WebSocket with a foreign, missing, null or look-alike Origin",
    29: "A Host header that names another",
    30: "Coordinates, wheels, JSON, sizes and types out of range; words before the hello",
    31: "Ten thousand moves before a click",
    32: "A viewer that never acknowledges",
    33: "Slow and half-open connections",
    34: "A decompression bomb in a WebSocket frame",
    35: "Keys, pastes, uploads and unknown commands that the controls forbid",
    36: "Old input after a takeover",
    37: "Titles, addresses, options, dialogs, file names, icons, cursors with markup, overrides and a megabyte of text",
    38: "File names with paths, NUL and device names",
    39: "A taken-over renderer: malformed, huge and false pictures",
    40: "The viewer's page runs, loads and asks for nothing of the page's",
    41: "Every way to copy out",
    42: "Every way to paste in",
    43: "Every way to download",
    44: "Every way to upload, and what hostile files are",
    45: "A sanitised download holds no text, link, script or metadata",
    46: "The watermark is in every frame",
    47: "A QR code on the page",
    48: "Sixty windows at once",
    49: "Dialog loops, leaving traps, print loops, full screen, pointer lock, permission prompts",
    50: "An address bar drawn by the page",
    51: "Memory, frame, worker, wasm and canvas bombs",
    52: "An animation without end",
    53: "A download without end",
    54: "Ten minutes of computing",
    55: "kill -9 of browser, node, worker and router",
    56: "A network that is gone for seconds, a minute, for good",
    57: "Risk, groups, sessions and policy that change under somebody's hands",
    58: "A risk source that is down, slow, broken, unauthorised or huge",
    59: "A hundred starts at once",
    60: "Five hundred sessions opened and closed",
    61: "The app asked directly, by every kind of request",
    62: "Nothing of the app in the person's cache or profile",
    63: "The viewer framed, opened by another page, or told on by its referrer",
    64: "The last picture of a burst is the page",
    65: "Select, date, colour and list inputs",
    66: "Keyboard layouts, dead keys, input methods, emoji",
    67: "Drag and drop, sliders, drawing, double and triple click, wheels, pinch",
    68: "Fine screens; fifty resizes",
    69: "Windows that talk to their opener, posted forms, passwords, client certificates",
    70: "Frames of another site: cursor, typing, dialogs, lists",
}

LACKING: dict[int, str] = {
    45: "nothing is sanitised: a download is what the page offered, of a kind and a size that the controls permit, or it is refused",
    47: "optional, and not built: a code on the page is pixels like any other, and is read by a camera the router cannot see",
}
"""Cases that no test proves yet, each with the reason."""

PARTLY: dict[int, str] = {}
"""Cases of which a part is lacking, each with what and why."""


def proofs() -> dict[int, list[tuple[str, str]]]:
    """Return for each case the (file, function) that are marked with it, read from the sources."""
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted((CHECKOUT / "tests").rglob("test_*.py")):
        for node in parsed(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for number in _numbers(node):
                    found[number].append((str(path.relative_to(CHECKOUT)), node.name))
    return dict(found)


def _numbers(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[int]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.case":
            yield from (ast.literal_eval(argument) for argument in decorator.args)


def table() -> str:
    """Return the page that docs/hostile-tests.md is."""
    proven = proofs()
    lines = [
        "# Hostile cases and their tests",
        "",
        "Each case is an attack on isolated browsing. The tests named here try it; the case's number stands in their ids, so that",
        "`pytest -k case-31` runs what is known about case 31. Made by `python -m tests.hostile.cases`.",
    ]
    for number, title in CASES.items():
        if number in GROUPS:
            lines += ["", f"## {GROUPS[number]}", "", "| Case | What is tried | Tests |", "|---|---|---|"]
        tests = [f"`{path.removeprefix('tests/')}::{name}`" for path, name in proven.get(number, [])]
        if not tests:
            tests.append(f"*Lacking:* {LACKING[number]}")
        if number in PARTLY:
            tests.append(f"*Not covered:* {PARTLY[number]}")
        lines.append(f"| {number} | {title} | {'<br>'.join(tests)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
    missing = sorted(set(CASES) - set(proofs()) - set(LACKING))
    sys.stdout.write(f"{len(CASES) - len(missing)} of {len(CASES)} cases; without a test and a reason: {missing}\n")
