"""What is sent to the provider, and what may come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.errors import ConfigurationError, SignInError
from isolation.identity.oidc import aadsts, flow
from isolation.identity.oidc.aadsts import ProviderRefusalError
from isolation.identity.oidc.flow import Attempt, Cloud, EntraProvider

TENANT = "c0417050-0000-4000-8000-00000000c050"
LOGIN = "https://login.microsoftonline.com"
PROVIDER = EntraProvider("Entra", "client", "very-secret", TENANT, Cloud(LOGIN, "https://graph"))
ATTEMPT = Attempt("Entra", "nonce", "verifier", "binding")


def discovery(**changes: Any) -> dict[str, Any]:
    base = f"{LOGIN}/{TENANT}"
    return {
        "issuer": f"{base}/v2.0",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
    } | changes


ENDPOINTS = flow.parse_discovery(PROVIDER, discovery())


def test_the_authorize_request_has_pkce_state_and_nonce() -> None:
    url = flow.authorize_url(PROVIDER, ENDPOINTS, redirect_uri="https://a/cb", state="S", nonce="N", verifier="V" * 43)
    query = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
    assert query == {
        "client_id": "client",
        "response_type": "code",
        "redirect_uri": "https://a/cb",
        "response_mode": "query",
        "scope": "openid profile email",
        "state": "S",
        "nonce": "N",
        "code_challenge": flow.challenge("V" * 43),
        "code_challenge_method": "S256",
    }
    assert "V" * 43 not in url
    assert "very-secret" not in url + repr(PROVIDER)


def test_the_challenge_is_rfc_7636_appendix_b() -> None:
    assert flow.challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": f"{LOGIN}/{{tenantid}}/v2.0"},
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": "https://evil.example/token"},
        {"token_endpoint": f"{LOGIN}@evil.example/token"},
        {"token_endpoint": f"{LOGIN}.evil.example/token"},
        {"token_endpoint": f"{LOGIN}:8443/token"},
        {"token_endpoint": "http://login.microsoftonline.com/token"},
        {"token_endpoint": f"{LOGIN}/token?x=1"},
        {"token_endpoint": f"{LOGIN}/token#x"},
        {"token_endpoint": "/token"},
        {"token_endpoint": "https://[/"},
        {"token_endpoint": None},
        {"token_endpoint": [f"{LOGIN}/token"]},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": "file:///etc/passwd"},
        {"end_session_endpoint": "https://evil.example/"},
    ],
)
def test_a_discovery_document_cannot_lead_anywhere_else(changes: dict[str, Any]) -> None:
    with pytest.raises(SignInError) as caught:
        flow.parse_discovery(PROVIDER, discovery(**changes))
    assert caught.value.code == "idp-malformed"


def outcome(act: Callable[[], object]) -> str:
    """Return the code of a SignInError, or what came back as text. Anything else that is raised fails the test."""
    try:
        return repr(act())
    except SignInError as error:
        return error.code


def answer(**parameters: str) -> flow.Callback:
    return flow.parse_callback(urlencode({"state": "S", "code": "C"} | parameters).encode())


def test_the_code_of_ones_own_sign_in_may_be_redeemed() -> None:
    assert flow.check_callback(PROVIDER, ATTEMPT, answer(), binding="binding") == "C"
    assert flow.check_callback(PROVIDER, ATTEMPT, answer(iss=PROVIDER.issuer), binding="binding") == "C"


@pytest.mark.parametrize(
    ("attempt", "parameters", "binding", "code"),
    [
        (None, {}, "binding", "state-unknown"),
        (Attempt("Other", "n", "v", "binding"), {}, "binding", "state-unknown"),
        (ATTEMPT, {}, None, "state-other-browser"),
        (ATTEMPT, {}, "", "state-other-browser"),
        (ATTEMPT, {}, "other", "state-other-browser"),
        (ATTEMPT, {"error": "access_denied"}, "other", "state-other-browser"),
        (ATTEMPT, {"iss": "https://evil.example"}, "binding", "issuer-mixed-up"),
        (ATTEMPT, {"iss": ""}, "binding", "issuer-mixed-up"),
        (ATTEMPT, {"error": "access_denied"}, "binding", "idp-denied"),
        (ATTEMPT, {"error": ""}, "binding", "idp-refused"),
        (ATTEMPT, {"code": ""}, "binding", "code-missing"),
    ],
)
def test_a_code_is_not_given_out_before_every_check(attempt: Any, parameters: Any, binding: Any, code: str) -> None:
    with pytest.raises(SignInError) as caught:
        flow.check_callback(PROVIDER, attempt, answer(**parameters), binding=binding)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (b"", "state-missing"),
        (b"code=C", "state-missing"),
        (b"state=&code=C", "state-missing"),
        (b"state=S&state=S", "request-duplicate"),
        (b"state=S&code=C&code=D", "request-duplicate"),
        (b"state=S&st%61te=T", "request-duplicate"),
        (b"state=S&code=%ff", "request-malformed"),
        (b"state=S&code=\xff", "request-malformed"),
        (b"&".join(b"p%d=" % number for number in range(40)), "request-malformed"),
        (b"state=" + b"S" * 20_000, "request-too-large"),
    ],
)
def test_an_ambiguous_answer_is_no_answer(query: bytes, code: str) -> None:
    with pytest.raises(SignInError) as caught:
        flow.parse_callback(query)
    assert caught.value.code == code


@given(st.binary(max_size=200))
def test_no_query_breaks_the_reader(query: bytes) -> None:
    found = outcome(lambda: flow.parse_callback(query))
    assert found.startswith(("request-", "state-")) or "Callback(" in found


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=10))
def test_a_query_means_what_was_written(parameters: dict[str, str]) -> None:
    assert flow.parse_query(urlencode(parameters).encode()) == parameters


@given(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(["error", "error_description", "id_token"]), st.none() | st.integers() | st.text() | st.lists(st.text())
    ),
)
def test_a_token_response_yields_a_token_or_a_reason(status: int, document: dict[str, Any]) -> None:
    found = outcome(lambda: flow.parse_token_response(status, document))
    assert found.startswith("idp-") or (status == 200 and found == repr(document["id_token"]))


@pytest.mark.parametrize(
    ("error", "description", "code", "number"),
    [
        ("access_denied", "AADSTS50105: Your administrator …", "idp-not-assigned", "AADSTS50105"),
        ("invalid_grant", "AADSTS50076: Due to a configuration change", "idp-mfa", "AADSTS50076"),
        ("interaction_required", "AADSTS50076: Due to a configuration change", "idp-mfa", "AADSTS50076"),
        ("invalid_client", "AADSTS7000222: The provided client secret keys are expired", "idp-credential", "AADSTS7000222"),
        ("invalid_grant", "AADSTS54005: OAuth2 Authorization code was already redeemed", "idp-code-used", "AADSTS54005"),
        ("access_denied", "AADSTS53003: Access has been blocked", "idp-conditional-access", "AADSTS53003"),
        ("access_denied", "AADSTS53000: Device is not in required device state", "idp-device", "AADSTS53000"),
        ("access_denied", "the user said no", "idp-denied", ""),
        ("something_new", "AADSTS99999999: new", "idp-refused", "AADSTS99999999"),
        ("temporarily_unavailable", "", "idp-unavailable", ""),
    ],
)
def test_entras_errors_are_put_in_words(error: str, description: str, code: str, number: str) -> None:
    found = aadsts.explain(error, description)
    assert (found.code, found.number) == (code, number)
    assert str(found)
    assert not str(found).startswith("AADSTS")


def test_what_entra_says_is_cut_to_its_sentence() -> None:
    found = aadsts.explain("e", "AADSTS1: No.\u202e <b> Trace ID: 1\r\nCorrelation ID: 2")
    assert isinstance(found, ProviderRefusalError)
    assert found.said == "AADSTS1: No. <b>"


@pytest.mark.parametrize("directory", ["common", "organizations", "contoso.onmicrosoft.com", "", TENANT[:-1]])
def test_a_provider_is_one_tenant(directory: str) -> None:
    with pytest.raises(ConfigurationError):
        EntraProvider("Entra", "c", "s", directory, PROVIDER.cloud)


def test_a_provider_that_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        EntraProvider("Entra", "c", "s", TENANT, PROVIDER.cloud, scopes=("openid",))
    with pytest.raises(ConfigurationError):
        EntraProvider("Entra", "c", "s", TENANT, PROVIDER.cloud, prompt="none")


def test_the_sign_out_address() -> None:
    url = flow.end_session_url(ENDPOINTS, post_logout_redirect_uri="https://a/out", logout_hint="O.x")
    assert url is not None
    assert parse_qs(urlsplit(url).query) == {"post_logout_redirect_uri": ["https://a/out"], "logout_hint": ["O.x"]}
    without = flow.parse_discovery(
        PROVIDER, {name: value for name, value in discovery().items() if name != "end_session_endpoint"}
    )
    assert flow.end_session_url(without, post_logout_redirect_uri="x") is None


@pytest.mark.parametrize("body", [b"", b"[]", b"nul", b"\xff", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5_000])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(SignInError):
        flow.parse_json_object(body)
