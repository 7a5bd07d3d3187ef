"""What operators see: health and figures on a listener of their own, and logs that hold no secret."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.browsing import NAVIGATION
from tests.support.product import ALICE, BOB, DAVE, Product, eventually
from tests.support.upstream import MARK


def test_health_is_told_on_its_own_listener(product: Product) -> None:
    alive = product.operations("/healthz")
    assert (alive.status_code, alive.text) == (200, "ok\n")
    ready = product.operations("/readyz")
    report = ready.json()
    # There is no renderer node in this deployment, and it says so: isolated people could not be served.
    assert ready.status_code == 503
    assert report["ready"] is False
    assert report["store"] == "ok"
    assert report["renderer_nodes"] == {"127.0.0.1:1": "down"}
    assert report["signals"]["entra-risk"]["status"] == "ok"
    assert report["signals"]["entra-risk"]["age_seconds"] < 60
    for answer in (alive, ready):
        assert answer.headers["cache-control"] == "no-store"
    assert product.operations("/").status_code == 404
    assert product.operations("/.isolation/certs").status_code == 404


def test_the_operations_listener_takes_only_questions(product: Product) -> None:
    with socket.create_connection(("127.0.0.1", product.operations_port), 10) as raw:
        raw.sendall(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 405")
    with socket.create_connection(("127.0.0.1", product.operations_port), 10) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: data.localhost\r\nConnection: close\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_people_cannot_reach_it(product: Product, path: str) -> None:
    for host in (f"auth.localhost:{product.port}", f"nothing.localhost:{product.port}", "127.0.0.1", "localhost"):
        answer = product.raw().ask(f"GET {path} HTTP/1.1", host=host)
        assert answer.startswith(b"HTTP/1.1 404"), (host, answer)
        assert b"isolation_" not in answer
        assert b"renderer_nodes" not in answer
    # On an app's host these addresses are the app's own.
    assert product.raw("data").ask(f"GET {path} HTTP/1.1").startswith(b"HTTP/1.1 401")
    assert MARK in product.browser(ALICE).get(product.url("data", path)).text


def figures(product: Product) -> dict[tuple[str, ...], float]:
    answer = product.operations("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_figures_parse_and_count(product: Product) -> None:
    alice, bob = product.browser(ALICE), product.browser(BOB)
    before = figures(product)
    for _ in range(3):
        alice.get(product.url("data"))
    bob.fetch(product.url("data"))
    alice.get(product.url("gone"))
    product.browser().get(product.url("open"))
    with alice.websocket() as websocket:
        assert websocket.recv(10) == MARK
        eventually(lambda: figures(product)["isolation_live_connections",] >= 1)
        after = figures(product)

    def grown(*key: str) -> float:
        return after.get(key, 0.0) - before.get(key, 0.0)

    assert grown("isolation_requests_total", "Data", "forward") == 4
    assert grown("isolation_requests_total", "Data", "isolate") == 1
    assert grown("isolation_requests_total", "Open", "bypass") == 1
    assert grown("isolation_failures_total", "upstream-down") + grown("isolation_failures_total", "connect-failed") >= 1
    assert after["isolation_signal_up", "entra-risk"] == 1
    assert after["isolation_signal_age_seconds", "entra-risk"] < 60
    # Nobody is named in them.
    assert not [key for key in after if any("@" in part or "contoso" in part for part in key)]


def test_logs_are_json_lines_without_secrets(product: Product) -> None:
    """Everything that could carry a secret carries one that nobody else uses; then the whole log of this run is searched for them."""
    alice = product.browser(ALICE)
    query = product.canary("query")
    cookie, bearer, body, form = (product.canary(kind) for kind in ("cookie", "bearer", "body", "form"))
    headers = {"authorization": f"Bearer {bearer}", "x-api-key": bearer, "referer": product.url("data", f"/from?key={query}")}
    for app in ("data", "gone", "open", "lab"):
        for path in ("/", "/nonsense", "/slow-not", "/early"):
            with contextlib.suppress(Exception):
                alice.get(product.url(app, f"{path}?token={query}&code={query}"), headers=headers)
    alice.client.cookies.set("appsession", cookie, domain="data.localhost")
    alice.fetch(product.url("data", "/echo"), "POST", content=body.encode(), headers=headers)
    alice.request("POST", product.url("gone", f"/form?secret={query}"), data={"password": form}, headers=NAVIGATION)
    with alice.websocket(path=f"/socket?ticket={query}", headers={"Authorization": f"Bearer {bearer}"}) as websocket:
        websocket.send(body)
        assert MARK in websocket.recv(10)
    browser = product.browser()
    for own in (
        "sign-in?to=",
        "complete?code=",
        "callback?state=x&code=",
        "callback?error=x&error_description=",
        "sign-out?token=",
    ):
        for host in ("auth", "data"):
            browser.get(product.url(host, f"/.isolation/{own}{query}"), headers=headers)
    browser.client.cookies.set("isolation", cookie, domain="data.localhost")
    browser.get(product.url("data", f"/?q={query}"))
    product.browser().sign_in(product.url("data", f"/refused?q={query}"), DAVE)
    product.browser().sign_in(product.url("data", f"/isolated?q={query}"), BOB)
    for line in (
        f"GET /bad path?{query} HTTP/1.1",
        f"GET http://[{query}/ HTTP/1.1",
        f"GE\x01T /?{query} HTTP/1.1",
        f"GET /../{query} HTTP/1.1",
    ):
        with contextlib.suppress(ConnectionResetError):
            product.raw().ask(line, f"Cookie: isolation={cookie}", f"X_Bad {bearer}")
    product.cli("users", "tag", "alice", "--risk", "low", "--for", "1m", "--reason", f"see https://x.example/?t={query}")

    product.assert_clean_logs()
    for line in product.log_text().splitlines():
        entry = json.loads(line)
        assert entry["event"]
        assert entry["level"] in {"debug", "info", "warning", "error", "critical"}
        assert entry["time"].endswith("Z")
        assert entry["process"] in {"supervisor", "worker", "sync"}
    # The audit log keeps none of them either.
    entries = json.dumps(product.audit("--limit", "10000"))
    for secret in product.known_secrets():
        assert secret not in entries


def test_the_store_holds_no_cookie_and_no_token(product: Product) -> None:
    """Whoever steals the file can sign in nowhere with it."""
    alice = product.browser(ALICE)
    alice.get(product.url("lab"))
    content = b"".join(path.read_bytes() for path in product.state_dir.glob("isolation.db*"))
    codes = [value for response in alice.trail for value in response.url.params.get_list("code")]
    assert len(codes) >= 3  # the provider's, and one hand-off for each app
    for secret in (*codes, product.tenant.client_secret, product.deployment_secret()):
        assert secret.encode() not in content
    for host in ("auth.localhost", "data.localhost", "lab.localhost"):
        identifier = alice.cookie(host).partition(".")[0]
        assert len(identifier) > 20
        assert identifier.encode() not in content


def test_only_the_owner_reads_the_state(product: Product) -> None:
    for path in product.state_dir.glob("isolation.db*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (product.state_dir / "secret.key").stat().st_mode & 0o077 == 0


def test_no_secret_stands_on_a_command_line_or_in_an_environment(product: Product) -> None:
    for process in product.family():
        text = " ".join(process.cmdline()) + json.dumps(process.environ())
        for secret in (product.deployment_secret(), product.tenant.client_secret):
            assert secret not in text
