"""What people are told when they are refused. Plain words: what happened, and what they can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isolation.routing.model import RefusalReason, Refuse


@dataclass(frozen=True, slots=True)
class RefusalText:
    """A heading and one or two sentences. ``status`` is the HTTP status that goes with it."""

    title: str
    sentence: str
    status: int


TEXTS: Mapping[RefusalReason, RefusalText] = {
    RefusalReason.NOT_ALLOWED: RefusalText(
        "You don't have access to this app",
        "Your account is not on the list of people who may open it. If you need it for your work, ask your IT team.",
        403,
    ),
    RefusalReason.BLOCKED: RefusalText(
        "You can't open this app",
        "Your organisation has blocked your account from this app. If you think that is a mistake, ask your IT team.",
        403,
    ),
    RefusalReason.RISK_UNKNOWN: RefusalText(
        "We can't check your account right now",
        "This app only opens for accounts that could be checked, and the check isn't answering. Try again in a few minutes.",
        503,
    ),
    RefusalReason.SIGNAL_UNAVAILABLE: RefusalText(
        "We can't check your access right now",
        "The information that decides whether you may open this app isn't available at the moment. Try again in a few minutes.",
        503,
    ),
    RefusalReason.ISOLATED_ONLY: RefusalText(
        "This app is open in a protected window",
        "It can only be used there, so this part of it can't be loaded directly. Open the app's address in a new tab.",
        403,
    ),
    RefusalReason.SESSION_ENDED: RefusalText(
        "You have been signed out",
        "Your session has ended. Sign in again to go on.",
        401,
    ),
    RefusalReason.NO_CAPACITY: RefusalText(
        "All protected windows are in use",
        "This app opens in a protected window for you, and none is free right now. Try again in a minute.",
        503,
    ),
}

TRY_AGAIN = (
    "Some of what we know about your account is out of date. If you were given access recently, try again in a few minutes."
)


def refusal_text(refusal: Refuse) -> RefusalText:
    """Return what to tell the person, with a word about trying again where that may help."""
    text = TEXTS[refusal.reason]
    if refusal.retry and refusal.reason is RefusalReason.NOT_ALLOWED:
        return RefusalText(text.title, f"{text.sentence} {TRY_AGAIN}", text.status)
    return text
