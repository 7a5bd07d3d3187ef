"""The real product under test: ``isolation serve`` as a subprocess, in front of a recording upstream, signed in by the built-in tenant.

Hosts are ``*.localhost`` on a free loopback port, so nothing outside this machine is asked for anything. :meth:`Product.stop` checks what must hold
for every run: each log line is JSON, and none holds a secret that this module knows of.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import jwt
import psutil
import structlog
import yaml
from click.testing import Result
from typer.testing import CliRunner

from isolation.cli import context
from isolation.cli.main import app as command_line
from isolation.clock import SystemClock
from isolation.store.database import Store
from isolation.testing.tenant import people
from isolation.testing.tenant.server import Tenant
from tests.support.browsing import Browser, Raw
from tests.support.ports import free_ports
from tests.support.upstream import Seen, Upstream

BOUND = 20.0  # no single wait of a test takes longer; it fails instead
START_BOUND = 60.0  # the first start compiles bytecode
POLL = 1.0  # seconds between polls of the tenant: the least that Graph's limits allow

ALICE, BOB, CAROL, DAVE, ERIN = (f"{name}@contoso.example" for name in ("alice", "bob", "carol", "dave", "erin"))

STAFF = {"name": "Staff", "decision": "allow", "include": [{"azureAD": {"id": people.EMPLOYEES, "name": "Employees"}}]}
OUTSIDE = {
    "name": "Contractors",
    "decision": "allow",
    "include": [{"azureAD": {"id": people.CONTRACTORS, "name": "Contractors"}}],
}
PUBLIC = {"name": "Public", "decision": "bypass", "include": [{"everyone": {}}]}
HEADERS = {"email": "X-Forwarded-Email", "name": "X-Staff-Name", "user_id": "X-Staff-Id", "groups": "X-Staff-Groups"}


@dataclass(frozen=True)
class AppSpec:
    """One app of the configuration. ``port`` None: the product's upstream."""

    name: str
    policies: Sequence[Mapping[str, Any]] = (STAFF, OUTSIDE)
    identity_headers: Mapping[str, str] = field(default_factory=dict)
    response_timeout: str = "20s"
    port: int | None = None

    @property
    def host(self) -> str:
        return f"{self.name.lower()}.localhost"


HOUSE = (
    AppSpec("Data", identity_headers=HEADERS),
    AppSpec("Lab"),
    AppSpec("Open", policies=(PUBLIC,), identity_headers=HEADERS),
    AppSpec("Hasty", response_timeout="1s"),
    AppSpec("Gone", port=1),  # nothing listens on port 1
)


def eventually(condition: Callable[[], Any], what: str = "", bound: float = BOUND) -> Any:
    """Return the first true answer of ``condition``; fail when there is none in time."""
    end = time.monotonic() + bound
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, what or f"{condition} never held"
        time.sleep(0.02)


def command(config: Path, *arguments: str) -> Result:
    """Run a command in this process, and leave nothing of it behind."""
    logging = structlog.get_config()
    # Consoles read the terminal's width when they are made, and that was at some import.
    context.console.width = context.errors.width = 240
    try:
        return CliRunner().invoke(command_line, ["--config", str(config), *arguments], env={"COLUMNS": "240"})
    finally:
        structlog.configure(**logging)
        context.invocation.config = None


class Product:
    """One deployment. A context manager; ``home`` is a directory of its own."""

    def __init__(
        self,
        home: Path,
        *,
        apps: Sequence[AppSpec] = HOUSE,
        stale_after: str = "2m",
        renderer: bool = False,
        tenant: Tenant | None = None,
        state_dir: Path | None = None,
        **settings: Any,
    ) -> None:
        self.home = home
        self.apps = tuple(apps)
        self.tenant = tenant or Tenant()
        self.upstream = Upstream()
        self.port, self.operations_port = free_ports(2)
        self.config = home / "isolation.yaml"
        self.state_dir = state_dir or home / "state"
        self.log_file = home / "log.jsonl"
        self.secrets: list[str] = []
        self.check_logs = True
        self.own_disk = False  # whether the state lies on a file system that may be filled up
        self.browsers: list[Browser] = []
        self._stale_after = stale_after
        self._renderer = renderer
        self._settings = settings
        self._collectors: list[subprocess.Popen[bytes]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()
        self._numbers = itertools.count(1)

    # ------------------------------------------------------------------ running

    def __enter__(self) -> Self:
        self._stack.enter_context(self.tenant)
        self._stack.enter_context(self.upstream)
        self.write_config()
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.stop()
        finally:
            for browser in self.browsers:
                browser.close()
            self._stack.close()
        if self.check_logs and kind is None:
            self.assert_clean_logs()

    def document(self) -> dict[str, Any]:
        """Return the configuration as plain values."""
        config: dict[str, Any] = {
            "client_id": self.tenant.client_id,
            "client_secret": "file:client-secret.txt",
            "directory_id": self.tenant.tenant_id,
            "cloud": {"login": self.tenant.base_url, "graph": self.tenant.base_url},
        }
        document: dict[str, Any] = {
            "auth_host": "auth.localhost",
            "public_scheme": "http",
            "public_port": self.port,
            "listen": f"127.0.0.1:{self.port}",
            "operations_listen": f"127.0.0.1:{self.operations_port}",
            "state_dir": str(self.state_dir),
            "identity_providers": [{"name": "Entra", "type": "azureAD", "config": config}],
            "apps": [self._app(spec) for spec in self.apps],
            "isolation": [
                {"name": "High-risk users", "include": [{"user_risk": {"at_least": "high"}}], "controls": {"clipboard": "none"}},
                {
                    "name": "Contractors",
                    "include": [{"azureAD": {"id": people.CONTRACTORS, "name": "Contractors"}}],
                    "controls": {"clipboard": "to_app"},
                },
            ],
            "risk": {"unknown": "isolate", "stale_after": self._stale_after, "poll_interval": POLL},
            "groups": {"refresh_interval": "2s"},
            "log": {"format": "json"},
        }
        if not self._renderer:
            # A node that is never there: these tests need no Chromium, and none is started.
            document["renderer"] = {"nodes": [{"address": "127.0.0.1:1", "token": "no-such-node-no-such-node"}]}
        return copy.deepcopy(document | self._settings)  # whoever changes it changes no other

    def _app(self, spec: AppSpec) -> dict[str, Any]:
        return {
            "name": spec.name,
            "domain": spec.host,
            "upstream": f"http://127.0.0.1:{spec.port or self.upstream.port}",
            "policies": list(spec.policies),
            "response_timeout": spec.response_timeout,
            "connect_timeout": "2s",
            "identity_headers": dict(spec.identity_headers),
        }

    def write_config(self, document: Mapping[str, Any] | None = None) -> None:
        """Write the configuration file, whole or not at all."""
        (self.home / "client-secret.txt").write_text(self.tenant.client_secret)
        draft = self.home / "isolation.yaml.new"
        draft.write_text(yaml.safe_dump(dict(document or self.document()), sort_keys=False))
        draft.replace(self.config)

    def start(self, *, wait: bool = True) -> None:
        """Start ``isolation serve`` and wait until it answers."""
        with self.log_file.open("ab") as log:
            # Logs go through a pipe, as in a container: a limit on the size of files must not touch them.
            collector = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "isolation", "--config", str(self.config), "serve"],
            stdin=subprocess.DEVNULL,
            stdout=collector.stdin,
            stderr=collector.stdin,
            cwd=Path(__file__).parents[2],
        )
        assert collector.stdin is not None
        collector.stdin.close()
        self._collectors.append(collector)
        if wait:
            self.wait_for("/readyz" if self._renderer else "/healthz")
            # The first complete poll: before it every risk is unknown, and everybody is isolated.
            eventually(
                lambda: self.operations("/readyz").json()["signals"].get("entra-risk", {}).get("status") == "ok",
                self.tail(),
                START_BOUND,
            )

    def wait_for(self, path: str) -> None:
        """Wait until a path of the operations listener answers with 200."""

        def up() -> bool:
            assert self._process is None or self._process.poll() is None, f"isolation serve ended:\n{self.tail()}"
            with contextlib.suppress(httpx.TransportError):
                return self.operations(path).status_code == 200
            return False

        eventually(up, f"{path} never answered with 200", START_BOUND)

    def stop(self) -> None:
        """End it as Ctrl-C does; nothing may be left."""
        process = self._process
        if process is None:
            return
        family = self.family()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(BOUND) == 0, self.tail()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(BOUND)
            self._process = None
        self.assert_gone(family)

    def assert_gone(self, family: Sequence[psutil.Process]) -> None:
        """Check that none of these is left, and that nobody holds the log open."""
        _, left = psutil.wait_procs(list(family), 5)
        for orphan in left:
            orphan.kill()
        assert not left, f"still running: {left}"
        for collector in self._collectors:
            collector.wait(BOUND)
        self._collectors.clear()

    @property
    def running(self) -> bool:
        """Say whether it was started, and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the supervisor's process id."""
        assert self._process is not None
        return self._process.pid

    def pids(self, name: str) -> list[int]:
        """Return the process ids a child had so far, the newest last: ``worker-0``, ``sync``, ``renderer``."""
        return [line["pid"] for line in self.logs("process.started") if line["name"] == name]

    def hang_up(self) -> None:
        """Ask for the configuration to be read again."""
        os.kill(self.pid, signal.SIGHUP)

    def family(self) -> list[psutil.Process]:
        """Return every process below the supervisor."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.pid).children(recursive=True))
        return []

    def kill(self) -> None:
        """End the supervisor as nobody should: kill -9. Its children have to notice by themselves."""
        assert self._process is not None
        family = self.family()
        self._process.kill()
        self._process.wait(BOUND)
        self._process = None
        self.assert_gone(family)

    # ------------------------------------------------------------------ asking it

    def url(self, app: str, path: str = "/") -> str:
        """Return a public URL: of an app by its name, or ``auth``."""
        return f"http://{app.lower()}.localhost:{self.port}{path}"

    def browser(self, person: str | None = None, app: str = "data") -> Browser:
        """Return a new browser, signed in to an app when ``person`` is given."""
        browser = Browser(self.port, self.tenant)
        self.browsers.append(browser)
        if person is not None:
            browser.sign_in(self.url(app), person)
        return browser

    def raw(self, app: str = "data", source: str = "127.0.0.1") -> Raw:
        """Return a plain connection to the public listener."""
        return Raw(f"{app.lower()}.localhost:{self.port}", self.port, source)

    def operations(self, path: str) -> httpx.Response:
        """Return an answer of the operations listener."""
        return httpx.get(f"http://127.0.0.1:{self.operations_port}{path}", trust_env=False, timeout=BOUND)

    def cli(self, *arguments: str, status: int = 0) -> str:
        """Run a command on this deployment's configuration; return its answer, or what it said when it should fail."""
        outcome = command(self.config, *arguments)
        assert outcome.exit_code == status, f"{outcome.output}\n{outcome.exception!r}"
        return outcome.output if status else outcome.stdout

    def audit(self, *arguments: str) -> list[dict[str, Any]]:
        """Return audit entries, newest first."""
        return [json.loads(line) for line in self.cli("audit", "list", *arguments).splitlines()]

    def newcomer(self, name: str, *, group: str | None = "Employees", risk: str | None = None) -> str:
        """Add somebody to the tenant whom no other test knows; return their e-mail address."""
        number = next(self._numbers)
        handle = f"{name}{number}"
        self.tenant.directory.add_user(
            f"7e570000-0000-4000-8000-{number:012x}", handle, name.capitalize(), role="New here", risk=risk
        )
        if group is not None:
            self.tenant.directory.add_member(group, handle)
        return f"{handle}@{people.DOMAIN}"

    def key_of(self, email: str) -> str:
        """Return the person key of somebody in the tenant."""
        return self.tenant.person_key(email)

    def keys(self) -> dict[str, Any]:
        """Return the published keys, by key id."""
        document = httpx.get(
            f"http://127.0.0.1:{self.port}/.isolation/certs", headers={"host": f"auth.localhost:{self.port}"}, trust_env=False
        ).json()
        return {key["kid"]: jwt.PyJWK(key) for key in document["keys"]}

    def assertion(self, seen: Seen, app: str = "Data") -> dict[str, Any]:
        """Return the claims of the one assertion in a request that the upstream got, verified as an app would."""
        [token] = seen.values("x-isolation-jwt-assertion")
        head = jwt.get_unverified_header(token)
        assert head["alg"] == "RS256"
        claims: dict[str, Any] = jwt.decode(
            token,
            self.keys()[head["kid"]].key,
            algorithms=["RS256"],
            audience=self.audience(app),
            issuer=self.url("auth", ""),
            options={"require": ["exp", "iat", "nbf", "aud", "iss", "sub"]},
        )
        return claims

    def audience(self, app: str) -> str:
        """Return an app's audience tag, as an operator finds it in the documentation: it follows from two names."""
        return hashlib.sha256(f"auth.localhost\n{app}".encode()).hexdigest()

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        """Open the deployment's store beside the running processes."""
        store = Store.open(f"sqlite:///{self.state_dir}/isolation.db", clock=SystemClock())
        try:
            yield store
        finally:
            store.close()

    def deployment_secret(self) -> str:
        return (self.state_dir / "secret.key").read_text().strip()

    def canary(self, kind: str) -> str:
        """Return a value that must never be in a log."""
        value = f"canary-{kind}-{os.urandom(8).hex()}"
        self.secrets.append(value)
        return value

    # ------------------------------------------------------------------ logs

    def log_text(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def tail(self) -> str:
        return self.log_text()[-4000:]

    def logs(self, event: str | None = None, since: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """Return log lines with this event and these fields. ``since``: a place in the file, from :meth:`mark`."""
        found = []
        for line in self.log_text()[since:].splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if (event is None or entry.get("event") == event) and all(
                    entry.get(key) == value for key, value in fields.items()
                ):
                    found.append(entry)
        return found

    def mark(self) -> int:
        """Return the present end of the log, once what has been written so far has come through the pipe."""
        size = -1
        while size != (size := len(self.log_text())):
            time.sleep(0.05)
        return size

    def known_secrets(self) -> list[str]:
        """Return everything that must not be in a log: canaries, cookies, tokens, codes, the deployment's own secrets."""
        secrets = [*self.secrets, self.tenant.client_secret, self.deployment_secret()]
        for browser in self.browsers:
            secrets += browser.secrets
        return [secret for secret in secrets if len(secret) >= 12]

    def assert_clean_logs(self) -> None:
        """Check that every line is one JSON object and that none holds a secret."""
        text = self.log_text()
        for line in text.splitlines():
            assert isinstance(_json(line), dict), f"not a JSON object: {line[:300]}"
            assert not re.search(r"\beyJ[\w-]{10,}\.", line), f"a token: {line[:300]}"
        for secret in self.known_secrets():
            assert secret not in text, f"a secret is in the logs: {[line for line in text.splitlines() if secret in line][:2]}"


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
