"""What people are told: refusals and failures as a page, and the same as a problem document for code.

One table holds the words for every failure, so that the gate, the endpoints and the documentation agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from starlette.responses import Response

from isolation.errors import BadRequestError, BrokerError, IsolationError, SignInError, StoreError, UpstreamError
from isolation.identity.oidc.aadsts import ProviderRefusalError
from isolation.routing.model import RefusalReason, Refuse
from isolation.routing.reasons import refusal_text
from isolation.web.pages import PageRenderer, problem

# limits
RETRY_SECONDS = 15  # Retry-After of what passes by itself: long enough not to make an outage worse, short enough to wait for


@dataclass(frozen=True, slots=True)
class Failure:
    """The words for one way to fail. ``tone`` (``bad``, ``warn`` or empty) and ``symbol`` are the look; ``retry``: trying again may help."""

    code: str
    status: int
    title: str
    text: str
    advice: str = ""
    retry: bool = False
    tone: str = "warn"
    symbol: str = "warn"


@dataclass(frozen=True, slots=True)
class Act:
    """Something to press: where it leads and what it says."""

    label: str
    url: str


_WAIT = "This usually passes by itself. Try again in a moment."
_ALL = (
    Failure("upstream-down", 502, "The app is not answering", "The way to the app is open to you, but the app itself cannot be reached.", _WAIT, True, symbol="plug"),
    Failure("upstream-slow", 504, "The app is taking too long", "The app was asked and did not answer in time.", _WAIT, True, symbol="clock"),
    Failure(
        "upstream-malformed",
        502,
        "The app gave an answer nobody can read",
        "What the app sent is not a valid response, so it was not passed on.",
        "Trying again seldom helps here. Please tell the people who run the app.",
        True,
        symbol="plug",
    ),
    Failure(
        "upstream-untrusted",
        502,
        "The app could not prove who it is",
        "The connection to the app is not secure: its certificate cannot be trusted. Nothing was sent.",
        "Please tell the people who run the app.",
        True,
        "bad",
        "stop",
    ),
    Failure("interrupted", 503, "This was interrupted", "What you may do here changed while the request was under way. The app may have acted on it, or not.", "Look whether it did before you send it again.", symbol="clock"),
    Failure("upstream-busy", 503, "The app is busy", "The app has more to do than it can take on right now.", _WAIT, True, symbol="clock"),
    Failure(
        "idp-down", 503, "Sign-in is not available", "The service that signs you in cannot be reached at the moment. Nothing is wrong with your account.", _WAIT, True, symbol="plug"
    ),
    Failure("store", 503, "We cannot check your access right now", "A part of this service is not working, and without it nobody is let in.", "The people who run it can see this. Try again in a moment.", True, symbol="plug"),
    Failure("broker", 503, "The protected window did not open", "This app opens in a protected window for you, and it could not be started.", _WAIT, True, symbol="shield"),
    Failure("no-capacity", 503, "All protected windows are in use", "This app opens in a protected window for you, and none is free right now.", _WAIT, True, symbol="shield"),
    Failure("bad-request", 400, "This address cannot be used", "The request is malformed or can be read in more than one way, so it was not passed on.", "Check the address, or start from your list of apps.", symbol="stop"),
    Failure("not-found", 404, "There is nothing here", "No app and no page of ours has this address.", "Check the address, or start from your list of apps.", tone="", symbol="search"),
    Failure("method-not-allowed", 405, "This address is for something else", "The request uses a method that has no meaning here.", symbol="stop"),
    Failure("internal", 500, "Something went wrong on our side", "The request could not be finished. It was recorded.", "Try again. If it stays like this, tell your administrator.", True),
    Failure("clock-skew", 503, "The clocks differ", "Your sign-in was accepted, but by this server's clock it is not valid: this server and the sign-in service disagree about the time by more than five minutes.", "Nothing is wrong with your account. An administrator has to correct the server's clock.", True, symbol="clock"),
    Failure("cookies-blocked", 403, "Your browser does not keep our cookies", "You have signed in several times within a minute, and each time your browser came back without the cookie that says so.", "Allow cookies for this site, check that the browser's clock is right, or leave private mode. Then try again.", True),
    Failure("sign-in-loop", 403, "Signing in goes round in circles", "You have signed in many times within a minute, and each time the session was over at once.", "Wait a minute and try again. If it stays like this, tell your administrator.", True),
    Failure("unknown-browser", 403, "We do not recognise this browser", "This sign-in was started in another browser, or your browser does not keep our cookies. It was not completed.", "Start again here. If this page comes back, allow cookies for this site.", True, symbol="key"),
    Failure("sign-in-expired", 403, "This sign-in is no longer good", "It was used already, took too long, or was not started here.", "Start again: it takes a moment when you are still signed in to your organisation.", True, symbol="clock"),
    Failure("sign-in-malformed", 403, "This sign-in cannot be completed", "What came back from the sign-in service is incomplete or contradicts itself.", "Start again.", True, symbol="stop"),
    Failure("sign-in-refused", 403, "You could not be signed in", "", retry=True, symbol="key"),
    Failure("token-rejected", 403, "You could not be signed in", "The proof of identity that came back could not be accepted.", "Start again. If this page comes back, tell your administrator.", True, "bad", "stop"),
    Failure("foreign-account", 403, "This account cannot be used here", "", "Sign in with an account of this organisation.", True, symbol="key"),
    Failure("form-expired", 403, "Please confirm once more", "This page was open for too long or was not opened by you, so nothing was done.", retry=True, symbol="clock"),
)  # fmt: skip
FAILURES: Mapping[str, Failure] = MappingProxyType({failure.code: failure for failure in _ALL})

_UPSTREAM = {  # the data plane's codes; one that is not here is upstream-down
    "connect-timeout": "upstream-down",
    "response-timeout": "upstream-slow",
    "bad-response": "upstream-malformed",
    "closed-early": "upstream-malformed",
    "too-large-head": "upstream-malformed",
    "tls-failed": "upstream-untrusted",
    "busy": "upstream-busy",
    "cut": "interrupted",
    "interrupted": "interrupted",
}
_SIGN_IN = {
    **dict.fromkeys(("idp-unreachable", "idp-slow", "idp-unavailable", "idp-throttled"), "idp-down"),
    **dict.fromkeys(("token-expired", "token-not-yet-valid"), "clock-skew"),
    **dict.fromkeys(("token-personal", "token-tenant"), "foreign-account"),
    **dict.fromkeys(("state-unknown", "hand-off-unknown", "hand-off-ended", "to-expired"), "sign-in-expired"),
    **dict.fromkeys(("state-other-browser", "hand-off-other-browser"), "unknown-browser"),
    **dict.fromkeys(
        ("state-missing", "code-missing", "issuer-mixed-up", "request-duplicate", "request-malformed", "request-too-large"),
        "sign-in-malformed",
    ),
    "cookies-blocked": "cookies-blocked",
    "form-expired": "form-expired",
    "idp-malformed": "idp-down",
}


def failure_for(error: BaseException) -> Failure:
    """Return the words for an error. One that this project did not raise is ``internal``; its own message is never shown."""
    match error:
        case ProviderRefusalError() | SignInError(code="token-personal" | "token-tenant" | "disabled"):
            known = FAILURES[_SIGN_IN.get(error.code, "sign-in-refused")]
            return replace(known, text=str(error), retry=error.retry or known.code == "foreign-account")
        case SignInError():
            fallback = "token-rejected" if error.code.startswith(("token-", "keys-")) else "sign-in-malformed"
            return FAILURES[_SIGN_IN.get(error.code, fallback)]
        case UpstreamError():
            return FAILURES[_UPSTREAM.get(error.code, "upstream-down")]
        case BrokerError():
            return FAILURES["no-capacity" if error.code == "no-capacity" else "broker"]
        case StoreError():
            return FAILURES["store"]
        case BadRequestError():
            return FAILURES["bad-request"]
        case IsolationError() | _:
            return FAILURES["internal"]


def respond_failure(
    pages: PageRenderer,
    failure: Failure,
    *,
    navigation: bool,
    reference: str = "",
    acts: Sequence[Act] = (),
    said: str = "",
    refresh: str = "",
    login: str = "",
) -> Response:
    """Return the page (or problem document) of a failure.

    ``acts``: buttons, the first one prominent. ``said``: the identity provider's own words. ``refresh``: value of a meta refresh, for a page
    that goes on by itself. ``login``: where code may send the person to sign in.
    """
    headers = {"retry-after": str(RETRY_SECONDS)} if failure.status in {502, 503, 504} else {}
    if not navigation:
        extra = {"reference": reference} if reference else {}
        if login:
            extra["login"] = login
        detail = f"{failure.text} {failure.advice}".strip()
        return problem(failure.status, failure.code, failure.title, detail, headers, retry=failure.retry, **extra)
    view = {
        "title": failure.title,
        "text": failure.text,
        "advice": failure.advice,
        "tone": failure.tone,
        "symbol": failure.symbol,
        "acts": acts,
        "said": said,
        "refresh": refresh,
        "reference": reference,
    }
    return pages.page("error", view, failure.status, headers)


_LOOKS: Mapping[RefusalReason, tuple[str, str]] = MappingProxyType(
    {
        RefusalReason.NOT_ALLOWED: ("warn", "stop"),
        RefusalReason.BLOCKED: ("bad", "stop"),
        RefusalReason.RISK_UNKNOWN: ("warn", "clock"),
        RefusalReason.SIGNAL_UNAVAILABLE: ("warn", "clock"),
        RefusalReason.ISOLATED_ONLY: ("", "shield"),
        RefusalReason.SESSION_ENDED: ("", "key"),
        RefusalReason.NO_CAPACITY: ("warn", "shield"),
    }
)


def respond_refusal(
    pages: PageRenderer,
    refuse: Refuse,
    *,
    navigation: bool,
    app: str,
    reference: str,
    account: str = "",
    retry_url: str = "",
    switch_url: str = "",
    launcher_url: str = "",
    login: str = "",
) -> Response:
    """Return the page (or problem document) of a refusal.

    ``account``: who is signed in, in words. ``retry_url`` is offered where trying again may help; ``switch_url`` leads to signing in with another
    account; ``launcher_url`` to the list of apps; ``login`` is for code. The policy's name is shown, its rules are not: they would tell
    an outsider what to pretend.
    """
    words = refusal_text(refuse)
    retry = refuse.retry or words.status == 503 or refuse.reason is RefusalReason.SESSION_ENDED
    headers = {"retry-after": str(RETRY_SECONDS)} if words.status == 503 else {}
    if words.status == 401:
        headers["www-authenticate"] = f'Isolation realm="{refuse.reason.value}"'
    policy = refuse.because.policy
    if not navigation:
        extra = {key: value for key, value in (("reference", reference), ("policy", policy), ("login", login)) if value}
        return problem(words.status, refuse.reason.value, words.title, words.sentence, headers, retry=retry, **extra)
    tone, symbol = _LOOKS[refuse.reason]
    view = {
        "title": words.title,
        "text": words.sentence,
        "tone": tone,
        "symbol": symbol,
        "app": app,
        "policy": policy,
        "account": account,
        "advice": _advice(refuse, can_switch=bool(switch_url)),
        "retry_url": retry_url if retry else "",
        "switch_url": switch_url,
        "launcher_url": launcher_url,
        "reference": reference,
    }
    return pages.page("refused", view, words.status, headers)


def _advice(refuse: Refuse, *, can_switch: bool) -> tuple[str, ...]:
    """Return what a person can do beside what the sentence already says and pressing a button."""
    match refuse.reason:
        case RefusalReason.NOT_ALLOWED | RefusalReason.BLOCKED:
            other = ("Use another account, if you have one that may open this app.",) if can_switch else ()
            return (*other, "When you ask for access, give the reference below: it says what was decided and why.")
        case RefusalReason.RISK_UNKNOWN | RefusalReason.SIGNAL_UNAVAILABLE | RefusalReason.NO_CAPACITY:
            return ("If it stays like this, tell your IT team and give them the reference below.",)
        case _:
            return ()
