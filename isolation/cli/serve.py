"""``isolation serve``: the supervisor of router workers, directory sync and the local renderer node."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from isolation import tokens
from isolation.audit.events import configuration_applied
from isolation.cli import logs
from isolation.cli.bootstrap import Bootstrap, LocalNode, free_port, listener
from isolation.cli.context import operator
from isolation.cli.supervisor import Spec, Supervisor
from isolation.clock import SystemClock
from isolation.egress.certificates import new_key
from isolation.errors import StoreError
from isolation.settings import load
from isolation.settings.model import Settings
from isolation.store.audit import AuditLog
from isolation.store.database import Store
from isolation.wiring.state import deployment_secret, prepare_state

log = structlog.get_logger()

NEEDS_RESTART = (
    "listen",
    "operations_listen",
    "egress_listen",
    "state_dir",
    "store",
    "workers",
    "nodes",
    "secret",
    "renderer_capacity",
    "renderer_warm",
    "renderer_limits",
)
"""Settings that processes or listeners are made with that outlive a change of configuration."""


class Deployment:
    """The processes of one running configuration. ``text``: what ``settings`` were read from; children read it again, not the file."""

    def __init__(self, path: Path, settings: Settings, text: str, *, extra: Sequence[Spec] = ()) -> None:
        allow_open_files()
        self.path = path
        self.settings = settings
        self._text = text
        self._applying = asyncio.Lock()
        self._stopping = False
        prepare_state(settings)
        self._secret = deployment_secret(settings)
        self._gateway_key = new_key().decode()
        self._sockets: dict[str, socket.socket] = {}
        for name, address, what in (
            ("public", settings.listen, "listen"),
            ("operations", settings.operations_listen, "operations_listen"),
            ("egress", settings.egress_listen, "egress_listen"),
        ):
            self._sockets[name] = listener(address, what)
        self._node = None if settings.nodes else LocalNode("127.0.0.1", free_port(), tokens.new_secret())
        self._metrics = self.settings.state_dir / "run" / "metrics" if settings.workers > 1 else None
        if self._metrics is not None:
            # prometheus-client's own way of adding up the figures of several processes; nothing is carried over from the last run.
            self._metrics.mkdir(parents=True, exist_ok=True)
            for stale in self._metrics.glob("*.db"):
                stale.unlink(missing_ok=True)
        self.supervisor = Supervisor([*extra, *self._specs()], SystemClock(), gone=self._forget_figures)

    async def run(self) -> None:
        """Start everything, and stay until SIGINT or SIGTERM; SIGHUP applies a changed configuration."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        reloads: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = loop.create_task(self.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        try:
            await self.start()
            await stop.wait()
        finally:
            await self.stop()

    async def start(self) -> None:
        """Write down which configuration is in force, and start every process."""
        try:
            await self._record(self._text, self.settings)
        except StoreError as error:
            # The workers cannot run without the store either; they try again until it is there.
            log.error("configuration.not-recorded", error=str(error))
        await self.supervisor.start()

    async def stop(self) -> None:
        """End every process and free the listeners."""
        self._stopping = True
        async with self._applying:
            await self.supervisor.stop()
        for sock in self._sockets.values():
            sock.close()

    async def reload(self) -> None:
        """Apply the file as it is now, as a whole or not at all."""
        async with self._applying:
            if not self._stopping:
                await self._apply()

    async def _apply(self) -> None:
        loaded = load.load(self.path)
        fresh = loaded.settings
        try:
            await self._record(loaded.text, fresh, len(loaded.errors))
        except StoreError as error:
            log.error("configuration.refused", file=str(self.path), problems=[f"it cannot be written to the audit log: {error}"])
            return
        if fresh is None:
            log.error("configuration.refused", file=str(self.path), problems=loaded.report().splitlines())
            return
        changed = [name for name in NEEDS_RESTART if getattr(fresh, name) != getattr(self.settings, name)]
        if changed:
            log.error("configuration.needs-restart", settings=changed, file=str(self.path))
            return
        self.settings, self._text = fresh, loaded.text
        for spec in self._specs():
            if spec.name != "renderer":
                await self.supervisor.restart(spec.name, spec)
        log.info("configuration.applied", file=str(self.path))

    async def _record(self, text: str, settings: Settings | None, problems: int = 0) -> None:
        """Write to the audit log that a configuration is applied, or refused. Raises StoreError."""
        apps = [app.name for app in settings.apps] if settings is not None else []
        changed = [name for name in NEEDS_RESTART if settings and getattr(settings, name) != getattr(self.settings, name)]
        clock = SystemClock()
        event = configuration_applied(
            at=clock.now(),
            actor=operator(),
            file=str(self.path),
            digest=hashlib.sha256(text.encode()).hexdigest(),
            apps=apps,
            problems=problems + len(changed),
        )
        store = Store.open(self.settings.store, clock=clock)
        try:
            await AuditLog(store).record(event)
        finally:
            store.close()

    def _bootstrap(self, *, sockets: bool = True) -> bytes:
        return Bootstrap(
            file=str(self.path.resolve()),
            text=self._text,
            secret=self._secret,
            gateway_key=self._gateway_key if sockets else "",
            sockets={name: sock.fileno() for name, sock in self._sockets.items()} if sockets else {},
            node=self._node if sockets else None,
        ).encode()

    def _forget_figures(self, _name: str, pid: int) -> None:
        """Take a process that has ended out of the sums over live processes; what it counted stays."""
        if self._metrics is not None:
            for file in self._metrics.glob(f"gauge_live*_{pid}.db"):
                file.unlink(missing_ok=True)

    def _specs(self) -> list[Spec]:
        command = [sys.executable, "-m", "isolation"]
        descriptors = [sock.fileno() for sock in self._sockets.values()]
        env = {"PROMETHEUS_MULTIPROC_DIR": str(self._metrics)} if self._metrics is not None else {}
        specs = []
        node = self._node
        if node is not None:
            specs.append(
                Spec(
                    "renderer",
                    [
                        sys.executable,
                        "-m",
                        "renderer",
                        "--listen",
                        f"{node.host}:{node.port}",
                        "--runtime-dir",
                        str(self.settings.state_dir / "run" / "renderer"),
                        "--capacity",
                        str(self.settings.renderer_capacity),
                        "--warm",
                        str(self.settings.renderer_warm),
                        *self.settings.renderer_limits.arguments(),
                        "--hide",
                        str(self.settings.state_dir),
                        "--exit-with-parent",
                    ],
                    node.token.encode,
                    spare=True,
                )
            )
        specs += [
            Spec(f"worker-{number}", [*command, "worker"], self._bootstrap, pass_fds=descriptors, env=env, says_ready=True)
            for number in range(self.settings.workers)
        ]
        specs.append(Spec("sync", [*command, "sync", "--supervised"], lambda: self._bootstrap(sockets=False)))
        return specs


def allow_open_files() -> None:
    """Raise the limit on open files as far as an ordinary process may; children inherit it.

    Login shells and systemd start processes with 1024, for programs that still use select(2): that is some five hundred people with one
    connection each, and one to their app.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def serve(config: Path) -> None:
    """Run the product until it is told to stop. Raises :class:`ConfigurationError`."""
    settings, text = load.require_with_text(config)
    logs.configure("supervisor", level=settings.log_level, style=settings.log_format)
    os.umask(0o077)  # nothing we write is for other accounts
    deployment = Deployment(config, settings, text)
    log.info("starting", url=settings.auth_origin, apps=[settings.origin(app.domain) for app in settings.apps])
    asyncio.run(deployment.run())
