"""The built-in tenant speaks Entra's and Graph's wire formats: what the product's own tests lean on."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import httpx
import jwt
import pytest

from isolation.testing.clock import FakeClock
from isolation.testing.tenant import Kind, Tenant
from isolation.testing.tenant.people import (
    ALICE,
    BOB,
    CAROL,
    CONTRACTORS,
    DAVE,
    EMPLOYEES,
    ERIN,
    SECURITY,
    VENDORS,
    VENDORS_EMEA,
)

REDIRECT = "http://auth.localhost:8080/.isolation/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tenant(clock: FakeClock) -> Iterator[Tenant]:
    with Tenant(clock=clock) as running:
        yield running


@pytest.fixture
def client(tenant: Tenant) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=tenant.base_url, trust_env=False, timeout=10) as browser:
        yield browser


def authorize_params(tenant: Tenant, **changes: str | None) -> dict[str, str]:
    params: dict[str, str | None] = {
        "client_id": tenant.client_id,
        "response_type": "code",
        "redirect_uri": REDIRECT,
        "scope": "openid profile email offline_access",
        "state": "the-state",
        "nonce": "the-nonce",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes
    return {name: value for name, value in params.items() if value is not None}


def authorize(client: httpx.Client, tenant: Tenant, **changes: str | None) -> httpx.Response:
    return client.get(f"/{tenant.tenant_id}/oauth2/v2.0/authorize", params=authorize_params(tenant, **changes))


def choose(client: httpx.Client, tenant: Tenant, page: httpx.Response, oid: str) -> httpx.Response:
    found = re.search(r'name="page" value="([^"]+)"', page.text)
    assert found, page.text
    return client.post(f"/{tenant.tenant_id}/login", data={"page": found[1], "person": oid})


def answer_of(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 302, response.text
    location = urlsplit(response.headers["location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == REDIRECT
    return dict(parse_qsl(location.query))


def sign_in(client: httpx.Client, tenant: Tenant, oid: str = ALICE.oid, **changes: str | None) -> dict[str, str]:
    return answer_of(choose(client, tenant, authorize(client, tenant, **changes), oid))


def redeem(client: httpx.Client, tenant: Tenant, code: str | None, **changes: str | None) -> httpx.Response:
    form: dict[str, str | None] = {
        "grant_type": "authorization_code",
        "client_id": tenant.client_id,
        "client_secret": tenant.client_secret,
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    } | changes
    data = {name: value for name, value in form.items() if value is not None}
    return client.post(f"/{tenant.tenant_id}/oauth2/v2.0/token", data=data)


def id_claims(client: httpx.Client, tenant: Tenant, token: str) -> dict[str, object]:
    keys = client.get(f"/{tenant.tenant_id}/discovery/v2.0/keys").json()["keys"]
    kid = jwt.get_unverified_header(token)["kid"]
    jwk = next(key for key in keys if key["kid"] == kid)
    assert jwk["issuer"] == tenant.state.issuer
    key = jwt.PyJWK({name: value for name, value in jwk.items() if name != "issuer"})
    options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    return dict(
        jwt.decode(token, key.key, algorithms=["RS256"], audience=tenant.client_id, issuer=tenant.state.issuer, options=options)
    )


def graph_token(client: httpx.Client, tenant: Tenant) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": tenant.client_id,
        "client_secret": tenant.client_secret,
        "scope": f"{tenant.base_url}/.default",
    }
    answer = client.post(f"/{tenant.tenant_id}/oauth2/v2.0/token", data=form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def graph(client: httpx.Client, tenant: Tenant, path: str, **headers: str) -> httpx.Response:
    token = graph_token(client, tenant)
    return client.get(f"/v1.0{path}" if path.startswith("/") else path, headers={"Authorization": f"Bearer {token}", **headers})


# ---------------------------------------------------------------------------------------------------------------- OIDC


def test_discovery_names_this_tenant_and_common_names_a_template(client: httpx.Client, tenant: Tenant) -> None:
    document = client.get(f"/{tenant.tenant_id}/v2.0/.well-known/openid-configuration").json()
    assert document["issuer"] == f"{tenant.base_url}/{tenant.tenant_id}/v2.0"
    assert document["token_endpoint"].startswith(tenant.base_url)
    assert "code_challenge_methods_supported" not in document
    common = client.get("/common/v2.0/.well-known/openid-configuration").json()
    assert common["issuer"] == tenant.base_url + "/{tenantid}/v2.0"
    unknown = client.get("/99999999-0000-4000-8000-000000000000/v2.0/.well-known/openid-configuration")
    assert unknown.status_code == 400
    assert unknown.json()["error_codes"] == [90002]


def test_whole_sign_in(client: httpx.Client, tenant: Tenant) -> None:
    page = authorize(client, tenant)
    assert page.status_code == 200
    for person in (ALICE, BOB, CAROL, DAVE, ERIN):
        assert person.name in page.text
    assert 'type="password"' not in page.text
    answer = answer_of(choose(client, tenant, page, ALICE.oid))
    assert answer["state"] == "the-state"
    tokens = redeem(client, tenant, answer["code"]).json()
    claims = id_claims(client, tenant, tokens["id_token"])
    assert claims["oid"] == ALICE.oid
    assert claims["tid"] == tenant.tenant_id
    assert claims["nonce"] == "the-nonce"
    assert claims["ver"] == "2.0"
    assert claims["email"] == "alice@contoso.example"
    assert claims["groups"] == [EMPLOYEES]
    assert tokens["refresh_token"]
    refreshed = redeem(client, tenant, None, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert refreshed.json()["id_token"]


def test_id_token_holds_what_the_scope_asked_for(client: httpx.Client, tenant: Tenant) -> None:
    tokens = redeem(client, tenant, sign_in(client, tenant, scope="openid")["code"]).json()
    claims = id_claims(client, tenant, tokens["id_token"])
    assert not claims.keys() & {"oid", "email", "preferred_username", "name"}
    assert "refresh_token" not in tokens


def test_form_post_brings_the_answer_in_a_form(client: httpx.Client, tenant: Tenant) -> None:
    page = choose(client, tenant, authorize(client, tenant, response_mode="form_post", state='"><script>'), ALICE.oid)
    assert page.status_code == 200
    assert f'action="{REDIRECT}"' in page.text
    assert 'name="code"' in page.text
    assert 'value="&#34;&gt;&lt;script&gt;"' in page.text


def test_single_sign_on_and_prompt(client: httpx.Client, tenant: Tenant) -> None:
    error = answer_of(authorize(client, tenant, prompt="none"))
    assert error["error"] == "login_required"
    assert error["error_description"].startswith("AADSTS50058")
    sign_in(client, tenant)
    assert answer_of(authorize(client, tenant))["code"]
    assert answer_of(authorize(client, tenant, prompt="none"))["code"]
    for prompt in ("select_account", "login", "consent"):
        assert "Choose an account" in authorize(client, tenant, prompt=prompt).text
    assert "Choose an account" in authorize(client, tenant, login_hint=BOB.upn).text
    assert answer_of(authorize(client, tenant, login_hint=ALICE.upn))["code"]
    tenant.directory.set_enabled("alice", False)
    assert "Choose an account" in authorize(client, tenant).text


def test_max_age(client: httpx.Client, tenant: Tenant, clock: FakeClock) -> None:
    sign_in(client, tenant)
    clock.advance(61)
    assert "Choose an account" in authorize(client, tenant, max_age="60").text
    assert answer_of(authorize(client, tenant, max_age="90"))["code"]


def test_login_hint_and_select_account_cannot_be_combined(client: httpx.Client, tenant: Tenant) -> None:
    assert answer_of(authorize(client, tenant, prompt="select_account", login_hint=BOB.upn))["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"code_challenge": None, "code_challenge_method": None}, 9002325),
        ({"code_challenge_method": "plain"}, 9002325),
        ({"code_challenge": "short"}, 501491),
        ({"response_type": "token"}, 700054),
        ({"scope": None}, 900144),
    ],
)
def test_authorize_errors_go_back_to_the_application(
    client: httpx.Client, tenant: Tenant, changes: dict[str, str | None], number: int
) -> None:
    answer = answer_of(authorize(client, tenant, **changes))
    assert answer["error_description"].startswith(f"AADSTS{number}:")
    assert answer["state"] == "the-state"


@pytest.mark.parametrize(
    ("changes", "number"),
    [({"client_id": "somebody-else"}, 700016), ({"redirect_uri": "https://attacker.example/callback"}, 50011)],
)
def test_authorize_errors_that_must_not_be_redirected(
    client: httpx.Client, tenant: Tenant, changes: dict[str, str], number: int
) -> None:
    response = authorize(client, tenant, **changes)
    assert response.status_code == 400
    assert f"AADSTS{number}" in response.text


def test_registered_redirect_uris_are_exact() -> None:
    with Tenant(redirect_uris=[REDIRECT]) as tenant:
        assert tenant.state.may_redirect_to(REDIRECT)
        assert not tenant.state.may_redirect_to(REDIRECT + "/more")
        assert not tenant.state.may_redirect_to("http://localhost/")


def test_code_is_single_use(client: httpx.Client, tenant: Tenant) -> None:
    code = sign_in(client, tenant)["code"]
    assert redeem(client, tenant, code).status_code == 200
    again = redeem(client, tenant, code)
    assert again.status_code == 400
    assert (again.json()["error"], again.json()["error_codes"]) == ("invalid_grant", [54005])


def test_code_lives_ten_minutes(client: httpx.Client, tenant: Tenant, clock: FakeClock) -> None:
    early, late = sign_in(client, tenant)["code"], answer_of(authorize(client, tenant))["code"]
    clock.advance(599)
    assert redeem(client, tenant, early).status_code == 200
    clock.advance(1)
    assert redeem(client, tenant, late).json()["error_codes"] == [70008]


@pytest.mark.parametrize(
    ("changes", "status", "number"),
    [
        ({"code_verifier": "w" * 43}, 400, 501481),
        ({"code_verifier": None}, 400, 501481),
        ({"redirect_uri": "http://localhost/other"}, 400, 500112),
        ({"code": "1.invented"}, 400, 9002313),
        ({"client_secret": "wrong"}, 401, 7000215),
        ({"client_secret": None}, 401, 7000218),
        ({"client_id": "somebody-else"}, 400, 700016),
        ({"grant_type": "password"}, 400, 70003),
        ({"client_assertion": "x.y.z", "client_secret": None}, 401, 700027),
    ],
)
def test_token_errors(client: httpx.Client, tenant: Tenant, changes: dict[str, str | None], status: int, number: int) -> None:
    code = sign_in(client, tenant)["code"]
    response = redeem(
        client, tenant, changes.get("code", code), **{name: value for name, value in changes.items() if name != "code"}
    )
    assert response.status_code == status
    body = response.json()
    assert body["error_codes"] == [number]
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert {"error", "timestamp", "trace_id", "correlation_id", "error_uri"} <= body.keys()


def test_token_accepts_basic_and_refuses_origin(client: httpx.Client, tenant: Tenant) -> None:
    form = {"grant_type": "client_credentials", "scope": "https://graph.microsoft.com/.default"}
    url = f"/{tenant.tenant_id}/oauth2/v2.0/token"
    assert client.post(url, data=form, auth=(tenant.client_id, tenant.client_secret)).status_code == 200
    crossed = client.post(url, data=form, auth=(tenant.client_id, tenant.client_secret), headers={"Origin": "http://a.localhost"})
    assert crossed.json()["error_codes"] == [9002326]


@pytest.mark.parametrize(
    ("scope", "tenant_name", "number"),
    [
        ("openid", None, 1002012),
        ("https://other.example/.default", None, 500011),
        ("https://graph.microsoft.com/.default", "common", 9001023),
    ],
)
def test_client_credentials_errors(
    client: httpx.Client, tenant: Tenant, scope: str, tenant_name: str | None, number: int
) -> None:
    form = {
        "grant_type": "client_credentials",
        "scope": scope,
        "client_id": tenant.client_id,
        "client_secret": tenant.client_secret,
    }
    response = client.post(f"/{tenant_name or tenant.tenant_id}/oauth2/v2.0/token", data=form)
    assert response.json()["error_codes"] == [number]


def test_disabled_people_get_no_token(client: httpx.Client, tenant: Tenant) -> None:
    answer = sign_in(client, tenant)
    tenant.directory.set_enabled("alice", False)
    assert redeem(client, tenant, answer["code"]).json()["error_codes"] == [50057]
    page = authorize(client, tenant, prompt="login")
    assert "AADSTS50057" in choose(client, tenant, page, ALICE.oid).text


def test_groups_claim_is_transitive_and_overage_replaces_it(client: httpx.Client, tenant: Tenant) -> None:
    tokens = redeem(client, tenant, sign_in(client, tenant, CAROL.oid)["code"]).json()
    assert set(id_claims(client, tenant, tokens["id_token"])["groups"]) == {CONTRACTORS, VENDORS, VENDORS_EMEA}  # type: ignore[call-overload]
    tenant.switches.overage = True
    tokens = redeem(client, tenant, answer_of(authorize(client, tenant))["code"]).json()
    claims = id_claims(client, tenant, tokens["id_token"])
    assert "groups" not in claims
    assert claims["_claim_names"] == {"groups": "src1"}


def test_key_rotation_overlaps_and_forging_uses_an_unpublished_key(client: httpx.Client, tenant: Tenant) -> None:
    def kids() -> list[str]:
        return [key["kid"] for key in client.get(f"/{tenant.tenant_id}/discovery/v2.0/keys").json()["keys"]]

    before = kids()
    assert len(before) == 2
    tenant.keys.rotate()
    assert set(before) < set(kids())
    tokens = redeem(client, tenant, sign_in(client, tenant)["code"]).json()
    assert jwt.get_unverified_header(tokens["id_token"])["kid"] == kids()[0]
    tenant.keys.forge(True)
    tokens = redeem(client, tenant, answer_of(authorize(client, tenant))["code"]).json()
    with pytest.raises(jwt.InvalidSignatureError):
        id_claims(client, tenant, tokens["id_token"])


def test_skew_moves_the_times_in_tokens(client: httpx.Client, tenant: Tenant, clock: FakeClock) -> None:
    tenant.switches.skew = -7200
    tokens = redeem(client, tenant, sign_in(client, tenant)["code"]).json()
    assert id_claims(client, tenant, tokens["id_token"])["iat"] == int(clock.now()) - 7200


def test_requested_authentication_context_comes_back(client: httpx.Client, tenant: Tenant) -> None:
    code = sign_in(client, tenant, claims='{"id_token":{"acrs":{"essential":true,"value":"c1"}}}')["code"]
    assert id_claims(client, tenant, redeem(client, tenant, code).json()["id_token"])["acrs"] == ["c1"]
    assert answer_of(authorize(client, tenant, claims="not json"))["error"] == "invalid_request"


def test_logout_ends_single_sign_on(client: httpx.Client, tenant: Tenant) -> None:
    sign_in(client, tenant)
    url = f"/{tenant.tenant_id}/oauth2/v2.0/logout"
    response = client.get(url, params={"post_logout_redirect_uri": "http://auth.localhost:8080/", "state": "s"})
    assert response.headers["location"] == "http://auth.localhost:8080/?state=s"
    assert "Choose an account" in authorize(client, tenant).text
    assert client.get(url, params={"post_logout_redirect_uri": "https://attacker.example/"}).status_code == 200


# ---------------------------------------------------------------------------------------------------------------- Graph


def test_risky_users(client: httpx.Client, tenant: Tenant) -> None:
    body = graph(client, tenant, "/identityProtection/riskyUsers?$top=500").json()
    assert [(row["id"], row["riskLevel"], row["riskState"]) for row in body["value"]] == [(BOB.oid, "high", "atRisk")]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", body["value"][0]["riskLastUpdatedDateTime"])
    assert "@odata.nextLink" not in body


def test_risky_users_pages_filter_select(client: httpx.Client, tenant: Tenant) -> None:
    tenant.directory.populate(7, "medium")
    url: str | None = (
        "/identityProtection/riskyUsers?$top=3&$select=id,riskLevel&$filter=riskLevel eq 'medium' and riskState eq 'atRisk'"
    )
    rows, pages = [], 0
    while url:
        body = graph(client, tenant, url).json()
        rows += body["value"]
        pages += 1
        url = body.get("@odata.nextLink")
        assert url is None or url.startswith(f"{tenant.base_url}/v1.0/identityProtection/riskyUsers?")
    assert (pages, len({row["id"] for row in rows})) == (3, 7)
    assert all(row.keys() == {"id", "riskLevel"} for row in rows)


@pytest.mark.parametrize(
    "query",
    ["$top=501", "$top=0", "$top=x", "$filter=riskLevel", "$filter=nope eq 'x'", "$skiptoken=!!", "top=5", "$select=nope"],
)
def test_bad_queries_are_refused(client: httpx.Client, tenant: Tenant, query: str) -> None:
    response = graph(client, tenant, f"/identityProtection/riskyUsers?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "BadRequest"


def test_unknown_levels_are_hidden_from_callers_that_do_not_ask(client: httpx.Client, tenant: Tenant) -> None:
    tenant.set_risk("bob", "someNewLevel")
    plain = graph(client, tenant, "/identityProtection/riskyUsers").json()
    assert plain["value"][0]["riskLevel"] == "unknownFutureValue"
    asked = graph(client, tenant, "/identityProtection/riskyUsers", Prefer="include-unknown-enum-members").json()
    assert asked["value"][0]["riskLevel"] == "someNewLevel"
    tenant.set_risk("bob", None)
    assert graph(client, tenant, f"/identityProtection/riskyUsers/{BOB.oid}").json()["riskLevel"] is None
    assert graph(client, tenant, f"/identityProtection/riskyUsers/{ALICE.oid}").status_code == 404


def test_user_properties_need_select(client: httpx.Client, tenant: Tenant) -> None:
    plain = graph(client, tenant, f"/users/{CAROL.oid}").json()
    assert plain["mail"] == "carol@contoso.example"
    assert not plain.keys() & {"userType", "accountEnabled", "employeeType"}
    chosen = graph(client, tenant, "/users/carol@contoso.example?$select=userType,accountEnabled,employeeType").json()
    assert (chosen["userType"], chosen["accountEnabled"], chosen["employeeType"]) == ("Member", True, "Contractor")
    missing = graph(client, tenant, "/users/00000000-0000-4000-8000-000000000000")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "Request_ResourceNotFound")


def test_transitive_groups(client: httpx.Client, tenant: Tenant) -> None:
    plain = graph(client, tenant, f"/users/{CAROL.oid}/transitiveMemberOf").json()["value"]
    groups = {row["id"] for row in plain if row["@odata.type"] == "#microsoft.graph.group"}
    assert groups == {CONTRACTORS, VENDORS, VENDORS_EMEA}
    assert any(row["@odata.type"] == "#microsoft.graph.directoryRole" for row in plain)
    for cast in ("graph.group", "microsoft.graph.group"):
        url = f"/users/{CAROL.oid}/transitiveMemberOf/{cast}?$count=true&$top=2"
        page = graph(client, tenant, url, ConsistencyLevel="eventual").json()
        assert page["@odata.count"] == 3
        rest = graph(client, tenant, page["@odata.nextLink"], ConsistencyLevel="eventual").json()
        assert {row["id"] for row in page["value"] + rest["value"]} == groups
        assert graph(client, tenant, url).status_code == 400


def test_users_groups_members_and_delta(client: httpx.Client, tenant: Tenant) -> None:
    assert {row["userPrincipalName"] for row in graph(client, tenant, "/users").json()["value"]} >= {ALICE.upn, ERIN.upn}
    assert SECURITY in {row["id"] for row in graph(client, tenant, "/groups").json()["value"]}
    assert [row["id"] for row in graph(client, tenant, f"/groups/{VENDORS}/members").json()["value"]] == [VENDORS_EMEA]
    for path in ("/users/delta", "/users/delta()", "/groups/delta", "/groups/delta()"):
        first = graph(client, tenant, path).json()
        assert first["value"]
        assert graph(client, tenant, first["@odata.deltaLink"]).json()["value"] == []
        tenant.directory.add_member("Security team", "alice")
        assert graph(client, tenant, first["@odata.deltaLink"]).json()["value"]
        tenant.directory.remove_member("Security team", "alice")
    assert graph(client, tenant, "/users/delta?$deltatoken=bad").status_code == 410


def test_bearer_tokens_are_checked(client: httpx.Client, tenant: Tenant, clock: FakeClock) -> None:
    url = "/v1.0/identityProtection/riskyUsers"

    def status(token: str) -> int:
        return client.get(url, headers={"Authorization": f"Bearer {token}"}).status_code

    token = graph_token(client, tenant)
    person = redeem(client, tenant, sign_in(client, tenant)["code"]).json()
    assert status(token) == 200
    assert client.get(url).status_code == 401
    assert status("invented") == 401
    assert status(token[:-4] + "AAAA") == 401
    assert status(person["id_token"]) == 401
    assert status(person["access_token"]) == 403
    clock.advance(3600)
    assert status(token) == 401


def test_missing_licence_and_missing_permission_are_different_403(client: httpx.Client, tenant: Tenant) -> None:
    tenant.switches.licensed = False
    unlicensed = graph(client, tenant, "/identityProtection/riskyUsers")
    assert unlicensed.status_code == 403
    assert unlicensed.json()["error"]["message"].startswith("Your tenant is not licensed")
    tenant.switches.permissions = frozenset()
    forbidden = graph(client, tenant, "/identityProtection/riskyUsers")
    assert "scopes are missing" in forbidden.json()["error"]["message"]
    assert graph(client, tenant, "/users").json()["error"]["code"] == "Authorization_RequestDenied"


def test_throttling_of_risk_has_no_retry_after(client: httpx.Client, tenant: Tenant) -> None:
    tenant.fail("risky-users", status=429, times=1)
    tenant.fail("users", status=429, retry_after=7)
    risk, users = graph(client, tenant, "/identityProtection/riskyUsers"), graph(client, tenant, "/users")
    assert (risk.status_code, risk.headers.get("retry-after"), risk.json()["error"]["code"]) == (429, None, "TooManyRequests")
    assert (users.status_code, users.headers.get("retry-after")) == (429, "7")
    assert graph(client, tenant, "/identityProtection/riskyUsers").status_code == 200


def test_other_failures(client: httpx.Client, tenant: Tenant) -> None:
    risky = "/identityProtection/riskyUsers"
    tenant.fail("risky-users", Kind.MALFORMED)
    with pytest.raises(ValueError):
        graph(client, tenant, risky).json()
    tenant.fail("risky-users", Kind.TRUNCATED)
    with pytest.raises(httpx.RemoteProtocolError):
        graph(client, tenant, risky)
    tenant.fail("risky-users", Kind.HOSTILE_NEXT_LINK)
    assert graph(client, tenant, risky).json()["@odata.nextLink"].startswith("http://graph.attacker.invalid/")
    tenant.fail("risky-users", Kind.EMPTY_VALUE)
    assert graph(client, tenant, risky).json()["value"] == []
    tenant.fail("risky-users", Kind.ENDLESS_PAGING)
    seen, url = set(), risky
    for _ in range(5):
        url = graph(client, tenant, url).json()["@odata.nextLink"]
        seen.add(url)
    assert len(seen) == 5
    tenant.heal()
    assert graph(client, tenant, risky).status_code == 200


# ---------------------------------------------------------------------------------------------------------------- control


def test_control_page_shows_people_and_changes_risk(client: httpx.Client, tenant: Tenant) -> None:
    page = client.get("/_tenant/")
    assert page.status_code == 200
    assert "Alice Archer" in page.text
    done = client.post(f"/_tenant/people/{ALICE.oid}", data={"risk": "high"}, headers={"Accept": "text/html"})
    assert (done.status_code, done.headers["location"]) == (303, "/_tenant/")
    people = {person["email"]: person for person in client.get("/_tenant/state").json()["people"]}
    assert people["alice@contoso.example"]["risk"] == "high"
    assert people["carol@contoso.example"]["groups"] == ["Vendors", "Vendors EMEA", "Contractors"]


def test_control_api(client: httpx.Client, tenant: Tenant) -> None:
    def post(path: str, **form: object) -> httpx.Response:
        return client.post(f"/_tenant/{path}", json=form)

    assert post("people/alice", risk=None).status_code == 200
    assert tenant.directory.risks[ALICE.oid].level is None
    assert post("people/alice", risk="forget", enabled=False, add_group="Contractors", user_type="Guest").status_code == 200
    assert ALICE.oid not in tenant.directory.risks
    assert not tenant.directory.users[ALICE.oid].enabled
    assert CONTRACTORS in {group.id for group in tenant.directory.groups_of(ALICE.oid)}
    assert post("faults", endpoint="risky-users", kind="status", status=429).status_code == 200
    assert graph(client, tenant, "/identityProtection/riskyUsers").status_code == 429
    assert post("faults", kind="none").json()["faults"] == {}
    assert post("switches", overage=True, skew=30, permissions="").json()["switches"]["overage"]
    assert post("keys", forge="known-kid").json()["switches"]["forging"]
    assert post("populate", number=3).json()["others"] == 3
    assert post("people/nobody", risk="high").status_code == 404
    assert post("people/alice", nonsense="x").status_code == 400
    assert post("people/alice", enabled="maybe").status_code == 400
    assert post("faults", endpoint="risky-users", kind="nonsense").status_code == 400
    assert not post("reset").json()["switches"]["forging"]
    assert tenant.directory.users[ALICE.oid].enabled


def test_control_refuses_other_sites_and_rebound_names(client: httpx.Client, tenant: Tenant) -> None:
    url = f"/_tenant/people/{ALICE.oid}"
    assert client.post(url, data={"risk": "none"}, headers={"Origin": "http://data.localhost:8080"}).status_code == 403
    assert client.post(url, data={"risk": "none"}, headers={"Origin": "null"}).status_code == 403
    assert client.post(url, data={"risk": "none"}, headers={"Host": "attacker.example"}).status_code == 403
    assert client.post(url, data={"risk": "none"}, headers={"Origin": tenant.base_url}).status_code == 200


def test_expired_tokens_are_refused_until_renewed(client: httpx.Client, tenant: Tenant) -> None:
    token = graph_token(client, tenant)
    tenant.expire_tokens()
    assert client.get("/v1.0/users", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert graph(client, tenant, "/users").status_code == 200


def test_recent_requests_hold_no_login_query(client: httpx.Client, tenant: Tenant) -> None:
    sign_in(client, tenant)
    authorize_seen = next(seen for seen in tenant.seen if seen.path.endswith("/authorize"))
    assert (authorize_seen.method, authorize_seen.status, authorize_seen.query) == ("GET", 200, "")
