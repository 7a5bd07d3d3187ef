"""The pages: a text page with a fixed header and a side bar that says what was done to it, and Datasette's table page."""

from __future__ import annotations

import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
# The page tells its server what was done to it: that is how a run is known to have worked, through whichever system it went.
_SCRIPT = """
const state = { typed: '', scroll: 0, clicks: 0 };
const tell = () => fetch('/state' + location.search, { method: 'POST', body: JSON.stringify(state), keepalive: true });
let timer = 0;
document.querySelector('input').addEventListener('input', event => { state.typed = event.target.value; tell(); });
addEventListener('scroll', () => { clearTimeout(timer); timer = setTimeout(() => { state.scroll = Math.round(scrollY); tell(); }, 120); });
document.querySelector('button').addEventListener('click', () => { state.clicks += 1; document.querySelector('aside').classList.toggle('open'); tell(); });
"""


def text_page() -> str:
    """Return the text page: the same at every call."""
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
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Reports</title><link rel=icon href='data:,'><style>{_STYLE}</style>"
        f"<header><b>Reports</b><span>Finance / Quarterly</span><button>Details</button></header><nav>{links}</nav>"
        f"<main><h1>Quarterly review</h1><input aria-label=Filter autocomplete=off spellcheck=false>{''.join(parts)}</main>"
        f"<aside><b>Details</b>{paragraph()}</aside><script>{_SCRIPT}</script></html>"
    )


class TextSite:
    """Serves the text page on loopback and keeps what it says of itself, by run."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self._page = text_page().encode()
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

    def note(self, run: str, state: dict[str, Any]) -> None:
        """Keep the furthest state of a run: two reports may overtake each other."""
        before = self.states.setdefault(run, {"typed": "", "scroll": 0, "clicks": 0})
        self.states[run] = {
            "typed": max(before["typed"], str(state["typed"]), key=len),
            "scroll": max(before["scroll"], int(state["scroll"])),
            "clicks": max(before["clicks"], int(state["clicks"])),
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if urlsplit(self.path).path == "/":
                    self._answer(200, site._page, "text/html; charset=utf-8")
                else:
                    self._answer(404, b"", "text/plain")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                run = parse_qs(urlsplit(self.path).query).get("run", [""])[0]
                site.note(run, json.loads(body))
                self._answer(204, b"", "text/plain")

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.send_header("cache-control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            @override
            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler
