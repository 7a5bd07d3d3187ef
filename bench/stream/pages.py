"""The site that every system shows: a text page with a fixed header and a side bar, and the scenes beside this file."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

_WORDS = [
    "account",
    "policy",
    "session",
    "renderer",
    "invoice",
    "supplier",
    "quarter",
    "review",
    "approval",
    "contract",
    "audit",
    "ledger",
    "gateway",
    "request",
    "signal",
    "device",
    "group",
    "member",
    "tenant",
    "route",
    "proxy",
    "header",
    "upstream",
    "picture",
    "viewer",
    "pixel",
    "frame",
    "scroll",
    "keyboard",
    "pointer",
    "network",
    "address",
    "window",
    "table",
    "column",
    "value",
    "change",
    "report",
    "figure",
    "evidence",
    "control",
    "measure",
    "owner",
    "team",
    "office",
    "region",
    "country",
    "currency",
    "amount",
    "balance",
    "payment",
    "order",
    "the",
    "of",
    "and",
    "to",
    "in",
    "for",
    "with",
    "on",
    "by",
    "from",
    "at",
    "as",
    "is",
    "are",
    "was",
    "were",
    "has",
    "have",
    "this",
    "that",
    "which",
    "each",
    "every",
    "other",
    "into",
    "over",
    "under",
    "between",
]
_SCENES = Path(__file__).parent / "scenes"
_STYLE = """
* { box-sizing: border-box } html { scroll-behavior: auto } body { margin: 0; font: 15px/1.55 "DejaVu Sans", sans-serif; color: #1c2330; background: #fff }
header { position: fixed; inset: 0 0 auto 0; height: 56px; display: flex; align-items: center; gap: 18px; padding: 0 20px; background: #18365c; color: #fff; z-index: 2 }
header b { font-size: 18px } header span { opacity: .8 } header button { margin-left: auto; padding: 8px 16px; border: 0; border-radius: 6px; background: #3f83f8; color: #fff; font: inherit }
nav { position: fixed; inset: 56px auto 0 0; width: 240px; padding: 14px 0; background: #f2f5f9; border-right: 1px solid #d8dee8 }
nav a { display: block; padding: 7px 20px; color: #24466f; text-decoration: none } nav a:nth-child(3) { background: #dfe9f8; font-weight: bold }
main { margin: 56px 0 0 240px; padding: 26px 34px; max-width: 1000px } h2 { margin: 30px 0 8px; font-size: 21px }
input { width: 420px; padding: 9px 12px; font: inherit; border: 1px solid #9aa7ba; border-radius: 6px }
code { font: 13px "DejaVu Sans Mono", monospace; background: #f1f3f6; padding: 1px 4px } table { border-collapse: collapse; margin: 10px 0 } td { border: 1px solid #d5dbe5; padding: 4px 12px }
aside { display: none; position: fixed; right: 24px; top: 72px; width: 300px; padding: 16px 18px; background: #fff; border: 1px solid #c5cfdd; border-radius: 8px; box-shadow: 0 6px 24px #0003; z-index: 3 }
aside.open { display: block }
"""
# Where reactions are timed: letters that all have ink in their middle, in a field at a known place, and no blinking caret.
_FEEL = """
input { width: 700px; height: 44px; padding: 6px 12px; font: 16px "DejaVu Sans Mono", monospace; letter-spacing: 6px; outline: 0; caret-color: transparent }
"""
# The page tells its server what was done to it: that is how a run is known to have worked, through whichever system it went.
_SCRIPT = """
const state = { typed: '', scroll: 0, clicks: 0 };
const tell = () => fetch('/state' + location.search, { method: 'POST', body: JSON.stringify(state), keepalive: true });
let timer = 0;
document.querySelector('input').addEventListener('input', event => { state.typed = event.target.value; tell(); });
addEventListener('scroll', () => { clearTimeout(timer); timer = setTimeout(() => { state.scroll = Math.round(scrollY); tell(); }, 120); });
document.querySelector('button').addEventListener('click', () => { state.clicks += 1; document.querySelector('aside').classList.toggle('open'); tell(); });
"""


def text_page(extra: str = "") -> str:
    """Return the text page: the same at every call. ``extra``: more style rules."""
    draw = random.Random(20_260_101)

    def sentence() -> str:
        words = [draw.choice(_WORDS) for _ in range(draw.randint(7, 17))]
        words[draw.randrange(len(words))] = f"<code>{draw.choice(_WORDS)}_{draw.randint(10, 999)}</code>"
        return " ".join(words).capitalize() + "."

    def paragraph() -> str:
        return "<p>" + " ".join(sentence() for _ in range(draw.randint(3, 6))) + "</p>"

    parts = []
    for number in range(1, 25):
        parts.append(f"<h2>{number}. {sentence()[:-1]}</h2>" + "".join(paragraph() for _ in range(3)))
        if number % 3 == 0:
            rows = ("".join(f"<td>{draw.choice(_WORDS)} {draw.randint(1, 9999)}</td>" for _ in range(5)) for _ in range(6))
            parts.append("<table>" + "".join(f"<tr>{cells}</tr>" for cells in rows) + "</table>")
    links = "".join(f"<a href='#{n}'>{draw.choice(_WORDS).capitalize()} {draw.choice(_WORDS)}</a>" for n in range(16))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Reports</title><link rel=icon href='data:,'><style>{_STYLE}{extra}</style>"
        f"<header><b>Reports</b><span>Finance / Quarterly</span><button>Details</button></header><nav>{links}</nav>"
        f"<main><h1>Quarterly review</h1><input aria-label=Filter autocomplete=off spellcheck=false>{''.join(parts)}</main>"
        f"<aside><b>Details</b>{paragraph()}</aside><script>{_SCRIPT}</script></html>"
    )


def pages() -> dict[str, tuple[bytes, str]]:
    """Return the pages by path, with their types: the text page, the page where reactions are timed, the scenes."""
    html, script = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
    found = {"/": (text_page().encode(), html), "/feel": (text_page(_FEEL).encode(), html)}
    found |= {f"/{file.stem}": (file.read_bytes(), html) for file in _SCENES.glob("*.html")}
    return {**found, "/scene.js": ((_SCENES / "scene.js").read_bytes(), script)}


def further(before: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the furthest of two states of a run: two reports may overtake each other."""
    found = dict(before)
    for key, value in state.items():
        old = found.get(key)
        found[key] = value if old is None else max(old, value, key=len if isinstance(value, str) else None)
    return found


class Site:
    """Serves pages on loopback and keeps what they say of themselves, by run. ``content``: bytes and type by path; it may grow."""

    def __init__(self, content: Mapping[str, tuple[bytes, str]]) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self._content = content
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                found = site._content.get(urlsplit(self.path).path)
                if found is None:
                    self._answer(404, b"", "text/plain")
                elif (asked := self.headers.get("range", "")).startswith("bytes=") and "," not in asked:
                    self._part(*found, asked.removeprefix("bytes="))
                else:
                    self._answer(200, *found)

            def _part(self, content: bytes, kind: str, asked: str) -> None:
                """Answer a range: a player seeks to the film's start at each turn of the loop."""
                first, _, last = asked.partition("-")
                start = int(first or 0)
                end = min(int(last or len(content) - 1), len(content) - 1)
                where = f"bytes {start}-{end}/{len(content)}"
                self._answer(206, content[start : end + 1], kind, {"content-range": where})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                run = parse_qs(urlsplit(self.path).query).get("run", [""])[0]
                site.states[run] = further(site.states.get(run, {}), json.loads(body))
                self._answer(204, b"", "text/plain")

            def _answer(self, status: int, body: bytes, kind: str, more: Mapping[str, str] = {}) -> None:
                self.send_response(status)
                headers = {
                    "content-type": kind,
                    "content-length": str(len(body)),
                    "cache-control": "no-store",
                    "accept-ranges": "bytes",
                }
                for name, value in {**headers, **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            @override
            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler
