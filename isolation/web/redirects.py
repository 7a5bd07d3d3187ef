"""Where a person may be sent after signing in: a path of the app they came from, and nothing else.

A target is accepted as it is or replaced by ``/``; it is never repaired. Browsers, proxies and servers differ in what they strip,
decode and resolve, so whatever *any* of them could read as another host is refused, including in its decoded forms.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote, urlsplit

from isolation.limits import OWN_PREFIX

# limits
MAX_TARGET = 4_096  # characters: it travels inside a URL to the auth host, where servers take 8 KB
MAX_DECODING = 4  # rounds of percent-decoding looked through; text that still changes after them is refused

FALLBACK = "/"

# What an origin-form request target may consist of as it stands. Not the backslash, which WHATWG URLs read as a slash, nor
# anything a browser strips (tab, line feed, carriage return), nor a fragment.
_PLAIN = re.compile(r"/[!$-\[\]^_`a-z{|}~%]*")


def safe_target(raw: str | bytes) -> str:
    """Return ``raw`` when it is a path (and query) of the same host that cannot be read as anything else, otherwise ``/``."""
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("ascii")
        except UnicodeDecodeError:
            return FALLBACK
    return raw if _is_safe(raw) else FALLBACK


def same_origin_path(referer: str | None, origin: str) -> str:
    """Return the path and query of a ``Referer`` on ``origin``, or ``/``: the page that a background request came from."""
    if referer is None or not referer.startswith(f"{origin}/"):
        return FALLBACK
    return safe_target(referer[len(origin) :].partition("#")[0])


def host_of(origin: str) -> str:
    """Return the host of an origin that we signed ourselves, without port."""
    return urlsplit(origin).hostname or ""


def _is_safe(target: str) -> bool:
    if len(target) > MAX_TARGET or _PLAIN.fullmatch(target) is None:
        return False
    path = target.partition("?")[0]
    for _ in range(MAX_DECODING):
        if not _is_plain_path(path):
            return False
        try:
            decoded = unquote(path, errors="strict")
        except UnicodeDecodeError:
            return False
        if decoded == path:
            return True
        path = decoded
    return False


def _is_plain_path(path: str) -> bool:
    """Say whether one reading of the path stays on this host: full-width and combining look-alikes count as what they look like."""
    if any(unicodedata.category(character) in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"} for character in path):
        return False
    folded = unicodedata.normalize("NFKC", path)
    squeezed = "".join(folded.split())  # white space that one of the readers strips
    if "\\" in squeezed or squeezed.startswith("//"):
        return False
    if any(segment in {".", ".."} for segment in squeezed.split("/")):  # /.//evil becomes //evil
        return False
    return not f"{squeezed.lower()}/".startswith(OWN_PREFIX)  # an own URL as the target would go round in circles
