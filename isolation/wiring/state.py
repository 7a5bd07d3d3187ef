"""What every process of a deployment needs from its settings: the state directory, the secret, addresses, how old a signal may be."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from typing import Any

import structlog

from isolation import tokens
from isolation.broker.model import NodeAddress
from isolation.errors import ConfigurationError
from isolation.identity.oidc.flow import Cloud, EntraProvider
from isolation.settings.model import ProviderSettings, Settings
from isolation.signals.freshness import Freshness
from isolation.web.endpoints.kit import Site

log = structlog.get_logger()

SECRET_FILE = "secret.key"  # noqa: S105 - a name, not a secret


def prepare_state(settings: Settings) -> None:
    """Make the state directory. Raises :class:`ConfigurationError` that says what to do.

    Mode 0711: the renderer's account walks through it to its own directory below ``run``, and can list nothing.
    """
    passable = stat.S_IRWXU | stat.S_IXGRP | stat.S_IXOTH
    try:
        for folder in (settings.state_dir, settings.state_dir / "run"):
            folder.mkdir(parents=True, exist_ok=True)
            if folder.stat().st_uid == os.geteuid():
                folder.chmod(passable)
        if not os.access(settings.state_dir, os.W_OK):
            raise PermissionError(13, "not writable", str(settings.state_dir))
    except OSError as error:
        raise ConfigurationError(
            f"state_dir {settings.state_dir} cannot be used: {error.strerror}. Create it for this account, or name another one."
        ) from error


def deployment_secret(settings: Settings) -> str:
    """Return the deployment's secret; without a configured one, make one and keep it in the state directory (mode 0600)."""
    if settings.secret:
        return settings.secret
    path = settings.state_dir / SECRET_FILE
    try:
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(tokens.new_secret(48))
            log.info("secret.made", path=str(path))
        secret = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigurationError(f"the deployment secret {path} cannot be read or made: {error.strerror}") from error
    if len(secret) < 32:
        raise ConfigurationError(
            f"the deployment secret in {path} is too short: remove the file to have one made (everybody signs in again)"
        )
    return secret


def freshness(settings: Settings) -> Freshness:
    """Return how old each signal may be."""
    return Freshness(risk=settings.risk_stale_after, groups=settings.groups_stale_after, user_type=settings.groups_stale_after)


def site(settings: Settings) -> Site:
    """Return the deployment's public addresses."""
    return Site(scheme=settings.scheme, auth_host=settings.auth_host, suffix=settings.authority_suffix)


def oidc_provider(settings: ProviderSettings) -> EntraProvider:
    """Return one way to sign in."""
    return EntraProvider(
        name=settings.name,
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        directory_id=settings.directory_id,
        cloud=Cloud(login=settings.login, graph=settings.graph),
        prompt=settings.prompt,
        email_claim=settings.email_claim,
    )


def node_addresses(settings: Settings, local: Mapping[str, Any] | None) -> tuple[NodeAddress, ...]:
    """Return the renderer nodes: those of the configuration, or the local one (``host``, ``port``, ``token``)."""
    if local is not None:
        return (NodeAddress("local", f"ws://{local['host']}:{local['port']}", local["token"]),)
    return tuple(NodeAddress(f"{node.host}:{node.port}", f"ws://{node.host}:{node.port}", node.token) for node in settings.nodes)
