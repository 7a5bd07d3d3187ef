"""``isolation serve``: the supervisor of router workers, directory sync and the local renderer node."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from isolation import tokens
from isolation.cli import logs
from isolation.cli.bootstrap import Bootstrap, LocalNode, free_port, listener
from isolation.cli.supervisor import Spec, Supervisor
from isolation.clock import SystemClock
from isolation.egress.certificates import new_key
from isolation.settings import load
from isolation.settings.model import Settings
from isolation.wiring import deployment_secret, prepare_state

log = structlog.get_logger()


class Deployment:
    """The processes of one running configuration."""

    def __init__(self, path: Path, settings: Settings, *, extra: Sequence[Spec] = ()) -> None:
        self.path = path
        self.settings = settings
        self._text = path.read_text(encoding="utf-8")
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
        self.supervisor = Supervisor([*extra, *self._specs()], SystemClock())

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
            await self.supervisor.start()
            await stop.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End every process and free the listeners."""
        await self.supervisor.stop()
        for sock in self._sockets.values():
            sock.close()

    async def reload(self) -> None:
        """Apply the file as it is now, as a whole or not at all."""
        loaded = load.load(self.path)
        if loaded.settings is None:
            log.error("configuration.refused", file=str(self.path), problems=loaded.report().splitlines())
            return
        fixed = ("listen", "operations_listen", "egress_listen", "state_dir", "store", "workers", "nodes", "secret")
        changed = [name for name in fixed if getattr(loaded.settings, name) != getattr(self.settings, name)]
        if changed:
            log.error("configuration.needs-restart", settings=changed, file=str(self.path))
            return
        self.settings = loaded.settings
        self._text = self.path.read_text(encoding="utf-8")
        for spec in self._specs():
            if spec.name != "renderer":
                await self.supervisor.restart(spec.name, spec)
        log.info("configuration.applied", file=str(self.path))

    def _bootstrap(self, *, sockets: bool = True) -> bytes:
        return Bootstrap(
            file=str(self.path.resolve()),
            text=self._text,
            secret=self._secret,
            gateway_key=self._gateway_key if sockets else "",
            sockets={name: sock.fileno() for name, sock in self._sockets.items()} if sockets else {},
            node=self._node if sockets else None,
        ).encode()

    def _specs(self) -> list[Spec]:
        command = [sys.executable, "-m", "isolation"]
        descriptors = [sock.fileno() for sock in self._sockets.values()]
        env: dict[str, str] = {}
        if self.settings.workers > 1:
            # prometheus-client's own way of adding up the figures of several processes.
            metrics = self.settings.state_dir / "run" / "metrics"
            metrics.mkdir(parents=True, exist_ok=True)
            for stale in metrics.glob("*.db"):
                stale.unlink(missing_ok=True)
            env["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
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
                        "--exit-with-parent",
                    ],
                    node.token.encode,
                )
            )
        specs += [
            Spec(f"worker-{number}", [*command, "worker"], self._bootstrap, pass_fds=descriptors, env=env)
            for number in range(self.settings.workers)
        ]
        specs.append(Spec("sync", [*command, "sync", "--supervised"], lambda: self._bootstrap(sockets=False)))
        return specs


def serve(config: Path) -> None:
    """Run the product until it is told to stop. Raises :class:`ConfigurationError`."""
    settings = load.require(config)
    logs.configure("supervisor", level=settings.log_level, style=settings.log_format)
    os.umask(0o077)  # nothing we write is for other accounts
    deployment = Deployment(config, settings)
    log.info("starting", url=settings.auth_origin, apps=[settings.origin(app.domain) for app in settings.apps])
    asyncio.run(deployment.run())
