"""Read a configuration file, check all of it, and report every problem at once with file and line."""

from __future__ import annotations

import difflib
import hashlib
import os
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from isolation.errors import ConfigurationError
from isolation.policy import grammar, reading
from isolation.policy.model import IsolationRule, OnUnknown, Policy, PolicySet
from isolation.routing.model import App, Upstream
from isolation.settings import document as documents
from isolation.settings.document import Document, Location, Problem
from isolation.settings.model import NodeLimits, NodeSettings, ProviderSettings, Settings
from isolation.settings.schema import CLOUDS, AppSection, CloudEndpoints, Configuration, IdentityProvider


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of reading a file. ``settings`` is None exactly when a problem is an error. ``text``: what was checked."""

    file: str
    settings: Settings | None
    problems: tuple[Problem, ...]
    text: str = ""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Return the problems that keep the configuration from being used."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def report(self) -> str:
        """Return one line a problem, in the order of the file."""
        return "\n".join(problem.render(self.file) for problem in self.problems)


def load(path: Path) -> Loaded:
    """Read and check the file at ``path``. Never raises for what the file says."""
    return check(documents.read(path), base=path.resolve().parent)


def require(path: Path) -> Settings:
    """Return the settings at ``path``. Raises :class:`ConfigurationError` with every problem."""
    return require_with_text(path)[0]


def require_with_text(path: Path) -> tuple[Settings, str]:
    """Return the settings at ``path`` and the very text they were read from. Raises :class:`ConfigurationError` with every problem."""
    loaded = load(path)
    if loaded.settings is None:
        raise ConfigurationError(f"the configuration cannot be used:\n{loaded.report()}")
    return loaded.settings, loaded.text


def check(document: Document, base: Path) -> Loaded:
    """Check a parsed document. Relative paths in it start at ``base``."""
    configuration: Configuration | None = None
    if not document.problems or document.data:
        try:
            configuration = Configuration.model_validate(document.data)
        except ValidationError as error:
            _note_schema_problems(document, error)
    # Policies are checked even where the rest is wrong: all problems at once.
    rules = _isolation_rules(document)
    policies = _all_policies(document)
    settings = None
    if configuration is not None:
        _check_names(document, configuration)
        settings = _build(document, configuration, rules, policies, base)
    problems = tuple(sorted(set(document.problems)))
    if any(problem.severity == "error" for problem in problems):
        settings = None
    return Loaded(document.file, settings, problems, document.text)


def _note_schema_problems(document: Document, error: ValidationError) -> None:
    for item in error.errors():
        path: Location = tuple(part for part in item["loc"] if _in_document(document, part, item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        match item["type"]:
            case "extra_forbidden":
                message = "is not a known setting" + _suggest(str(item["loc"][-1]), item["loc"])
            case "missing":
                message = "is required and missing"
                path = item["loc"]
            case _:
                message = message[0].lower() + message[1:]
        document.problem(path, message)


def _in_document(document: Document, part: str | int, location: Location) -> bool:
    """Drop the names pydantic puts in a location for the branches of a union: they stand in no file."""
    index = location.index(part)
    return isinstance(part, int) or location[: index + 1] in document.lines or part in Configuration.model_fields


def _suggest(key: str, location: Location) -> str:
    model: Any = Configuration
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            return ""
        model = fields[part].annotation
        for candidate in (model, *getattr(model, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
                break
    known = sorted(getattr(model, "model_fields", {}))
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}" if known else ""


def _isolation_rules(document: Document) -> tuple[IsolationRule, ...]:
    if "isolation" not in document.data:
        return ()
    rules, problems = grammar.parse_isolation_rules(
        document.data["isolation"], path=("isolation",), providers=_provider_names(document)
    )
    _note(document, problems)
    return rules or ()


def _all_policies(document: Document) -> dict[int, tuple[Policy, ...]]:
    apps = document.data.get("apps", [])
    parsed: dict[int, tuple[Policy, ...]] = {}
    for index, app in enumerate(apps if isinstance(apps, list) else []):
        if not isinstance(app, dict) or "policies" not in app:
            continue
        policies, problems = grammar.parse_policies(
            app["policies"], path=("apps", index, "policies"), providers=_provider_names(document)
        )
        _note(document, problems)
        parsed[index] = policies or ()
    return parsed


def _provider_names(document: Document) -> tuple[str, ...]:
    providers = document.data.get("identity_providers", [])
    found = (item.get("name") for item in (providers if isinstance(providers, list) else []) if isinstance(item, dict))
    return tuple(name for name in found if isinstance(name, str))


def _note(document: Document, problems: Iterable[reading.Problem]) -> None:
    for problem in problems:
        document.problem(problem.path, problem.message, problem.severity)


def _check_names(document: Document, configuration: Configuration) -> None:
    seen: dict[tuple[str, str], int] = {}
    for index, app in enumerate(configuration.apps):
        for kind, value in (("name", app.name), ("domain", app.domain)):
            first = seen.setdefault((kind, value), index)
            if first != index:
                document.problem(("apps", index, kind), f"{value!r} is already the {kind} of apps[{first}]")
        if app.domain == configuration.auth_host:
            document.problem(("apps", index, "domain"), "is the auth host; give the app a host of its own")
    names: set[str] = set()
    directory = configuration.identity_providers[0].config.directory_id
    for index, provider in enumerate(configuration.identity_providers):
        if provider.name in names:
            document.problem(("identity_providers", index, "name"), f"{provider.name!r} is already taken")
        names.add(provider.name)
        if provider.config.directory_id != directory:
            document.problem(
                ("identity_providers", index, "config", "directory_id"),
                "is another directory than the first provider's; one deployment serves one directory (several registrations in it are fine)",
            )


def _build(
    document: Document,
    configuration: Configuration,
    rules: tuple[IsolationRule, ...],
    policies: dict[int, tuple[Policy, ...]],
    base: Path,
) -> Settings:
    state_dir = base / configuration.state_dir
    scheme = configuration.public_scheme
    return Settings(
        file=document.file,
        auth_host=configuration.auth_host,
        scheme=scheme,
        port=configuration.public_port or (443 if scheme == "https" else 80),
        listen=_address(configuration.listen),
        operations_listen=_address(configuration.operations_listen),
        egress_listen=_address(configuration.egress_listen),
        egress_advertise=_address(configuration.egress_advertise) if configuration.egress_advertise else None,
        tls=_tls(document, configuration, base),
        trusted_proxies=tuple(configuration.trusted_proxies),
        workers=configuration.workers,
        state_dir=state_dir,
        store=configuration.store or f"sqlite:///{state_dir}/isolation.db",
        secret=_deployment_secret(document, configuration, base),
        providers=tuple(
            _provider(document, index, provider, base) for index, provider in enumerate(configuration.identity_providers)
        ),
        apps=tuple(
            _app(document, index, app, configuration, rules, policies.get(index, ()), base)
            for index, app in enumerate(configuration.apps)
        ),
        session_seconds=configuration.sessions.duration,
        idle_seconds=configuration.sessions.idle,
        risk_stale_after=configuration.risk.stale_after,
        risk_poll_interval=configuration.risk.poll_interval,
        groups_stale_after=configuration.groups.stale_after,
        groups_refresh_interval=configuration.groups.refresh_interval,
        renderer_capacity=configuration.renderer.capacity,
        renderer_warm=configuration.renderer.warm,
        renderer_limits=NodeLimits(**{limit.name: getattr(configuration.renderer, limit.name) for limit in fields(NodeLimits)}),
        nodes=tuple(
            NodeSettings(
                *_address(node.address), token=_secret(document, ("renderer", "nodes", index, "token"), node.token, base)
            )
            for index, node in enumerate(configuration.renderer.nodes)
        ),
        log_level=configuration.log.level,
        log_format=configuration.log.format,
    )


def _app(
    document: Document,
    index: int,
    app: AppSection,
    configuration: Configuration,
    rules: tuple[IsolationRule, ...],
    policies: tuple[Policy, ...],
    base: Path,
) -> App:
    parts = urlsplit(app.upstream)
    tls = parts.scheme == "https"
    authority = base / app.upstream_ca if app.upstream_ca else None
    if authority is not None:
        _try_certificates(
            document, ("apps", index, "upstream_ca"), authority, lambda: ssl.create_default_context(cafile=str(authority))
        )
    # Derived from names that do not change, so that an app can pin it: https://developers.cloudflare.com AUD tag.
    audience = app.aud or hashlib.sha256(f"{configuration.auth_host}\n{app.name}".encode()).hexdigest()
    return App(
        name=app.name,
        domain=app.domain,
        description=app.description,
        upstream=Upstream(
            host=parts.hostname or "",
            port=parts.port or (443 if tls else 80),
            tls=tls,
            ca_file=str(authority) if authority else None,
            connect_timeout=app.connect_timeout,
            response_timeout=app.response_timeout,
        ),
        policy=PolicySet(policies=policies, isolation=rules, on_unknown=OnUnknown(configuration.risk.unknown)),
        audience=audience,
        preserve_host=app.preserve_host,
        identity_headers=tuple(sorted(app.identity_headers.items())),
        launcher=app.launcher,
        egress_allow=tuple(app.egress),
    )


def _provider(document: Document, index: int, provider: IdentityProvider, base: Path) -> ProviderSettings:
    config = provider.config
    cloud = config.cloud if isinstance(config.cloud, CloudEndpoints) else CLOUDS[config.cloud]
    return ProviderSettings(
        name=provider.name,
        client_id=config.client_id,
        client_secret=_secret(document, ("identity_providers", index, "config", "client_secret"), config.client_secret, base),
        directory_id=config.directory_id,
        login=cloud.login,
        graph=cloud.graph,
        # riskyUsers is not offered by 21Vianet: https://learn.microsoft.com/graph/api/riskyuser-list
        risk_supported=config.cloud != "china",
        support_groups=config.support_groups,
        prompt=config.prompt,
        email_claim=config.email_claim_name,
    )


def _secret(document: Document, path: Location, value: str, base: Path) -> str:
    """Resolve ``file:PATH`` and ``env:NAME``; anything else is the secret itself."""
    kind, _, rest = value.partition(":")
    if kind == "file":
        file = base / rest
        try:
            found = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            document.problem(path, f"secret file {file} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}")
            return ""
        if not found:
            document.problem(path, f"secret file {file} is empty")
        return found
    if kind == "env":
        found = os.environ.get(rest, "")
        if not found:
            document.problem(path, f"environment variable {rest} is not set")
        return found
    document.problem(path, "stands in the file in clear; prefer file:PATH or env:NAME", "warning")
    return value


def _deployment_secret(document: Document, configuration: Configuration, base: Path) -> str | None:
    if configuration.secret is None:
        return None
    secret = _secret(document, ("secret",), configuration.secret, base)
    if secret and len(secret) < 32:
        document.problem(("secret",), "needs at least 32 characters; `openssl rand -base64 48` makes one")
    return secret


def _tls(document: Document, configuration: Configuration, base: Path) -> tuple[Path, Path] | None:
    if configuration.tls is None:
        return None
    files = (base / configuration.tls.certificate, base / configuration.tls.key)
    for name, file in zip(("certificate", "key"), files, strict=True):
        if not file.is_file():
            document.problem(("tls", name), f"{file} is not a file")
    if all(file.is_file() for file in files):
        _try_certificates(document, ("tls",), files[0], lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files))
    return files


def _try_certificates(document: Document, path: Location, file: Path, use: Callable[[], object]) -> None:
    """Use certificates as they will be used: a running router must not find out only when it has stopped the old one."""
    try:
        use()
    except ssl.SSLError as error:
        document.problem(
            path, f"{file}: certificate and key cannot be used ({(error.reason or 'no PEM data').lower().replace('_', ' ')})"
        )
    except OSError as error:
        document.problem(path, f"{file} cannot be read: {error.strerror or error}")


def _address(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    return host.strip("[]"), int(port)
