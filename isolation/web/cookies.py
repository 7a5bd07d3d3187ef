"""Our cookies: the session's, the one that ties a sign-in under way to the browser that began it, and a hint for signing out.

All are host-only and HttpOnly. Over https their names begin with ``__Host-``, so that neither a sibling host nor plain http can set them
(RFC 6265bis §4.1.3.2). A value is signed for one host: a cookie of one app is worth nothing at another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from isolation.clock import Clock
from isolation.errors import TokenError
from isolation.tokens import Purpose, Tokens, digest, new_secret

# limits
MAX_VALUE = 1_024  # characters: a session's is about 90, a hint's a few hundred; a longer one is not verified
MAX_HINT = 600  # characters of a sign-out hint worth a cookie: Entra's have about 150
LOOP_WINDOW = 60.0  # seconds in which ...
LOOP_ROUNDS = 3  # ... this many completed sign-ins without a session cookie mean that the browser does not keep it, and ...
LOOP_ROUNDS_KEPT = 12  # ... this many with one mean that the session dies at once (thirty tabs opened together need fewer)
FLOW_SECONDS = 30 * 86_400  # life of the browser-binding cookie; it identifies a browser to its own sign-ins only

_HINT = re.compile(r"[A-Za-z0-9._~+/=-]+")  # what may stand in a cookie as it is; Entra's hints are base64 text

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser as its binding cookie describes it. ``rounds``: sign-ins completed of late, the last one at ``at``.

    ``known``: the browser sent the cookie (False: it was made just now and has to be set).
    """

    secret: str
    rounds: int = 0
    at: int = 0
    known: bool = False

    @property
    def binding(self) -> str:
        """Return the digest that a sign-in under way is bound to."""
        return digest(self.secret)


def read_cookie(headers: Headers, name: str) -> str | None:
    """Return a cookie's value, or None when it is absent, too long, or there more than once.

    Two values under one name mean that somebody else planted one of them: neither is believed.
    """
    wanted, found = name.encode(), []
    for header, value in headers:
        if header.lower() != b"cookie":
            continue
        for pair in value.split(b";"):
            key, separator, content = pair.strip(b" \t").partition(b"=")
            if separator and key == wanted:
                found.append(content)
    if len(found) != 1 or len(found[0]) > MAX_VALUE:
        return None
    try:
        return found[0].decode("ascii")
    except UnicodeDecodeError:
        return None


class Cookies:
    """Reads and writes our cookies for a deployment on ``http`` or ``https``."""

    def __init__(self, tokens: Tokens, clock: Clock, *, secure: bool) -> None:
        self._tokens = tokens
        self._clock = clock
        self._secure = secure
        self.session_name = "__Host-isolation" if secure else "isolation"
        self.flow_name = "__Host-isolation-flow" if secure else "isolation-flow"
        self.hint_name = "__Host-isolation-hint" if secure else "isolation-hint"

    def read_session(self, headers: Headers, audience: str) -> str | None:
        """Return the secret session id of a cookie that we signed for ``audience`` (host, with the port that is in the URL)."""
        value = read_cookie(headers, self.session_name)
        if value is None:
            return None
        try:
            return self._tokens.unsign(Purpose.SESSION, value, audience=audience)
        except TokenError:
            return None

    def set_session(self, session_id: str, audience: str) -> str:
        """Return the ``Set-Cookie`` value that signs a browser in at ``audience``. It ends with the browser; the server ends it earlier."""
        return self._set(self.session_name, self._tokens.sign(Purpose.SESSION, session_id, audience=audience))

    def clear_session(self) -> str:
        """Return the ``Set-Cookie`` value that removes the session cookie."""
        return self._set(self.session_name, "", max_age=0)

    def read_browser(self, headers: Headers, audience: str) -> Browser | None:
        """Return the browser that our binding cookie names, or None without a valid one."""
        value = read_cookie(headers, self.flow_name)
        if value is None:
            return None
        try:
            secret, rounds, at = self._tokens.unsign(Purpose.FLOW, value, audience=audience).split("|")
            return Browser(secret, int(rounds), int(at), known=True)
        except (TokenError, ValueError):
            return None

    def browser(self, headers: Headers, audience: str) -> Browser:
        """Return the browser of a request; make it one when it has none. One per browser, however many tabs."""
        return self.read_browser(headers, audience) or Browser(new_secret())

    def set_browser(self, browser: Browser, audience: str) -> str:
        """Return the ``Set-Cookie`` value that keeps ``browser``."""
        value = self._tokens.sign(Purpose.FLOW, f"{browser.secret}|{browser.rounds}|{browser.at}", audience=audience)
        return self._set(self.flow_name, value, max_age=FLOW_SECONDS)

    def clear_browser(self) -> str:
        """Return the ``Set-Cookie`` value that removes the binding cookie."""
        return self._set(self.flow_name, "", max_age=0)

    def set_hint(self, hint: str | None, audience: str) -> str:
        """Return the ``Set-Cookie`` value that keeps what Entra wants to hear at sign-out (its ``login_hint`` claim), or removes it."""
        if hint is None or len(hint) > MAX_HINT or _HINT.fullmatch(hint) is None:
            return self.clear_hint()
        return self._set(self.hint_name, self._tokens.sign(Purpose.FLOW, hint, audience=f"hint@{audience}"))

    def read_hint(self, headers: Headers, audience: str) -> str | None:
        """Return the hint that was kept, or None."""
        value = read_cookie(headers, self.hint_name)
        try:
            return self._tokens.unsign(Purpose.FLOW, value, audience=f"hint@{audience}") if value is not None else None
        except TokenError:
            return None

    def clear_hint(self) -> str:
        """Return the ``Set-Cookie`` value that removes the hint."""
        return self._set(self.hint_name, "", max_age=0)

    def completed(self, browser: Browser) -> Browser:
        """Return ``browser`` after one more completed sign-in."""
        now = int(self._clock.now())
        recent = now - browser.at <= LOOP_WINDOW
        return Browser(browser.secret, browser.rounds + 1 if recent else 1, now, known=browser.known)

    def settled(self, browser: Browser) -> Browser:
        """Return ``browser`` with its count at nought: the person signed out, or was told about the loop."""
        return Browser(browser.secret, known=browser.known)

    def is_looping(self, headers: Headers, browser: Browser) -> bool:
        """Say whether a browser without a session has completed so many sign-ins just now that another one will not help."""
        if self._clock.now() - browser.at > LOOP_WINDOW:
            return False
        return browser.rounds >= (LOOP_ROUNDS_KEPT if self.keeps_session(headers) else LOOP_ROUNDS)

    def keeps_session(self, headers: Headers) -> bool:
        """Say whether a request brought a session cookie, good or not: then cookies are not what is wrong."""
        return read_cookie(headers, self.session_name) is not None

    def _set(self, name: str, value: str, max_age: int | None = None) -> str:
        parts = [f"{name}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
        if max_age is not None:
            parts.append(f"Max-Age={max_age}")
        if self._secure:
            parts.append("Secure")
        return "; ".join(parts)
