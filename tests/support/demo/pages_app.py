"""An app of the tests' own behind the router: a page with dialogs, windows and fields, and a page that attacks."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.attacks import ATTACKS

STYLE = """<style>
body { margin: 0; font: 16px sans-serif; background: #fff; color: #000 }
.at { position: absolute; left: 20px; width: 300px; height: 40px; box-sizing: border-box; font-size: 16px }
#result { position: absolute; left: 400px; top: 20px; font-size: 20px }
</style>"""

TOOLS = """<!doctype html><meta charset=utf-8><title>Toolbox</title>{style}
<button class=at style="top:20px" onclick="say(alert('Sums & <b>things</b>'))">alert</button>
<button class=at style="top:80px" onclick="say(confirm('Really?'))">confirm</button>
<button class=at style="top:140px" onclick="say(prompt('Which month?', 'May'))">prompt</button>
<button class=at style="top:200px" onclick="window.open('/window?of=tools')">window</button>
<a class=at style="top:260px" href="/window?of=link" target="_blank">link</a>
<input class=at style="top:320px" id=field oninput="say(this.value)">
<input class=at style="top:380px" value="copied in the page" id=source>
<select class=at style="top:440px" onchange="say(this.value)"><option>first<option>second<option>third</select>
<div id=result>-</div>
<script>const say = value => { const text = String(value); document.getElementById('result').textContent = text; document.title = "Toolbox: " + text;
  fetch('/say', {method: 'POST', body: text}); };</script>"""

WINDOW = "<!doctype html><meta charset=utf-8><title>A window</title>{style}<h1>A window</h1>"

ATTACK = """<!doctype html><meta charset=utf-8><title>Attacking</title><body><script>{attacks}
(async () => {{
  const results = {{}};
  await Promise.all({some_ways}.map(async ([host, port]) => {{
    const at = host + ':' + port, image = new Image(), loaded = event(image, 'load', 'error');
    image.src = 'http://' + at + '/image';
    results[host] = {{
      fetch: await settle(fetch('http://' + at + '/fetch', {{mode: 'no-cors'}}), 4000),
      ws: await settle(event(new WebSocket('ws://' + at + '/socket'), 'open', 'error'), 4000),
      image: await settle(loaded, 4000),
    }};
  }}));
  for (const [host, port] of {every_way}) results[host] = {{...results[host], ...await attack(host, port)}};
  await fetch('/report', {{method: 'POST', body: JSON.stringify(results)}});
  document.title = 'Attacked';
}})();
</script>"""

WORKER = "oninstall = e => { skipWaiting(); e.waitUntil(fetch(decodeURIComponent(location.search.slice(4)), {mode: 'no-cors'}).catch(() => 0)); };"


@dataclass
class PagesApp:
    """The running app. ``every_way`` and ``some_ways``: hosts and ports that the attacking page tries. ``said``: what the page told; ``reports``: what it found."""

    every_way: list[tuple[str, int]] = field(default_factory=list)
    some_ways: list[tuple[str, int]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    reports: list[dict[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> Self:
        app = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                pass

            def do_GET(self) -> None:
                status, kind, body, more = app.page(self.path)
                self._answer(status, kind, body, more)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
                if self.path == "/say":
                    app.said.append(body)
                elif self.path == "/report":
                    app.reports.append(json.loads(body))
                self._answer(200, "text/plain", "thanks", {})

            def _answer(self, status: int, kind: str, body: str, more: dict[str, str]) -> None:
                content = body.encode()
                self.send_response(status)
                headers = {
                    "Content-Type": f"{kind}; charset=utf-8",
                    "Content-Length": str(len(content)),
                    "Cache-Control": "no-store",
                }
                for name, value in (headers | more).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _attack(self) -> str:
        return ATTACK.format(attacks=ATTACKS, some_ways=json.dumps(self.some_ways), every_way=json.dumps(self.every_way))

    def page(self, target: str) -> tuple[int, str, str, dict[str, str]]:
        """Return status, type, body and further headers for one target."""
        parts = urlsplit(target)
        match parts.path:
            case "/":
                return (
                    200,
                    "text/html",
                    TOOLS.replace("{style}", STYLE),
                    {"Set-Cookie": "tools-cookie=a-cookie-of-the-app-itself; HttpOnly"},
                )
            case "/window":
                return 200, "text/html", WINDOW.replace("{style}", STYLE), {}
            case "/attack":
                return 200, "text/html", self._attack(), {}
            case "/redirect":
                return 302, "text/plain", "", {"Location": unquote(parts.query.partition("to=")[2])}
            case "/goto":
                to = json.dumps(parse_qs(parts.query)["to"][0])
                return 200, "text/html", f"<!doctype html><title>Leaving</title><script>location = {to}</script>", {}
            case "/worker.js":
                return 200, "text/javascript", WORKER, {"Service-Worker-Allowed": "/"}
            case _:
                return 404, "text/plain", "no such page", {}
