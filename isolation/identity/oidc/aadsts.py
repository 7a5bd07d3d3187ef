"""Entra's error codes (``AADSTS…``) in words: what happened, and who can do something about it.

Microsoft says codes and texts may change: they choose the words that a person reads and nothing else. What the router *does* with an
error never depends on them. https://learn.microsoft.com/entra/identity-platform/reference-error-codes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from isolation.errors import SignInError


@dataclass(frozen=True, slots=True)
class Explanation:
    """``code``: ours, stable. ``text``: for the person. ``retry``: trying again can help."""

    code: str
    text: str
    retry: bool = False


_CODE = re.compile(r"\bAADSTS(\d{4,8})\b")

_OPERATOR = "The sign-in service is set up wrongly on our side. Your administrator has to correct it."
_GROUPS: tuple[tuple[tuple[int, ...], Explanation], ...] = (
    (
        (50020, 50034, 51004, 90072),
        Explanation("idp-not-in-tenant", "Your account is not known in this organisation. Ask to be invited as a guest."),
    ),
    (
        (50053,),
        Explanation("idp-locked", "Your account is locked for a while, or the sign-in came from a suspicious address.", True),
    ),
    ((50055,), Explanation("idp-password-expired", "Your password has expired. Change it, then sign in again.", True)),
    ((50057,), Explanation("idp-disabled", "Your account is disabled. Ask your administrator.")),
    ((50126,), Explanation("idp-password-wrong", "The user name or password is not right.", True)),
    ((50058, 50132, 50133, 50173, 70008, 70043, 700082), Explanation("idp-fresh", "Please sign in again.", True)),
    (
        (50072, 50074, 50076, 50078, 50079, 50158),
        Explanation("idp-mfa", "Your organisation asks for a second proof of identity. Sign in again and complete it.", True),
    ),
    (
        (50097, 50129, 50155, 50187, 53000, 53001, 53002, 135011),
        Explanation("idp-device", "Your organisation asks for a managed, compliant device. Use one, or ask your administrator."),
    ),
    ((50105,), Explanation("idp-not-assigned", "Your account is not assigned to this application. Ask your administrator.")),
    (
        (50131, 53003, 530032, 530035),
        Explanation("idp-conditional-access", "A Conditional Access policy of your organisation does not let you sign in here."),
    ),
    (
        (50135, 53004, 53011, 530034),
        Explanation(
            "idp-risk", "Your organisation has stopped this sign-in because the account may be at risk. Ask your security team."
        ),
    ),
    ((50196,), Explanation("idp-loop", "The sign-in went round in circles and was stopped. Close the tab and try again later.")),
    ((54005, 9002313), Explanation("idp-code-used", "This sign-in was used already. Start again.", True)),
    ((65004,), Explanation("idp-consent-declined", "You declined the permissions that signing in needs.", True)),
    (
        (65001, 90094, 90095),
        Explanation("idp-consent", "An administrator has to permit this application in your organisation first."),
    ),
    ((7000215, 7000222, 7000218, 700027, 700030), Explanation("idp-credential", _OPERATOR)),
    (
        (50011, 50194, 700016, 7000112, 700011, 70011, 700054, 90002, 90038, 9001023, 900382, 900432, 501481, 50147, 501491),
        Explanation("idp-configuration", _OPERATOR),
    ),
)
_BY_NUMBER: Mapping[int, Explanation] = {number: words for numbers, words in _GROUPS for number in numbers}

_BY_ERROR: Mapping[str, Explanation] = {
    "access_denied": Explanation("idp-denied", "The sign-in was cancelled or not permitted.", True),
    "login_required": Explanation("idp-fresh", "Please sign in again.", True),
    "interaction_required": Explanation("idp-mfa", "Your organisation asks for another step. Please sign in again.", True),
    "consent_required": Explanation("idp-consent", "An administrator has to permit this application in your organisation first."),
    "invalid_grant": Explanation("idp-code-used", "This sign-in was used already or took too long. Start again.", True),
    "invalid_client": Explanation("idp-credential", _OPERATOR),
    "unauthorized_client": Explanation("idp-configuration", _OPERATOR),
    "invalid_request": Explanation("idp-configuration", _OPERATOR),
    "invalid_scope": Explanation("idp-configuration", _OPERATOR),
    "server_error": Explanation("idp-unavailable", "Microsoft Entra ID has a problem of its own. Try again in a minute.", True),
    "temporarily_unavailable": Explanation("idp-unavailable", "Microsoft Entra ID is busy. Try again in a minute.", True),
}
_OTHER = Explanation("idp-refused", "Microsoft Entra ID did not complete the sign-in.", True)


class ProviderRefusalError(SignInError):
    """The identity provider said no. ``number``: its AADSTS number as text or ``""``; ``said``: its own words, hostile until escaped."""

    def __init__(self, words: Explanation, *, number: str, said: str) -> None:
        super().__init__(words.text, code=words.code, retry=words.retry)
        self.number = number
        self.said = said


def explain(error: str, description: str) -> ProviderRefusalError:
    """Return the error to raise for ``error`` and ``error_description`` as Entra sent them."""
    match = _CODE.search(description)
    number = match.group(1) if match else ""
    words = (_BY_NUMBER.get(int(number)) if number else None) or _BY_ERROR.get(error, _OTHER)
    return ProviderRefusalError(words, number=number and f"AADSTS{number}", said=_first_sentence(description) or error[:64])


def _first_sentence(description: str) -> str:
    """Return Entra's sentence without the trace ids, time stamps and line breaks that follow it."""
    text = re.split(r"[\r\n]|\sTrace ID:", description, maxsplit=1)[0]
    return "".join(character for character in text if character.isprintable()).strip()
