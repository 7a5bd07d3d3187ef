"""Checked configuration, frozen. What the rest of the product sees; no raw text is left in it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from isolation.routing.model import App


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """An Entra ID app registration. ``login`` and ``graph`` are origins. ``client_secret`` never appears in a repr."""

    name: str
    client_id: str
    client_secret: str = field(repr=False)
    directory_id: str
    login: str
    graph: str
    risk_supported: bool = True
    support_groups: bool = True
    prompt: str | None = None
    email_claim: str | None = None


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """What one session may use on the local node. Sizes in MiB."""

    session_memory: int
    session_disk: int
    session_processes: int
    session_cores: float
    session_hours: float
    free_memory: int

    def arguments(self) -> list[str]:
        """Return the node's command-line options."""
        return [part for f in fields(self) for part in (f"--{f.name.replace('_', '-')}", str(getattr(self, f.name)))]


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """A renderer node elsewhere."""

    host: str
    port: int
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the product needs to know to start. Durations are seconds; addresses are (host, port)."""

    file: str
    auth_host: str
    scheme: str
    port: int
    listen: tuple[str, int]
    operations_listen: tuple[str, int]
    egress_listen: tuple[str, int]
    egress_advertise: tuple[str, int] | None
    tls: tuple[Path, Path] | None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    workers: int
    state_dir: Path
    store: str
    secret: str | None = field(repr=False)
    providers: tuple[ProviderSettings, ...]
    apps: tuple[App, ...]
    session_seconds: float
    idle_seconds: float
    risk_stale_after: float
    risk_poll_interval: float
    groups_stale_after: float
    groups_refresh_interval: float
    renderer_capacity: int
    renderer_warm: int
    renderer_limits: NodeLimits
    nodes: tuple[NodeSettings, ...]
    log_level: str
    log_format: str

    @property
    def authority_suffix(self) -> str:
        """Return ``":port"`` where the public port is not the scheme's own, else ``""``."""
        return "" if self.port == (443 if self.scheme == "https" else 80) else f":{self.port}"

    def origin(self, host: str) -> str:
        """Return the public origin of a host: ``https://payroll.corp.example``."""
        return f"{self.scheme}://{host}{self.authority_suffix}"

    @property
    def auth_origin(self) -> str:
        """Return the public origin of the auth host."""
        return self.origin(self.auth_host)
