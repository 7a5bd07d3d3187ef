"""Builders of facts, policies and apps for tests: everything has a sensible default, a test names what it is about.

The cast is that of the built-in tenant: alice (employee, no risk), bob (employee, high risk), carol (contractor through nested
groups), dave (no policy lets him in) and erin (security team), all ``@contoso.example``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import ip_address

from isolation.policy.conditions.azure_ad import AzureAD
from isolation.policy.conditions.email import Email
from isolation.policy.conditions.email_domain import EmailDomain
from isolation.policy.conditions.everyone import Everyone
from isolation.policy.conditions.user_risk import at_least
from isolation.policy.controls import Clipboard, Controls
from isolation.policy.facts import (
    FOREVER,
    Context,
    Facts,
    Known,
    Person,
    RiskLevel,
    Signal,
    Stale,
    Unknown,
    UnknownReason,
    UserType,
)
from isolation.policy.model import Action, Condition, IsolationRule, OnUnknown, Policy, PolicySet
from isolation.routing.model import App, Upstream

NOW = 1_800_000_000.0
TENANT = "5b9c1f0e-0f2b-4f0a-9a53-6f2d3c1f7a10"
DOMAIN = "contoso.example"

# Object ids of the cast and their groups, fixed so that logs and policies of different tests can be compared.
OIDS = {
    "alice": "a11ce000-0000-4000-8000-000000000001",
    "bob": "b0b00000-0000-4000-8000-000000000002",
    "carol": "ca501000-0000-4000-8000-000000000003",
    "dave": "da7e0000-0000-4000-8000-000000000004",
    "erin": "e5140000-0000-4000-8000-000000000005",
}
EMPLOYEES = "e0000000-0000-4000-8000-0000000000e1"
CONTRACTORS = "c0000000-0000-4000-8000-0000000000c1"
AGENCY = "c0000000-0000-4000-8000-0000000000c2"  # a group inside Contractors
AGENCY_TEAM = "c0000000-0000-4000-8000-0000000000c3"  # a group inside Agency: carol is here
SECURITY = "5ec00000-0000-4000-8000-0000000000d1"

_GROUPS: dict[str, frozenset[str]] = {
    "alice": frozenset({EMPLOYEES}),
    "bob": frozenset({EMPLOYEES}),
    "carol": frozenset({AGENCY_TEAM, AGENCY, CONTRACTORS}),
    "dave": frozenset(),
    "erin": frozenset({EMPLOYEES, SECURITY}),
}
_RISK = {"bob": RiskLevel.HIGH}
_TYPE = {"carol": UserType.GUEST}


def known_risk(level: RiskLevel | str, *, age: float = 5.0, until: float = FOREVER, source: str = "entra") -> Known[RiskLevel]:
    """Return a risk that was read ``age`` seconds ago."""
    return Known(RiskLevel(level), NOW - age, until, source)


def stale_risk(level: RiskLevel | str, *, age: float = 3600.0) -> Stale[RiskLevel]:
    """Return a risk whose last reading is too old."""
    return Stale(RiskLevel(level), NOW - age, source="entra")


def known_groups(*groups: str, age: float = 5.0) -> Known[frozenset[str]]:
    """Return a complete list of groups read ``age`` seconds ago."""
    return Known(frozenset(groups), NOW - age, source="entra")


def unknown(reason: UnknownReason = UnknownReason.PROVIDER_DOWN, *, until: float = FOREVER) -> Unknown:
    """Return a signal without a value."""
    return Unknown(reason, None, until, "entra")


def person(
    name: str = "alice",
    *,
    email: str | None = None,
    risk: Signal[RiskLevel] | RiskLevel | str | None = None,
    groups: Signal[frozenset[str]] | Iterable[str] | None = None,
    user_type: Signal[UserType] | UserType | str | None = None,
    login_method: str = "Entra",
    signed_in_at: float = NOW - 60.0,
) -> Person:
    """Return one of the cast (or a stranger with no groups), with what the test is about replaced.

    Plain values (``risk="high"``, ``groups=[id, …]``, ``user_type="guest"``) become known signals.
    """
    key = name.lower()
    if risk is None:
        risk = _RISK.get(key, RiskLevel.NONE)
    if groups is None:
        groups = _GROUPS.get(key, frozenset())
    if user_type is None:
        user_type = _TYPE.get(key, UserType.MEMBER)
    return Person(
        key=f"{TENANT}/{OIDS.get(key, _guid(key))}",
        email=f"{key}@{DOMAIN}" if email is None else email,
        name=name.capitalize(),
        login_method=login_method,
        signed_in_at=signed_in_at,
        user_type=user_type
        if isinstance(user_type, Known | Stale | Unknown)
        else Known(UserType(user_type), NOW - 5.0, source="entra"),
        groups=groups if isinstance(groups, Known | Stale | Unknown) else known_groups(*groups),
        risk=risk if isinstance(risk, Known | Stale | Unknown) else known_risk(risk),
    )


def context(
    *, ip: str = "203.0.113.7", now: float = NOW, method: str = "GET", host: str = "payroll.corp.example", path: str = "/"
) -> Context:
    """Return a request's context."""
    return Context(now=now, ip=ip_address(ip), method=method, host=host, path=path)


def facts(
    who: Person | str | None = "alice",
    *,
    ip: str = "203.0.113.7",
    now: float = NOW,
    method: str = "GET",
    host: str = "payroll.corp.example",
    path: str = "/",
    risk: Signal[RiskLevel] | RiskLevel | str | None = None,
    groups: Signal[frozenset[str]] | Iterable[str] | None = None,
    user_type: Signal[UserType] | UserType | str | None = None,
) -> Facts:
    """Return facts about a person (by name, or built), or about nobody (None)."""
    someone = person(who, risk=risk, groups=groups, user_type=user_type) if isinstance(who, str) else who
    return Facts(context(ip=ip, now=now, method=method, host=host, path=path), someone)


def allow(
    *include: Condition, name: str = "Staff", require: Iterable[Condition] = (), exclude: Iterable[Condition] = ()
) -> Policy:
    """Return an Allow policy; without arguments it includes everybody ``@contoso.example``."""
    return Policy(name, Action.ALLOW, include or (EmailDomain(DOMAIN),), tuple(require), tuple(exclude))


def block(
    *include: Condition, name: str = "Blocked", require: Iterable[Condition] = (), exclude: Iterable[Condition] = ()
) -> Policy:
    """Return a Block policy; without arguments it blocks everybody."""
    return Policy(name, Action.DENY, include or (Everyone(),), tuple(require), tuple(exclude))


def bypass(
    *include: Condition, name: str = "Public", require: Iterable[Condition] = (), exclude: Iterable[Condition] = ()
) -> Policy:
    """Return a Bypass policy; without arguments it lets the whole network pass."""
    return Policy(name, Action.BYPASS, include or (Everyone(),), tuple(require), tuple(exclude))


def isolate(
    *include: Condition,
    name: str = "Isolated",
    require: Iterable[Condition] = (),
    exclude: Iterable[Condition] = (),
    controls: Controls | None = None,
) -> IsolationRule:
    """Return an isolation rule; without arguments it isolates everybody, with the strictest controls."""
    return IsolationRule(name, include or (Everyone(),), tuple(require), tuple(exclude), controls=controls or Controls())


HIGH_RISK_RULE = isolate(at_least(RiskLevel.HIGH), name="High-risk users")
CONTRACTORS_RULE = isolate(AzureAD(CONTRACTORS, "Contractors"), name="Contractors", controls=Controls(clipboard=Clipboard.TO_APP))
STAFF_POLICY = allow(AzureAD(EMPLOYEES, "Employees"), AzureAD(CONTRACTORS, "Contractors"), name="Staff and contractors")
DAVE_BLOCKED = block(Email(f"dave@{DOMAIN}"), name="Dave is blocked")


def policy_set(
    *policies: Policy,
    isolation: Iterable[IsolationRule] = (HIGH_RISK_RULE, CONTRACTORS_RULE),
    on_unknown: OnUnknown = OnUnknown.ISOLATE,
    unknown_controls: Controls | None = None,
) -> PolicySet:
    """Return a policy set. The default: employees and contractors are let in; high risk and contractors are isolated.

    So: alice and erin pass through, bob and carol are isolated, dave is refused.
    """
    return PolicySet(policies or (STAFF_POLICY,), tuple(isolation), on_unknown, unknown_controls or Controls())


def app(
    name: str = "Payroll",
    domain: str = "payroll.corp.example",
    *,
    upstream: Upstream | tuple[str, int] = ("127.0.0.1", 9),
    policy: PolicySet | None = None,
    preserve_host: bool = True,
    identity_headers: Iterable[tuple[str, str]] = (),
    egress_allow: Iterable[str] = (),
    launcher: bool = True,
) -> App:
    """Return an app whose audience tag follows from its name."""
    return App(
        name=name,
        domain=domain,
        upstream=upstream if isinstance(upstream, Upstream) else Upstream(*upstream),
        policy=policy_set() if policy is None else policy,
        audience=hashlib.sha256(name.encode()).hexdigest(),
        preserve_host=preserve_host,
        identity_headers=tuple(identity_headers),
        launcher=launcher,
        egress_allow=tuple(egress_allow),
    )


def _guid(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
