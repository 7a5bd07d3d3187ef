"""The Graph reader against the built-in tenant over real HTTP: whole and strict, or an error with a name."""

from __future__ import annotations

import contextlib
import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isolation.clock import SystemClock
from isolation.errors import ProviderError
from isolation.policy.facts import RiskLevel, UnknownReason, UserType
from isolation.signals.model import ProviderStatus
from isolation.signals.providers import NoSuchPersonError, ThrottledError
from isolation.signals.providers.entra import GraphReader, RiskPoll, _origin, check_link, parse_page
from isolation.testing.tenant import Kind, Tenant
from isolation.testing.tenant.people import ALICE, BOB, CAROL, CONTRACTORS, EMPLOYEES, VENDORS, VENDORS_EMEA

from .conftest import settings_of


def level_of(tenant: Tenant, poll: RiskPoll, who: str) -> object:
    return poll.levels[tenant.person_key(who)].level


# ------------------------------------------------------------------------------------------------------------ risk


async def test_levels_are_read(tenant: Tenant, reader: GraphReader) -> None:
    tenant.set_risk("alice", "low")
    tenant.set_risk("erin", "none")
    poll = await reader.risky_users()
    assert level_of(tenant, poll, "bob") is RiskLevel.HIGH
    assert level_of(tenant, poll, "alice") is RiskLevel.LOW
    assert level_of(tenant, poll, "erin") is RiskLevel.NONE
    assert tenant.person_key("dave") not in poll.levels
    reading = poll.levels[tenant.person_key("bob")]
    assert (reading.email, reading.name) == (BOB.upn, BOB.name)
    assert reading.reported_at == pytest.approx(tenant.directory.risks[BOB.oid].updated, abs=0.001)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("hidden", UnknownReason.HIDDEN),
        ("someNewLevel", UnknownReason.UNRECOGNISED),
        ("unknownFutureValue", UnknownReason.UNRECOGNISED),
        ("", UnknownReason.UNRECOGNISED),
        ("None", UnknownReason.UNRECOGNISED),
        (None, UnknownReason.UNRECOGNISED),
    ],
)
async def test_levels_without_meaning_are_unknown_never_none(
    tenant: Tenant, reader: GraphReader, raw: str | None, reason: UnknownReason
) -> None:
    tenant.set_risk("bob", raw)
    assert level_of(tenant, await reader.risky_users(), "bob") is reason


@pytest.mark.case(58)
async def test_every_page_is_read(tenant: Tenant, reader: GraphReader) -> None:
    tenant.directory.populate(1_200, "medium")
    poll = await reader.risky_users()
    assert (len(poll.levels), poll.pages) == (1_201, 3)
    queries = [seen.query for seen in tenant.seen if seen.path.endswith("riskyUsers")]
    assert "$top=500" in queries[0]
    assert "$filter" not in queries[0]


async def test_pages_keep_to_one_request_a_second(tenant: Tenant) -> None:
    tenant.directory.populate(1_200)
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    reader = GraphReader(settings_of(tenant), SystemClock(), sleep=sleep)
    await reader.risky_users()
    await reader.aclose()
    assert waited == [1.0, 1.0]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (Kind.STATUS, 429, "throttled"),
        (Kind.STATUS, 500, "unreachable"),
        (Kind.STATUS, 503, "throttled"),
        (Kind.STATUS, 400, "malformed"),
        (Kind.STATUS, 401, "credentials"),
        (Kind.STATUS, 404, "malformed"),
        (Kind.MALFORMED, 0, "malformed"),
        (Kind.WRONG_SHAPE, 0, "malformed"),
        (Kind.MISSING_VALUE, 0, "malformed"),
        (Kind.TRUNCATED, 0, "unreachable"),
        (Kind.REDIRECT, 0, "malformed"),
        (Kind.HOSTILE_NEXT_LINK, 0, "malformed"),
        (Kind.ENDLESS_PAGING, 0, "incomplete"),
        (Kind.REPEATED_NEXT_LINK, 0, "incomplete"),
    ],
)
async def test_failures_of_membership_have_names(tenant: Tenant, reader: GraphReader, kind: Kind, status: int, code: str) -> None:
    tenant.fail("member-of", kind, status=status)
    with pytest.raises(ProviderError) as caught:
        await reader.groups_of(CAROL.oid)
    assert caught.value.code == code
    assert ProviderStatus(code)


@pytest.mark.case(58)
@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (Kind.STATUS, 429, "throttled"),
        (Kind.STATUS, 500, "unreachable"),
        (Kind.MALFORMED, 0, "malformed"),
        (Kind.TRUNCATED, 0, "unreachable"),
        (Kind.MISSING_VALUE, 0, "malformed"),
        (Kind.HOSTILE_NEXT_LINK, 0, "malformed"),
        (Kind.ENDLESS_PAGING, 0, "incomplete"),
        (Kind.REPEATED_NEXT_LINK, 0, "incomplete"),
    ],
)
@pytest.mark.parametrize("after", [0, 1])
async def test_failures_on_any_page_fail_the_whole_poll(
    tenant: Tenant, reader: GraphReader, kind: Kind, status: int, code: str, after: int
) -> None:
    tenant.directory.populate(700)
    tenant.fail("risky-users", kind, status=status, after=after)
    with pytest.raises(ProviderError) as caught:
        await reader.risky_users()
    assert caught.value.code == code


async def test_throttling_names_no_time_for_risk_and_one_for_groups(tenant: Tenant, reader: GraphReader) -> None:
    tenant.fail("risky-users", status=429)
    tenant.fail("member-of", status=429, retry_after=7)
    with pytest.raises(ThrottledError) as risk:
        await reader.risky_users()
    with pytest.raises(ThrottledError) as groups:
        await reader.groups_of(CAROL.oid)
    assert (risk.value.retry_after, groups.value.retry_after) == (None, 7.0)
    assert len([seen for seen in tenant.seen if seen.path.endswith("riskyUsers")]) == 1, "nobody retries behind our back"


async def test_hostile_next_link_is_not_asked(tenant: Tenant) -> None:
    """The attacker's host must see neither our token nor a request."""
    asked: list[str] = []

    class Watching(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.url.host)
            return await super().handle_async_request(request)

    reader = GraphReader(settings_of(tenant), SystemClock(), transport=Watching(), risk_page_interval=0.0)
    for kind in (Kind.HOSTILE_NEXT_LINK, Kind.REDIRECT):
        tenant.fail("risky-users", kind)
        with pytest.raises(ProviderError):
            await reader.risky_users()
    await reader.aclose()
    assert set(asked) == {"127.0.0.1"}


@pytest.mark.case(58)
async def test_missing_licence_and_missing_permission(tenant: Tenant, reader: GraphReader) -> None:
    tenant.switches.licensed = False
    with pytest.raises(ProviderError) as unlicensed:
        await reader.risky_users()
    assert unlicensed.value.code == "unlicensed"
    tenant.switches.licensed = True
    tenant.switches.permissions = frozenset()
    for request in (reader.risky_users(), reader.groups_of(CAROL.oid), reader.profile(CAROL.oid)):
        with pytest.raises(ProviderError) as forbidden:
            await request
        assert forbidden.value.code == "forbidden"


async def test_clouds_without_identity_protection(tenant: Tenant) -> None:
    reader = GraphReader(settings_of(tenant, risk_supported=False), SystemClock())
    with pytest.raises(ProviderError) as caught:
        await reader.risky_users()
    await reader.aclose()
    assert caught.value.code == "not-supported"
    assert not tenant.seen, "nothing is asked"


async def test_a_refused_token_is_replaced_once(tenant: Tenant, reader: GraphReader) -> None:
    await reader.risky_users()
    tenant.expire_tokens()
    poll = await reader.risky_users()
    assert level_of(tenant, poll, "bob") is RiskLevel.HIGH
    assert [seen.status for seen in tenant.seen if seen.path.endswith("riskyUsers")][-2:] == [401, 200]


async def test_unreachable(tenant: Tenant) -> None:
    reader = GraphReader(settings_of(tenant, graph="http://127.0.0.1:9"), SystemClock())
    with pytest.raises(ProviderError) as caught:
        await reader.risky_users()
    await reader.aclose()
    assert caught.value.code == "credentials" or caught.value.code == "unreachable"


async def test_proxies_of_the_environment_are_not_used(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    reader = GraphReader(settings_of(tenant), SystemClock())
    assert (await reader.risky_users()).levels
    await reader.aclose()


# ------------------------------------------------------------------------------------------------------------ groups, profile


async def test_nested_groups_over_several_pages(tenant: Tenant, reader: GraphReader) -> None:
    tenant.switches.max_page = 1
    reading = await reader.groups_of(CAROL.oid)
    assert reading.groups == {CONTRACTORS, VENDORS, VENDORS_EMEA}, "and no directory role"
    assert reading.source == "graph"
    assert (await reader.groups_of(ALICE.oid)).groups == {EMPLOYEES}


async def test_empty_page_is_no_groups_only_when_graph_says_so(tenant: Tenant, reader: GraphReader) -> None:
    tenant.directory.remove_member("Employees", "alice")
    assert (await reader.groups_of(ALICE.oid)).groups == frozenset()


async def test_groups_of_somebody_unknown(reader: GraphReader) -> None:
    with pytest.raises(NoSuchPersonError):
        await reader.groups_of("00000000-0000-4000-8000-000000000000")
    with pytest.raises(ProviderError):
        await reader.groups_of("../groups")


async def test_profile(tenant: Tenant, reader: GraphReader) -> None:
    tenant.directory.set_user_type("carol", "Guest")
    tenant.directory.set_enabled("carol", False)
    tenant.directory.revoke_sessions("carol")
    profile = await reader.profile(CAROL.oid)
    assert (profile.email, profile.name, profile.user_type) == (CAROL.upn, CAROL.name, UserType.GUEST)
    assert (profile.enabled, profile.employee_type) == (False, "Contractor")
    assert profile.sessions_valid_from == pytest.approx(tenant.directory.find("carol").sessions_valid_from, abs=0.001)
    tenant.directory.delete_user("carol")
    with pytest.raises(NoSuchPersonError):
        await reader.profile(CAROL.oid)


async def test_somebody_is_found_by_name_and_the_name_stays_in_its_place(tenant: Tenant, reader: GraphReader) -> None:
    assert await reader.find(CAROL.upn) == CAROL.oid
    assert await reader.find("nobody@contoso.example") is None
    tenant.state.seen.clear()
    for name in ("x/../../groups", "x?$select=id", "x#y", "x%2f..", "x\\y"):
        with contextlib.suppress(ProviderError):
            assert await reader.find(name) is None
    assert all(seen.path.startswith("/v1.0/users/") or seen.path.endswith("/token") for seen in tenant.seen)


# ------------------------------------------------------------------------------------------------------------ parsers


def fixed(*answers: httpx.Response) -> httpx.MockTransport:
    """A Graph that gives these answers in turn, and tokens to everybody."""
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            return httpx.Response(200, json={"token_type": "Bearer", "expires_in": 3599, "access_token": "t"})
        return left.pop(0)

    return httpx.MockTransport(answer)


async def poll_of(tenant: Tenant, *answers: httpx.Response) -> RiskPoll:
    reader = GraphReader(settings_of(tenant), SystemClock(), transport=fixed(*answers), risk_page_interval=0.0)
    try:
        return await reader.risky_users()
    finally:
        await reader.aclose()


async def test_somebody_on_two_pages_counts_with_the_stricter_row(tenant: Tenant) -> None:
    link = f"{tenant.base_url}/v1.0/identityProtection/riskyUsers?$skiptoken=1"

    async def merged(first: object, second: object) -> object:
        one = httpx.Response(200, json={"value": [{"id": BOB.oid, "riskLevel": first}], "@odata.nextLink": link})
        two = httpx.Response(200, json={"value": [{"id": BOB.oid.upper(), "riskLevel": second}]})
        return level_of(tenant, await poll_of(tenant, one, two), "bob")

    for order in (("low", "high"), ("high", "low"), ("new", "high"), ("high", None)):
        assert await merged(*order) is RiskLevel.HIGH
    for order in (("new", "medium"), ("medium", "new")):
        assert await merged(*order) is UnknownReason.UNRECOGNISED


@pytest.mark.parametrize("row", [{}, {"id": None}, {"id": 5}, {"id": "bob"}, {"id": BOB.oid + "\n"}, {"id": f"x/{BOB.oid}"}])
async def test_rows_without_a_proper_id_fail_the_poll(tenant: Tenant, row: dict[str, object]) -> None:
    with pytest.raises(ProviderError) as caught:
        await poll_of(tenant, httpx.Response(200, json={"value": [row | {"riskLevel": "high"}]}))
    assert caught.value.code == "malformed"


@pytest.mark.parametrize("level", [5, True, ["high"], {"level": "high"}, "HIGH", "high "])
async def test_levels_of_another_type_or_spelling_are_unknown(tenant: Tenant, level: object) -> None:
    poll = await poll_of(tenant, httpx.Response(200, json={"value": [{"id": BOB.oid, "riskLevel": level}]}))
    assert level_of(tenant, poll, "bob") is UnknownReason.UNRECOGNISED


async def test_bodies_are_bounded_and_not_compressed(tenant: Tenant) -> None:
    async def endless() -> object:
        while True:
            yield b" " * 1_000_000

    for response in (
        httpx.Response(200, content=endless()),  # type: ignore[arg-type]
        httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"\x1f\x8b")),
    ):
        with pytest.raises(ProviderError) as caught:
            await poll_of(tenant, response)
        assert caught.value.code == "malformed"


async def test_redirects_and_empty_answers_are_no_data(tenant: Tenant) -> None:
    for response in (
        httpx.Response(204),
        httpx.Response(200, content=b""),
        httpx.Response(304),
        httpx.Response(302, headers={"Location": f"{tenant.base_url}/v1.0/elsewhere"}),
        httpx.Response(206, json={"value": []}),
    ):
        with pytest.raises(ProviderError):
            await poll_of(tenant, response)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200) | _json.map(lambda value: json.dumps(value).encode()))
@settings(deadline=None)
def test_no_body_does_anything_but_parse_or_raise(body: bytes) -> None:
    try:
        rows, link = parse_page(body)
    except ProviderError as error:
        assert error.code == "malformed"  # noqa: PT017 - both outcomes are right
    else:
        assert all(isinstance(row, dict) for row in rows)
        assert link is None or isinstance(link, str)


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(ProviderError):
        parse_page(b"[" * 100_000)


ORIGIN = _origin("https://graph.microsoft.com")


@pytest.mark.parametrize(
    "link",
    [
        "https://graph.microsoft.com/v1.0/x?$skiptoken=1",
        "https://GRAPH.microsoft.com:443/v1.0/x",
    ],
)
def test_links_to_graph_are_followed(link: str) -> None:
    check_link(link, ORIGIN)


@pytest.mark.parametrize(
    "link",
    [
        "http://graph.microsoft.com/v1.0/x",
        "https://graph.microsoft.com:8443/v1.0/x",
        "https://graph.microsoft.com.attacker.example/v1.0/x",
        "https://attacker.example/v1.0/x",
        "https://graph.microsoft.com@attacker.example/v1.0/x",
        "https://attacker.example\\@graph.microsoft.com/v1.0/x",
        "https://graph.microsoft.com\\.attacker.example/v1.0/x",
        "https://user@graph.microsoft.com/v1.0/x",
        "https://graph.microsoft.com/beta/x",
        "https://graph.microsoft.com",
        "//graph.microsoft.com/v1.0/x",
        "/v1.0/x",
        "https:///v1.0/x",
        "https://graph.microsoft.com/v1.0/x\r\nHost: attacker.example",
        "https://graph.microsoft.com/v1.0/\u0130",
        "javascript:alert(1)",
        "",
        "https://[::1/v1.0/",
    ],
)
def test_links_to_anywhere_else_are_refused(link: str) -> None:
    with pytest.raises(ProviderError):
        check_link(link, ORIGIN)


@given(st.text(max_size=60), st.text(max_size=30))
@settings(deadline=None)
def test_no_accepted_link_leads_away(before: str, between: str) -> None:
    for link in (before, f"https://{before}graph.microsoft.com{between}/v1.0/", f"https://{before}/v1.0/{between}"):
        try:
            check_link(link, ORIGIN)
        except ProviderError:
            continue
        assert httpx.URL(link).host == "graph.microsoft.com"
        assert httpx.URL(link).scheme == "https"
