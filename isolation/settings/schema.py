"""The shape of a configuration file. Every key has a description; docs/configuration.md is tested against it.

Policies and isolation rules stay raw here: :mod:`isolation.policy.grammar` owns their language.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from isolation import limits

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")


def _duration(value: object) -> object:
    """Accept ``90s``, ``15m``, ``2h30m`` (the Access API's notation) or a number of seconds."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if not value.strip() or match is None:
            raise ValueError("write a duration like 90s, 15m or 2h30m")
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float(hours * 3600 + minutes * 60 + seconds)
    return value


def _host(value: str) -> str:
    host = value.lower().rstrip(".")
    labels = host.split(".")
    if labels[:1] == ["*"]:
        labels = labels[1:]
        if len(labels) < 2:
            raise ValueError("a wildcard needs a parent of at least two labels, like *.corp.example")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            "is not a host name (letters, digits and hyphens; international names in their xn-- form; no port, no path)"
        )
    return host


def _plain_host(value: str) -> str:
    if value.startswith("*"):
        raise ValueError("must be one host, not a wildcard")
    return _host(value)


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise ValueError("write an address and a port, like 127.0.0.1:8080 or [::]:8080")
    return value


def _origin(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("write scheme, host and port, like http://10.1.2.3:8080")
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("must be an origin: scheme, host and port, without path, query or user")
    return value.rstrip("/")


def _network(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(f"is not a network in CIDR notation: {error}") from error


def _header(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError("is not a header name (letters, digits and hyphens)")
    return value


def _guid(value: str) -> str:
    if not _GUID.fullmatch(value):
        raise ValueError(
            "must be the tenant's id, a GUID like 72f988bf-0000-4000-8000-000000000002 (Entra admin center, Overview), not a domain name"
        )
    return value.lower()


Guid = Annotated[str, AfterValidator(_guid)]
Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0)]
Host = Annotated[str, AfterValidator(_host)]
PlainHost = Annotated[str, AfterValidator(_plain_host)]
Listen = Annotated[str, AfterValidator(_listen)]
Origin = Annotated[str, AfterValidator(_origin)]
Network = Annotated[Any, BeforeValidator(lambda value: _network(str(value)))]
HeaderName = Annotated[str, AfterValidator(_header)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class CloudEndpoints(_Section):
    """A cloud of its own: where sign-in and Graph live."""

    login: Origin = Field(description="Origin of the sign-in endpoints, e.g. `https://login.microsoftonline.com`.")
    graph: Origin = Field(description="Origin of Microsoft Graph, e.g. `https://graph.microsoft.com`.")


CLOUDS: dict[str, CloudEndpoints] = {
    "global": CloudEndpoints(login="https://login.microsoftonline.com", graph="https://graph.microsoft.com"),
    "usgov_l4": CloudEndpoints(login="https://login.microsoftonline.us", graph="https://graph.microsoft.us"),
    "usgov_l5": CloudEndpoints(login="https://login.microsoftonline.us", graph="https://dod-graph.microsoft.us"),
    "china": CloudEndpoints(login="https://login.partner.microsoftonline.cn", graph="https://microsoftgraph.chinacloudapi.cn"),
}
"""Microsoft's clouds (https://learn.microsoft.com/graph/deployments): an app is registered separately in each."""


class AzureADConfig(_Section):
    """Settings of one Entra ID app registration."""

    client_id: str = Field(min_length=1, description="Application (client) id of the app registration.")
    client_secret: str = Field(
        min_length=1, description="Client secret: `file:PATH`, `env:NAME`, or the value itself (not advised)."
    )
    directory_id: Guid = Field(description="Directory (tenant) id, a GUID (not a domain name).")
    cloud: Literal["global", "usgov_l4", "usgov_l5", "china"] | CloudEndpoints = Field(
        default="global",
        description="Which Microsoft cloud: `global`, `usgov_l4`, `usgov_l5`, `china`, or `{login: …, graph: …}`.",
    )
    support_groups: bool = Field(default=True, description="Read group memberships (transitive) from Graph.")
    pkce_enabled: Literal[True] = Field(
        default=True, description="PKCE with S256 is always on; the key exists so that configurations can be pasted."
    )
    prompt: Literal["login", "select_account"] | None = Field(default=None, description="`prompt` sent to Entra at sign-in.")
    email_claim_name: str | None = Field(
        default=None, description="ID token claim to use as e-mail before `email` and `preferred_username`."
    )


class IdentityProvider(_Section):
    """One way to sign in."""

    name: str = Field(min_length=1, max_length=64, description="Name people see, and `login_method` rules refer to.")
    type: Literal["azureAD"] = Field(description="`azureAD` (Microsoft Entra ID).")
    config: AzureADConfig = Field(description="Settings of the app registration.")


class AppSection(_Section):
    """One protected app."""

    name: str = Field(
        min_length=1,
        max_length=64,
        description="Name of the app, unique. The audience tag is derived from it unless `aud` is set.",
    )
    domain: Host = Field(description="Host that people open: exact, or `*.parent.example` (one label).")
    upstream: Origin = Field(description="Origin of the app itself, e.g. `http://10.1.2.3:8080`.")
    description: str = Field(default="", max_length=200, description="One line for the launcher.")
    policies: list[Any] = Field(min_length=1, description="Access policies, in order. See “Policies”.")
    aud: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None,
        description="Audience tag of the signed assertion (64 hex digits). Default: derived from the app's name and the auth host.",
    )
    preserve_host: bool = Field(
        default=True, description="Send the person's `Host` to the app. `false` sends the upstream's own."
    )
    upstream_ca: Path | None = Field(
        default=None, description="PEM file with the roots that sign the upstream's certificate, in place of the system's."
    )
    connect_timeout: Duration = Field(default=5.0, description="How long a connection to the app may take.")
    response_timeout: Duration = Field(default=60.0, description="How long the app may take to start its answer.")
    identity_headers: dict[Literal["email", "name", "user_id", "groups"], HeaderName] = Field(
        default_factory=dict, description="Plain headers to send beside the signed assertion, e.g. `{email: X-Forwarded-Email}`."
    )
    launcher: bool = Field(default=True, description="Show the app in the launcher.")
    egress: list[str] = Field(
        default_factory=list,
        description="Public hosts that the isolated page may also reach: `cdn.example`, `*.example`, or `*` for any public host.",
    )


class RiskSection(_Section):
    """Entra's risk level and what happens without it."""

    unknown: Literal["isolate", "refuse"] = Field(
        default="isolate", description="What an unknown or stale risk does to somebody a policy lets in. It never passes."
    )
    stale_after: Duration = Field(
        default=limits.RISK_STALE_SECONDS, description="After this, a reading of risk no longer lets anybody pass."
    )
    poll_interval: Duration = Field(
        default=30.0, description="How often the tenant's risky users are read. Graph allows one request a second per tenant."
    )


class GroupsSection(_Section):
    """Group memberships and profiles read from Graph."""

    stale_after: Duration = Field(
        default=limits.GROUPS_STALE_SECONDS, description="After this, a reading of groups permits in isolation only."
    )
    refresh_interval: Duration = Field(default=300.0, description="How often groups of people with live sessions are read again.")


class SessionsSection(_Section):
    """How long people stay signed in."""

    duration: Duration = Field(default=limits.SESSION_SECONDS, description="Absolute life of a session.")
    idle: Duration = Field(default=limits.IDLE_SECONDS, description="A session unused for this long is over.")


class NodeSection(_Section):
    """A renderer node on another machine."""

    address: Listen = Field(description="Host and port of the node's WebSocket server.")
    token: str = Field(min_length=1, description="The node's token: `file:PATH` or `env:NAME`.")


class RendererSection(_Section):
    """Renderer nodes."""

    capacity: int = Field(default=8, ge=1, le=1000, description="Isolated sessions the local node runs at once.")
    warm: int = Field(default=1, ge=0, le=100, description="Browsers kept ready by the local node.")
    session_memory: int = Field(
        default=3072,
        ge=256,
        le=1_048_576,
        description="MiB of memory one session may use on the local node, as are the next five.",
    )
    session_disk: int = Field(default=2048, ge=64, le=1_048_576, description="MiB of disk one session may use.")
    session_processes: int = Field(default=200, ge=12, le=10_000, description="Processes one session may have.")
    session_cores: float = Field(
        default=1.5, gt=0, le=1024, description="Processor cores one session may use, where the node may make control groups."
    )
    session_hours: float = Field(default=24.0, gt=0, le=8760, description="Hours after which a session's browser is ended.")
    free_memory: int = Field(
        default=256, ge=0, le=1_048_576, description="MiB of the machine's memory left free: with less, people wait in the queue."
    )
    nodes: list[NodeSection] = Field(
        default_factory=list, description="Nodes on other machines. With any, no local node is started."
    )


class TlsSection(_Section):
    """Certificate of the public listener."""

    certificate: Path = Field(description="PEM file: certificate chain for the auth host and all apps.")
    key: Path = Field(description="PEM file: private key.")


class LogSection(_Section):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level that is logged.")
    format: Literal["json", "console"] = Field(
        default="json", description="`json` (one object per line) or `console` (for people)."
    )


class Configuration(_Section):
    """A configuration file."""

    auth_host: PlainHost = Field(description="Host of sign-in, launcher and console, e.g. `auth.corp.example`.")
    public_scheme: Literal["https", "http"] = Field(
        default="https", description="Scheme in people's address bars. `http` is accepted for `*.localhost` only."
    )
    public_port: int | None = Field(
        default=None, ge=1, le=65_535, description="Port in people's address bars, where it is not the scheme's own."
    )
    listen: Listen = Field(default="127.0.0.1:8080", description="Address of the public listener.")
    tls: TlsSection | None = Field(
        default=None, description="Terminate TLS here. Without it, something in front does (see `trusted_proxies`)."
    )
    trusted_proxies: list[Network] = Field(
        default_factory=list,
        description="Networks whose `X-Forwarded-For` is believed (right-most untrusted hop). Default: nobody.",
    )
    workers: int = Field(default=1, ge=1, le=64, description="Router processes behind the listener.")
    state_dir: Path = Field(
        default=Path("/var/lib/isolation"), description="Directory for the store, keys and run-time files (mode 0700)."
    )
    store: str | None = Field(default=None, description="Store URL. Default: `sqlite:///STATE_DIR/isolation.db`.")
    secret: str | None = Field(
        default=None,
        description="Deployment secret: `file:PATH` or `env:NAME`, 32 characters or more. Default: made in `state_dir`.",
    )
    identity_providers: list[IdentityProvider] = Field(min_length=1, description="Ways to sign in.")
    apps: list[AppSection] = Field(min_length=1, description="Protected apps.")
    isolation: list[Any] = Field(default_factory=list, description="Isolation rules. See “Isolation rules”.")
    risk: RiskSection = Field(default_factory=RiskSection, description="Risk.")
    groups: GroupsSection = Field(default_factory=GroupsSection, description="Groups.")
    sessions: SessionsSection = Field(default_factory=SessionsSection, description="Sessions.")
    renderer: RendererSection = Field(default_factory=RendererSection, description="Renderer nodes.")
    egress_listen: Listen = Field(
        default="127.0.0.1:0", description="Address of the egress gateway, reached by renderer nodes only. Port 0: any free one."
    )
    egress_advertise: Listen | None = Field(
        default=None,
        description="Host and port at which renderer nodes reach the egress gateway. Default: the address it listens on.",
    )
    operations_listen: Listen = Field(
        default="127.0.0.1:9090", description="Address of `/healthz`, `/readyz` and `/metrics`. Never expose it to people."
    )
    log: LogSection = Field(default_factory=LogSection, description="Logging.")

    @model_validator(mode="after")
    def _plain_http_stays_home(self) -> Configuration:
        if self.public_scheme == "http":
            hosts = [self.auth_host, *(app.domain for app in self.apps)]
            if any(host != "localhost" and not host.endswith(".localhost") for host in hosts):
                raise ValueError("public_scheme http is for *.localhost only: cookies and assertions need https everywhere else")
        return self
