"""What the supervisor tells each of its processes on the first line of standard input."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from isolation.errors import ConfigurationError
from isolation.settings import document, load
from isolation.settings.model import Settings


@dataclass(frozen=True, slots=True)
class LocalNode:
    """Where the local renderer node listens, and its token."""

    host: str
    port: int
    token: str


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Configuration as it was accepted (not as the file may be now), secrets, inherited sockets.

    ``sockets``: file descriptors of the listeners by name. ``gateway_key``: PEM of the egress gateway's key.
    """

    file: str
    text: str
    secret: str
    gateway_key: str
    sockets: Mapping[str, int]
    node: LocalNode | None = None

    def encode(self) -> bytes:
        """Return one line of JSON, without its newline."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, line: bytes) -> Bootstrap:
        """Return the bootstrap in ``line``. Raises :class:`ConfigurationError`."""
        try:
            raw = json.loads(line)
            node = raw.pop("node")
            return cls(**raw, node=LocalNode(**node) if node else None)
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError("this command is started by `isolation serve`, which tells it what to do") from error

    def settings(self) -> Settings:
        """Return the checked settings. Raises :class:`ConfigurationError`."""
        loaded = load.check(document.parse(self.text, self.file), base=Path(self.file).resolve().parent)
        if loaded.settings is None:
            raise ConfigurationError(f"the configuration cannot be used:\n{loaded.report()}")
        return loaded.settings

    def socket(self, name: str) -> socket.socket:
        """Return an inherited listening socket."""
        return socket.socket(fileno=self.sockets[name])


def listener(address: tuple[str, int], what: str) -> socket.socket:
    """Return a bound TCP listener. Raises :class:`ConfigurationError` that says which setting to change."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({what}): {error.strerror or error}. Another process may hold the port; change the setting, or end that process."
        ) from error
    sock.listen(1024)
    sock.set_inheritable(True)
    return sock


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
