"""Documents to policies: what is accepted, and how everything else is reported."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isolation.policy.conditions.azure_ad import AzureAD
from isolation.policy.conditions.email import Email
from isolation.policy.conditions.email_domain import EmailDomain
from isolation.policy.conditions.everyone import Everyone
from isolation.policy.conditions.ip import Ip
from isolation.policy.conditions.login_method import LoginMethod
from isolation.policy.conditions.user_risk import UserRisk
from isolation.policy.conditions.user_risk_score import UserRiskScore
from isolation.policy.conditions.user_type import UserTypeIs
from isolation.policy.controls import CONTROL_KEYS, Clipboard, Controls, Transfer
from isolation.policy.facts import RiskLevel, UserType
from isolation.policy.grammar import parse_controls, parse_isolation_rule, parse_isolation_rules, parse_policies, parse_policy
from isolation.policy.model import Action, Policy
from isolation.policy.registry import BY_KEY, ELSEWHERE, SELECTORS
from renderer.wire.controls import ClipboardKind, FileKind

GROUP = "61503835-b6fe-4630-af88-de551dd59a2b"


def policy(**changes: object) -> dict[str, object]:
    raw: dict[str, object] = {"name": "Staff", "decision": "allow", "include": [{"email_domain": {"domain": "corp.example"}}]}
    raw.update(changes)
    return {key: value for key, value in raw.items() if value is not ...}


def only_problem(raw: object, **options: object) -> tuple[tuple[str | int, ...], str]:
    value, problems = parse_policy(raw, **options)
    errors = [problem for problem in problems if problem.severity == "error"]
    assert value is None
    assert len(errors) == 1, errors
    return errors[0].path, errors[0].message


@pytest.mark.parametrize(
    ("element", "condition"),
    [
        ({"everyone": {}}, Everyone()),
        ({"email": {"email": "Alice@Corp.example"}}, Email("alice@corp.example")),
        ({"email_domain": {"domain": "CORP.example"}}, EmailDomain("corp.example")),
        ({"azureAD": {"id": GROUP.upper()}}, AzureAD(GROUP)),
        (
            {"azureAD": {"id": GROUP, "name": "Contractors", "identity_provider_id": "Entra"}},
            AzureAD(GROUP, "Contractors", "Entra"),
        ),
        ({"user_risk": {"at_least": "medium"}}, UserRisk(frozenset({RiskLevel.MEDIUM, RiskLevel.HIGH}))),
        ({"user_risk": {"levels": ["low", "none"]}}, UserRisk(frozenset({RiskLevel.LOW, RiskLevel.NONE}))),
        (
            {"user_risk_score": {"user_risk_score": ["low", "unscored"]}},
            UserRiskScore(frozenset({RiskLevel.LOW, RiskLevel.NONE})),
        ),
        ({"user_type": {"type": "Guest"}}, UserTypeIs(UserType.GUEST)),
        ({"ip": {"ip": "10.0.0.0/8"}}, Ip(ip_network("10.0.0.0/8"))),
        ({"ip": {"ip": "2001:db8::1"}}, Ip(ip_network("2001:db8::1/128"))),
        ({"login_method": {"id": "Entra"}}, LoginMethod("Entra")),
    ],
)
def test_selectors(element: object, condition: object) -> None:
    value, problems = parse_policy(
        policy(include=[{"email": {"email": "a@b.example"}}, element], decision="deny"), providers={"Entra"}
    )
    assert problems == []
    assert value is not None
    assert value.include[1] == condition


@pytest.mark.parametrize(("word", "action"), [("allow", Action.ALLOW), ("deny", Action.DENY), ("block", Action.DENY)])
def test_decisions(word: str, action: Action) -> None:
    value, problems = parse_policy(policy(decision=word))
    assert problems == []
    assert value == Policy("Staff", action, (EmailDomain("corp.example"),))


def test_every_example_in_the_registry_parses_and_every_condition_agrees_with_its_entry() -> None:
    for selector in SELECTORS:
        value, problems = parse_policy(policy(include=[{selector.key: selector.example}], require=[{"ip": {"ip": "10.0.0.0/8"}}]))
        assert not problems, selector.key
        assert value is not None
        assert value.include[0].selector == selector.key
        assert value.include[0].needs_identity == selector.identity
        assert set(selector.example) <= set(selector.argument_names)
    assert not ELSEWHERE & BY_KEY.keys()


@pytest.mark.parametrize(
    ("raw", "path", "says"),
    [
        ("staff", (), "must be a mapping"),
        (policy(name=...), (), '"name" is missing'),
        (policy(name=""), ("name",), "empty"),
        (policy(name=7), ("name",), "must be text, not 7"),
        (policy(name="a\nb"), ("name",), "control characters"),
        (policy(name="x" * 201), ("name",), "at most 200"),
        (policy(decision=...), (), '"decision" is missing'),
        (policy(decision="alow"), ("decision",), 'did you mean "allow"?'),
        (policy(decision="non_identity"), ("decision",), "service authentication"),
        (policy(decision=True), ("decision",), "must be text, not true"),
        (policy(includes=[]), ("includes",), 'did you mean "include"?'),
        (policy(include=...), (), '"include" is missing'),
        (policy(include=[]), ("include",), "include is empty"),
        (policy(include=None), ("include",), "must be a list of selectors, not nothing"),
        (policy(include={"everyone": {}}), ("include",), "must be a list"),
        (policy(require=None), ("require",), "remove require:"),
        (policy(exclude="everyone"), ("exclude",), "must be a list"),
        (policy(include=["everyone"]), ("include", 0), "write {everyone: {}}"),
        (policy(include=[None]), ("include", 0), "not nothing"),
        (policy(include=[{}]), ("include", 0), "no selector"),
        (policy(include=[{"everyone": {}, "ip": {"ip": "10.0.0.0/8"}}]), ("include", 0), "2 selectors (everyone, ip)"),
        (policy(include=[{"everyone": None}]), ("include", 0, "everyone"), "write {everyone: {}}"),
        (policy(include=[{"email": "a@b.example"}]), ("include", 0, "email"), "write {email: {email: alice@corp.example}}"),
        (policy(include=[{"azuread": {"id": GROUP}}]), ("include", 0, "azuread"), 'did you mean "azureAD"?'),
        (
            policy(include=[{"device_posture": {}}]),
            ("include", 0, "device_posture"),
            "of Cloudflare Access that does not exist here yet",
        ),
        (policy(include=[{"email": {"email": "a@b.example", "mail": 1}}]), ("include", 0, "email", "mail"), "unknown key"),
        (policy(include=[{"email": {}}]), ("include", 0, "email"), '"email" is missing'),
        (
            policy(include=[{"email": {"email": "a@evil.example@b.example"}}]),
            ("include", 0, "email", "email"),
            "not a plain e-mail",
        ),
        (policy(include=[{"email": {"email": " a@b.example"}}]), ("include", 0, "email", "email"), "spaces around"),
        (
            policy(include=[{"email_domain": {"domain": "@corp.example"}}]),
            ("include", 0, "email_domain", "domain"),
            "did you mean corp.example?",
        ),
        (
            policy(include=[{"email_domain": {"domain": "*.corp.example"}}]),
            ("include", 0, "email_domain", "domain"),
            "sub-domains need a rule each",
        ),
        (
            policy(include=[{"email_domain": {"domain": "corp example"}}]),
            ("include", 0, "email_domain", "domain"),
            "not a plain domain",
        ),
        (policy(include=[{"azureAD": {"name": "Contractors"}}]), ("include", 0, "azureAD"), '"id" is missing'),
        (
            policy(include=[{"azureAD": {"id": GROUP, "identity_provider_id": "Entr"}}]),
            ("include", 0, "azureAD", "identity_provider_id"),
            'did you mean "Entra"?',
        ),
        (policy(include=[{"login_method": {"id": "Google"}}]), ("include", 0, "login_method", "id"), "configured: Entra"),
        (policy(include=[{"user_risk": {}}]), ("include", 0, "user_risk"), "neither at_least nor levels"),
        (policy(include=[{"user_risk": {"at_least": "low", "levels": ["low"]}}]), ("include", 0, "user_risk"), "both"),
        (policy(include=[{"user_risk": {"at_least": "hgih"}}]), ("include", 0, "user_risk", "at_least"), 'did you mean "high"?'),
        (policy(include=[{"user_risk": {"at_least": "hidden"}}]), ("include", 0, "user_risk", "at_least"), "unknown risk level"),
        (policy(include=[{"user_risk": {"levels": []}}]), ("include", 0, "user_risk", "levels"), "empty list"),
        (policy(include=[{"user_risk": {"levels": "high"}}]), ("include", 0, "user_risk", "levels"), "must be a list"),
        (policy(include=[{"user_risk": {"levels": [None]}}]), ("include", 0, "user_risk", "levels", 0), "must be text"),
        (
            policy(include=[{"user_risk_score": {"user_risk_score": ["none"]}}]),
            ("include", 0, "user_risk_score", "user_risk_score"),
            "low, medium, high, unscored",
        ),
        (policy(include=[{"user_type": {"type": "contractor"}}]), ("include", 0, "user_type", "type"), "types: member, guest"),
        (
            policy(include=[{"ip": {"ip": "10.1.2.3/8"}}]),
            ("include", 0, "ip", "ip"),
            "write 10.0.0.0/8 for the range or 10.1.2.3 for one address",
        ),
        (policy(include=[{"ip": {"ip": "10.0.0/8"}}]), ("include", 0, "ip", "ip"), "not an address range"),
        (policy(include=[{"ip": {"ip": "::ffff:10.0.0.0/104"}}]), ("include", 0, "ip", "ip"), "write 10.0.0.0/8"),
        (policy(include=[{"ip": {"ip": 10}}]), ("include", 0, "ip", "ip"), "must be text"),
        (policy(precedence=1), ("precedence",), "in the order written"),
        (policy(isolation_required=True), ("isolation_required",), "under isolation:"),
        (policy(approval_groups=[{"approvals_needed": 1}]), ("approval_groups",), "do not exist yet"),
        (policy(on=1), ("on",), "unknown key"),
    ],
)
def test_every_mistake_is_reported_where_it_is_with_what_to_do(raw: object, path: tuple[str | int, ...], says: str) -> None:
    where, message = only_problem(raw, providers=["Entra"])
    assert where == path
    assert says in message


def test_a_key_that_yaml_read_as_a_boolean_is_reported_not_crashed_on() -> None:
    raw = {**policy(), True: "x"}
    assert only_problem(raw)[0] == ("true",)


@pytest.mark.parametrize("role", ["include", "require", "exclude"])
def test_a_bypass_with_an_identity_selector_is_refused(role: str) -> None:
    raw = {"name": "Open", "decision": "bypass", "include": [{"ip": {"ip": "10.0.0.0/8"}}]}
    raw[role] = [{"azureAD": {"id": GROUP}}]
    path, message = only_problem(raw)
    assert path == (role, 0, "azureAD")
    assert "before anybody signs in" in message
    value, problems = parse_policy({"name": "Open", "decision": "bypass", "include": [{"ip": {"ip": "10.0.0.0/8"}}]})
    assert value is not None
    assert problems == []


def test_all_problems_are_reported_at_once() -> None:
    value, problems = parse_policies(
        [policy(decision="maybe"), policy(include=[{"ip": {"ip": "x"}}, {"nobody": {}}], extra=1), 3],
        path=("apps", 0, "policies"),
    )
    assert value is None
    assert [problem.path[2:] for problem in problems] == [
        ("policies", 0, "decision"),
        ("policies", 1, "extra"),
        ("policies", 1, "include", 0, "ip", "ip"),
        ("policies", 1, "include", 1, "nobody"),
        ("policies", 1, "name"),
        ("policies", 2),
    ]


def test_names_differ() -> None:
    value, problems = parse_policies([policy(), policy()])
    assert value is None
    assert "taken by entry 1" in problems[0].message
    assert parse_policies([])[0] is None
    assert parse_isolation_rules([]) == ((), [])


def test_warnings_do_not_stop_a_policy() -> None:
    def warned(raw: object) -> str:
        value, problems = parse_policy(raw)
        assert value is not None
        assert [problem.severity for problem in problems] == ["warning"]
        return problems[0].message

    assert "everybody who can sign in" in warned(policy(include=[{"everyone": {}}]))
    assert "makes the app public" in warned(policy(include=[{"everyone": {}}], decision="bypass"))
    assert "can never match" in warned(policy(exclude=[{"everyone": {}}]))
    # The object id in many a pasted example has a digit too few.
    assert "not an Entra object id" in warned(policy(include=[{"azureAD": {"id": GROUP[:-1]}}]))
    assert parse_policy(policy(include=[{"everyone": {}}], require=[{"azureAD": {"id": GROUP}}]))[1] == []


def test_a_policy_as_the_access_api_returns_it_can_be_pasted() -> None:
    value, problems = parse_policy(
        policy(
            id="f174e90a-fafe-4643-bbbc-4a0ed4fc8415",
            require=[],
            exclude=[],
            reusable=True,
            isolation_required=False,
            approval_groups=[],
            created_at="2026-01-01T00:00:00Z",
            updated_at="2026-01-01T00:00:00Z",
        )
    )
    assert value == Policy("Staff", Action.ALLOW, (EmailDomain("corp.example"),))
    assert {problem.severity for problem in problems} == {"warning"}
    assert len(problems) == 8


def test_isolation_rules() -> None:
    raw = {
        "name": "Contractors",
        "include": [{"azureAD": {"id": GROUP}}],
        "mode": "pixels",
        "controls": {"clipboard": "to_app", "download": "none"},
    }
    rule, problems = parse_isolation_rule(raw)
    assert problems == []
    assert rule is not None
    assert rule.controls == Controls(clipboard=Clipboard.TO_APP)
    strict, _ = parse_isolation_rule({"name": "R", "include": [{"everyone": {}}]})
    assert strict is not None
    assert strict.controls == Controls(Clipboard.NONE, print=False)


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"decision": "allow"}, ("decision",), "unknown key"),
        ({"mode": "pixel"}, ("mode",), 'did you mean "pixels"?'),
        ({"controls": None}, ("controls",), "must be a mapping"),
        ({"controls": {"clipbord": "none"}}, ("controls", "clipbord"), 'did you mean "clipboard"?'),
        ({"controls": {"clipboard": False}}, ("controls", "clipboard"), "write clipboard: none"),
        ({"controls": {"clipboard": "in"}}, ("controls", "clipboard"), "one of none, to_app, from_app, both"),
        ({"controls": {"download": "both"}}, ("controls", "download"), "one of none, allow"),
        ({"controls": {"upload": True}}, ("controls", "upload"), "write upload: none"),
        ({"controls": {"print": "yes"}}, ("controls", "print"), "must be true or false"),
        ({"controls": {"watermark": "text"}}, ("controls", "watermark"), "must be true or false"),
        ({"controls": {"clipboard_types": "text"}}, ("controls", "clipboard_types"), "must be a list"),
        ({"controls": {"clipboard_types": []}}, ("controls", "clipboard_types"), "empty list"),
        ({"controls": {"clipboard_types": ["html"]}}, ("controls", "clipboard_types", 0), "kinds: text, image"),
        ({"controls": {"download_types": ["pdf", "jpg"]}}, ("controls", "download_types", 1), 'did you mean "jpeg"?'),
        ({"controls": {"clipboard_max_kb": 0}}, ("controls", "clipboard_max_kb"), "a whole number from 1 to 4096"),
        ({"controls": {"clipboard_per_minute": 1.5}}, ("controls", "clipboard_per_minute"), "a whole number"),
        ({"controls": {"download_max_mb": "10"}}, ("controls", "download_max_mb"), "a whole number"),
        ({"controls": {"idle_minutes": None}}, ("controls", "idle_minutes"), "not nothing"),
        ({"controls": {"total_minutes": True}}, ("controls", "total_minutes"), "a whole number"),
        ({"controls": {"tabs": 0}}, ("controls", "tabs"), "from 1 to 100"),
        ({"controls": {"bandwidth_kbps": 99}}, ("controls", "bandwidth_kbps"), "from 100"),
        ({"controls": {"domains": None}}, ("controls", "domains"), "must be a list"),
        ({"controls": {"domains": ["https://cdn.example"]}}, ("controls", "domains", 0), "neither a host nor *.parent"),
        ({"controls": {"domains": ["*"]}}, ("controls", "domains", 0), "neither a host nor *.parent"),
        ({"controls": {"domains": ["*.example"]}}, ("controls", "domains", 0), "neither a host nor *.parent"),
        ({"controls": {"domains": [1]}}, ("controls", "domains", 0), "must be text"),
        ({"controls": {"notice": ""}}, ("controls", "notice"), "is empty"),
        ({"controls": {"notice": "x" * 301}}, ("controls", "notice"), "at most 300"),
        ({"include": []}, ("include",), "include is empty"),
    ],
)
def test_mistakes_in_isolation_rules(changes: dict[str, object], path: tuple[str | int, ...], says: str) -> None:
    rule, problems = parse_isolation_rule({"name": "R", "include": [{"everyone": {}}], **changes})
    assert rule is None
    assert [problem.path for problem in problems] == [path]
    assert says in problems[0].message


def test_controls_alone() -> None:
    assert parse_controls({"print": True}) == (Controls(print=True), [])
    assert parse_controls([])[0] is None


def test_every_control_can_be_written() -> None:
    raw = {
        "clipboard": "both",
        "clipboard_types": ["text", "image"],
        "clipboard_max_kb": 64,
        "clipboard_per_minute": 10,
        "download": "allow",
        "download_max_mb": 5,
        "download_types": ["pdf", "office"],
        "upload": "allow",
        "upload_max_mb": 6,
        "upload_types": ["png"],
        "print": True,
        "keyboard": False,
        "watermark": True,
        "idle_minutes": 15,
        "total_minutes": 480,
        "tabs": 4,
        "bandwidth_kbps": 2000,
        "domains": ["CDN.example", "*.maps.example", "a.maps.example"],
        "notice": "Work here is recorded.",
    }
    assert raw.keys() == set(CONTROL_KEYS)
    assert parse_controls(raw) == (
        Controls(
            clipboard=Clipboard.BOTH,
            clipboard_types=frozenset(ClipboardKind),
            clipboard_max_kb=64,
            clipboard_per_minute=10,
            download=Transfer.ALLOW,
            download_max_mb=5,
            download_types=frozenset({FileKind.PDF, FileKind.OFFICE}),
            upload=Transfer.ALLOW,
            upload_max_mb=6,
            upload_types=frozenset({FileKind.PNG}),
            print=True,
            keyboard=False,
            watermark=True,
            idle_minutes=15,
            total_minutes=480,
            tabs=4,
            bandwidth_kbps=2000,
            domains=frozenset({"cdn.example", "*.maps.example"}),
            notice=frozenset({"Work here is recorded."}),
        ),
        [],
    )
    assert parse_controls({"domains": []}) == (Controls(domains=frozenset()), [])


def test_a_bound_on_what_is_forbidden_is_pointed_out() -> None:
    controls, problems = parse_controls({"download": "none", "download_max_mb": 5, "clipboard_types": ["text"]})
    assert controls == Controls(download_max_mb=5)
    assert [(problem.severity, problem.path) for problem in problems] == [
        ("warning", ("clipboard_types",)),
        ("warning", ("download_max_mb",)),
    ]


SCRAPS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["allow", "bypass", "high", GROUP, "10.0.0.0/8", "a@b.example"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "decision",
                    "include",
                    "require",
                    "exclude",
                    "mode",
                    "controls",
                    "id",
                    "levels",
                    "at_least",
                    *BY_KEY,
                    "domain",
                    "type",
                ]
            )
            | st.text(max_size=8)
            | st.booleans(),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(SCRAPS)
def test_any_document_is_read_without_raising_and_never_half(raw: object) -> None:
    for parse in (parse_policy, parse_isolation_rule, parse_policies, parse_isolation_rules, parse_controls):
        value, problems = parse(raw, path=("here",))
        errors = [problem for problem in problems if problem.severity == "error"]
        assert (value is None) == bool(errors)
        for problem in problems:
            assert problem.path[0] == "here"
            assert problem.message
            assert "\n" not in problem.message
