"""The product itself: ``isolation serve`` with a written configuration, and a session of somebody who passes."""

from __future__ import annotations

import html
import http.client
import os
import re
import sys
import time
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

from bench.proxy.machines import LOAD_CORE, PROXY_CORE, Machine, MissingError, free_port, start, wait_for
from isolation.testing.tenant import people

HOST = "bench.localhost"
READY_SECONDS = 90.0

_CONFIGURATION = """
auth_host: auth.localhost
public_scheme: http
public_port: {port}
listen: 127.0.0.1:{port}
operations_listen: 127.0.0.1:{operations}
state_dir: {state}
identity_providers:
  - name: Entra
    type: azureAD
    config:
      client_id: {client_id}
      client_secret: env:BENCH_CLIENT_SECRET
      directory_id: {tenant_id}
      cloud: {{login: "http://localhost:{tenant}", graph: "http://localhost:{tenant}"}}
apps:
  - name: Bench
    domain: {host}
    upstream: http://127.0.0.1:{upstream}
    policies:
      - name: Blocked
        decision: deny
        include: [{{email: {{email: mallory@contoso.example}}}}]
      - name: Staff
        decision: allow
        include: [{{azureAD: {{id: {employees}, name: Employees}}}}]
        require: [{{login_method: {{id: Entra}}}}]
isolation:
  - name: High-risk users
    include: [{{user_risk: {{at_least: high}}}}]
  - name: Contractors
    include: [{{azureAD: {{id: {contractors}, name: Contractors}}}}]
risk: {{unknown: isolate}}
renderer:
  nodes: [{{address: "127.0.0.1:9", token: env:BENCH_NODE_TOKEN}}]
log: {{level: error}}
"""


def router(folder: Path, upstream_port: int) -> Machine:
    """Start the tenant and the router, sign alice in, and wait until she passes straight through."""
    ports = {"port": free_port(), "operations": free_port(), "tenant": free_port()}
    state = folder / "state"
    config = folder / "isolation.yaml"
    config.write_text(
        _CONFIGURATION.format(
            **ports,
            state=state,
            host=HOST,
            upstream=upstream_port,
            client_id=people.CLIENT_ID,
            tenant_id=people.TENANT_ID,
            employees=people.EMPLOYEES,
            contractors=people.CONTRACTORS,
        )
    )
    tenant_log, log = folder / "tenant.log", folder / "router.log"
    redirect = f"http://auth.localhost:{ports['port']}/.isolation/callback"
    tenant = start(
        [
            *(sys.executable, "-m", "isolation.testing.tenant", "--port", str(ports["tenant"]), "--redirect-uri", redirect),
            *("--base-url", f"http://localhost:{ports['tenant']}"),
        ],
        core=LOAD_CORE,
        log=tenant_log,
    )
    try:
        wait_for(ports["tenant"], tenant, tenant_log)
        process = start(
            [sys.executable, "-m", "isolation", "--config", str(config), "serve"],
            core=PROXY_CORE,
            log=log,
            env={"BENCH_CLIENT_SECRET": people.CLIENT_SECRET, "BENCH_NODE_TOKEN": "n" * 43},
        )
    except BaseException:
        tenant.kill()
        tenant.wait()
        raise
    machine = Machine("router, full decision of a known session", ports["port"], process, others=[tenant], host=HOST)
    try:
        wait_for(ports["port"], process, log)
        cookie = _sign_in(ports["port"])
        machine.headers = (f"Host: {HOST}:{ports['port']}", f"Cookie: {cookie}; theme=dark")
        _wait_until_passing(machine)
    except BaseException as error:
        machine.stop()
        raise MissingError(f"the router did not let alice pass: {error}\n{log.read_text(errors='replace')[-1500:]}") from error
    return machine


class _Browser:
    """As much of a browser as signing in takes. Every ``*.localhost`` is 127.0.0.1, without asking a resolver."""

    def __init__(self) -> None:
        self._cookies: dict[str, dict[str, str]] = {}

    def fetch(self, url: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Return status, address for the next step (where it redirects to, else its own) and text."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        headers = {"Host": parts.netloc, "Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        if jar := self._cookies.get(host):
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        body = None
        if form is not None:
            body = urlencode(form)
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"{parts.scheme}://{parts.netloc}"}
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=20)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET" if form is None else "POST", target, body, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        for value in response.headers.get_all("Set-Cookie") or []:
            name, _, content = value.partition(";")[0].partition("=")
            self._cookies.setdefault(host, {})[name] = content
        connection.close()
        location = response.headers.get("Location")
        return response.status, urljoin(url, location) if location else url, text

    def cookie(self, host: str) -> str:
        """Return the Cookie header for a host."""
        return "; ".join(f"{name}={value}" for name, value in self._cookies.get(host, {}).items() if not name.endswith("-flow"))


def _sign_in(port: int) -> str:
    browser = _Browser()
    url, form = f"http://{HOST}:{port}/", None
    for _ in range(12):
        status, url, text = browser.fetch(url, form)
        form = None
        if 300 <= status < 400:
            continue
        if 'name="page"' in text:  # the tenant's sign-in page
            action = re.search(r'action="([^"]+)"', text)
            page = re.search(r'name="page"[^>]*value="([^"]+)"', text) or re.search(r'value="([^"]+)"[^>]*name="page"', text)
            if action is None or page is None:
                break
            url, form = urljoin(url, html.unescape(action[1])), {"page": html.unescape(page[1]), "person": "alice"}
            continue
        if cookie := browser.cookie(HOST):
            return cookie
        raise MissingError(f"sign-in ended at {urlsplit(url).path} with {status}: {text[:300]}")
    raise MissingError("sign-in did not come to an end")


def _wait_until_passing(machine: Machine) -> None:
    """Wait until the first reading of risk and groups is in: before, everybody is isolated."""
    end = time.monotonic() + READY_SECONDS
    headers = dict(line.split(": ", 1) for line in machine.headers)
    seen = ""
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", machine.port, timeout=10)
        connection.request("GET", "/", headers={**headers, "Accept": "text/html", "Sec-Fetch-Mode": "navigate"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status == 200 and body == b"A" * 400:
            return
        seen = f"{response.status} {body[:200]!r}"
        time.sleep(0.2)
    raise MissingError(f"still not passing after {READY_SECONDS:.0f} s; last answer {seen}; pid {os.getpid()}")
