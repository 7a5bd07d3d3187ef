"""What an isolated person's own browser receives and sends, byte for byte, against what the apps served."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, WebSocket, expect

from renderer.wire import messages as m
from renderer.wire.codec import decode_from_renderer
from tests.support.demo.deployment import Deployment
from tests.support.demo.person import Box, Person, picture, run_cell, until
from tests.support.demo.recorder import Response, shared
from tests.support.demo.running import CHECKOUT, Demo

pytestmark = [pytest.mark.browser, pytest.mark.demo, pytest.mark.timeout(240)]

AGENT = "Mozilla/5.0 (the person's own browser) Chrome/150"
OWN_COOKIES = {"isolation", "isolation-flow", "isolation-hint"}


def own_files() -> list[bytes]:
    """Return everything that the product itself may send to anybody."""
    folders = [CHECKOUT / "isolation" / "web", CHECKOUT / "templates"]
    return [path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


EVERYBODY_S = [
    b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
    b'<link rel="stylesheet" href="/',
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00 \x00\x00\x00 \x08\x06\x00\x00\x00szz\xf4",  # begins every icon of 32 by 32
]
"""Openings of files that say nothing about whose they are."""


def texts(messages: list[m.FromRenderer]) -> tuple[set[str], set[str]]:
    """Return the titles and the addresses (of the page, and of the link under the pointer) that the stream told as text."""
    titles = {message.text for message in messages if isinstance(message, m.Title)}
    links = {message.text for message in messages if isinstance(message, m.LinkHint)}
    return titles, links | {message.path for message in messages if isinstance(message, m.Location)}


def cookies(response: Response) -> list[tuple[str, str]]:
    """Return name and value of each cookie that a response sets."""
    lines = [value.partition(";")[0] for name, value in response.headers if name == "set-cookie"]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def work(bob: Person, deployment: Deployment, demo: Demo, straight: Page) -> None:
    """Use both apps."""
    straight.goto(f"{demo.datasette}/payments/suppliers")
    bob.sees("suppliers", picture(straight), Box(0, 0, 1280, 640))
    bob.click(Box.of(straight.locator("table.rows-and-columns tbody tr").nth(2).get_by_role("link").first))
    until(bob.page, "the row", lambda: bob.page.url.endswith("/payments/suppliers/3"))
    bob.page.go_back()
    until(bob.page, "the table again", lambda: bob.page.url.endswith("/payments/suppliers"))

    notebook, example = demo.notebook("watched"), demo.notebook("example-watched")
    straight.goto(f"{demo.jupyter}/lab/workspaces/example-watched/tree/{example}")
    expect(straight.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")).to_be_visible()
    cell = Box.of(straight.locator(".jp-CodeCell .jp-InputArea-editor").first)
    before = picture(straight)
    output = straight.locator(".jp-OutputArea-output", has_text="total 9399.0")
    run_cell(straight, cell, lambda: output.count() > 0)
    after, result = picture(straight), Box.of(output)
    bob.open(f"{deployment.origin('lab')}/lab/workspaces/watched/tree/{notebook}")
    until(bob.page, "the kernel", lambda: any(one["execution_state"] == "idle" for one in demo.kernels(notebook)))
    bob.sees("the cell", before, cell)
    run_cell(bob.page, cell, lambda: bob.shows(after, result))


@pytest.mark.case(40, 61, 62)
def test_isolated_browser_receives_no_byte_of_the_app_and_sends_it_no_request(
    demo: Demo, deployment: Deployment, visit: Callable[..., Person], straight: Page
) -> None:
    deployment.forget()
    bob = visit("Bob Brennan", f"{deployment.origin('data')}/payments/suppliers", user_agent=AGENT)
    # From here on Playwright keeps what the browser itself decoded; the recorder in front of the router keeps the wire from the start.
    messages: list[m.FromRenderer] = []
    asked: list[str] = []

    def received(payload: bytes | str) -> None:
        assert isinstance(payload, bytes), "the stream is binary"
        messages.append(decode_from_renderer(payload))

    def opened(socket: WebSocket) -> None:
        asked.append(socket.url)
        socket.on("framereceived", received)

    bob.page.on("websocket", opened)
    bob.page.on("request", lambda request: asked.append(request.url))
    bob.page.reload()
    work(bob, deployment, demo, straight)

    # ---- what was asked for
    front = f"localhost:{deployment.front.port}"
    for url in asked:
        host, _, path = url.partition("://")[2].partition("/")
        assert host.endswith(front), url
        navigation = path.startswith(("payments", "lab/"))
        assert navigation or path.startswith(".isolation/") or url.startswith("data:"), url
    person_paths = {request.target for request in deployment.front.requests()}
    for recorder in (deployment.data, deployment.lab):
        requests = recorder.requests()
        assert requests, "the app was used"
        assert not [request.target for request in requests if AGENT in request.header("user-agent")]
        # Everything that the app was asked for came from one browser, the session's own on the server.
        assert len({request.header("user-agent") for request in requests}) == 1
    app_paths = {request.target for recorder in (deployment.data, deployment.lab) for request in recorder.requests()}
    both = {path for path in person_paths & app_paths if not path.startswith(("/payments", "/lab/workspaces/watched/"))}
    assert both <= {"/"}, both

    # ---- what was received
    served = [response for recorder in (deployment.data, deployment.lab) for response in recorder.responses()]
    kinds = {response.header("content-type").partition(";")[0] for response in served}
    assert {"text/html", "text/css", "application/json"} <= kinds, kinds
    assert any("javascript" in kind for kind in kinds), kinds
    assert sum(len(response.body) for response in served) > 1_000_000
    answers = deployment.front.responses()
    icons = [base64.b64decode(message.png) for message in messages if isinstance(message, m.Icon) and message.png]
    wire = [response.body for response in answers] + [
        paint.data for message in messages if isinstance(message, m.Frame) for paint in message.paints
    ]
    assert any(response.status == 101 and len(response.body) > 20_000 for response in answers), "the stream was recorded"

    # Title and address are told as text, on purpose; nothing else is.
    titles, addresses = texts(messages)
    assert {type(message) for message in messages} <= {
        m.Ready, m.Frame, m.Title, m.Location, m.Icon, m.Loading, m.Cursor, m.Notice, m.LinkHint, m.Editing,
    }  # fmt: skip
    origins = [f'"{deployment.origin(app)}"'.encode() for app in ("data", "lab", "tools")]
    told = origins + [text.encode() for text in titles | addresses | {unquote(address) for address in addresses}]
    common = shared([*wire, *icons], [response.body for response in served], [*own_files(), *EVERYBODY_S, *told])
    assert common == [], common

    # ---- cookies
    theirs = dict(cookie for response in served for cookie in cookies(response))
    assert "_xsrf" in theirs, "JupyterLab sets cookies"
    assert {name for response in answers for name, _ in cookies(response)} <= OWN_COOKIES
    assert not set(theirs) & {cookie["name"] for cookie in bob.page.context.cookies()}
    assert not [name for name, value in theirs.items() for body in wire if len(value) >= 8 and value.encode() in body]


def test_the_comparison_finds_an_app_s_bytes_where_there_are_some(deployment: Deployment, visit: Callable[..., Person]) -> None:
    """The control of the test above: somebody who passes straight through receives them, and is seen to ask."""
    deployment.forget()
    alice = visit("Alice Archer", f"{deployment.origin('data')}/payments/suppliers", user_agent=AGENT)
    assert not alice.isolated
    assert [request for request in deployment.data.requests() if AGENT in request.header("user-agent")]
    common = shared(
        [response.body for response in deployment.front.responses()],
        [response.body for response in deployment.data.responses()],
        own_files(),
    )
    assert any(b"Brenner Logistik" in run for run in common)


def ask(deployment: Deployment, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Ask the router as a program that is no browser."""
    connection = http.client.HTTPConnection("127.0.0.1", deployment.front.port, timeout=10)
    try:
        connection.request("GET", path, headers={"host": f"data.localhost:{deployment.front.port}", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


ATTEMPTS = """async origin => {
  const settle = promise => Promise.race([promise, new Promise(done => setTimeout(() => done('late'), 3000))]).then(String, error => 'no: ' + error.name);
  const text = async (...what) => { const answer = await fetch(...what); return answer.status + ' ' + (await answer.text()).slice(0, 2000); };
  const element = (tag, attributes) => new Promise(done => { const made = Object.assign(document.createElement(tag), attributes);
    made.onload = () => done('loaded'); made.onerror = () => done('error'); document.body.append(made); });
  const results = {};
  const jobs = {
    json: () => text('/payments/suppliers.json'),
    navigate: () => text('/payments', {headers: {accept: 'text/html'}}),
    post: () => text('/payments', {method: 'POST', body: 'sql=select+1'}),
    credentials: () => text(origin + '/payments.json', {credentials: 'include', cache: 'no-store'}),
    image: () => element('img', {src: '/-/static/favicon.png'}),
    style: () => element('link', {rel: 'stylesheet', href: '/-/static/app.css'}),
    script: () => element('script', {src: '/-/static/codemirror-5.57.0.min.js'}),
    frame: () => element('iframe', {src: '/payments'}),
    socket: () => new Promise(done => { const s = new WebSocket(origin.replace('http', 'ws') + '/api/events/subscribe'); s.onopen = () => done('open'); s.onerror = () => done('error'); }),
    worker: () => navigator.serviceWorker.register('/-/static/table.js'),
    beacon: () => navigator.sendBeacon('/payments', 'x'),
  };
  await Promise.all(Object.entries(jobs).map(async ([name, start]) => { try { results[name] = await settle(start()); } catch (error) { results[name] = 'no: ' + error.name; } }));
  return results;
}"""


@pytest.mark.case(61)
def test_isolated_browser_that_asks_past_the_viewer_gets_nothing_and_the_app_hears_nothing(
    deployment: Deployment, visit: Callable[..., Person]
) -> None:
    """Whoever holds the device can type into its console, or ask without a browser."""
    bob = visit("Bob Brennan", f"{deployment.origin('data')}/payments", user_agent=AGENT)
    bob.ready()
    until(bob.page, "the title", lambda: bob.page.title() == "payments")
    bob.page.wait_for_timeout(500)
    deployment.forget()
    results: dict[str, str] = bob.page.evaluate(ATTEMPTS, deployment.origin("data"))
    for name in ("json", "post", "credentials", "navigate"):
        assert results[name].startswith(("403", "no:")), (name, results[name])
        assert "Brenner" not in results[name]
    for name in ("image", "style", "script", "socket"):
        assert results[name].startswith(("error", "no:")), (name, results[name])
    assert results["frame"] in {"error", "loaded"} or results["frame"].startswith(
        "no:"
    )  # an empty document: the policy allows no frame
    assert results["worker"].startswith("no:"), results["worker"]

    # The same with the cookies and without the browser's own rules.
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in bob.page.context.cookies(deployment.origin("data")))
    for path, headers in (
        ("/payments.json", {}),
        ("/payments.json", {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}),
        ("/-/static/app.css", {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "style"}),
        ("/payments.json", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "accept": "text/html"}),
        ("/payments", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe", "accept": "text/html"}),
    ):
        status, body = ask(deployment, path, {**headers, "cookie": cookie})
        assert status == 403 or b'id="surface"' in body, (path, headers, status)
        assert b"Brenner" not in body
    assert deployment.data.bytes_up == 0, deployment.data.requests()
