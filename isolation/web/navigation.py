"""Is a person waiting for a page, or code for data? Only the first may be sent to sign in.

A background request that is redirected to the identity provider ends as a CORS error in the app, and thirty of them start thirty sign-ins
nobody sees. So everything that is not certainly a page load of a whole tab gets a 401 that code can read.
"""

from __future__ import annotations

from collections.abc import Iterable

Headers = Iterable[tuple[bytes, bytes]]


def wants_navigation(headers: Headers) -> bool:
    """Say whether a request is a top-level page load: Sec-Fetch-* first (no page can forge it), then Accept, then X-Requested-With."""
    values: dict[bytes, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value.decode("latin-1").strip().lower())
    mode, destination = values.get(b"sec-fetch-mode"), values.get(b"sec-fetch-dest")
    if mode is not None or destination is not None:
        # document only: a frame cannot show the identity provider's page, which forbids framing
        if (mode or ["navigate"]) != ["navigate"] or (destination or ["document"]) != ["document"]:
            return False
        return not any("prefetch" in purpose for purpose in values.get(b"sec-purpose", ()))
    if not any(_accepts_html(value) for value in values.get(b"accept", ())):
        return False
    return "xmlhttprequest" not in values.get(b"x-requested-with", ())


def header(headers: Headers, name: bytes) -> str | None:
    """Return a header's value, or None when it is absent or there more than once."""
    found = [value for key, value in headers if key.lower() == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


def _accepts_html(accept: str) -> bool:
    """Say whether HTML is asked for by name and not with weight nought: ``*/*`` is what programs send."""
    for item in accept.split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        if kind not in {"text/html", "application/xhtml+xml"}:
            continue
        weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        if all(weight.strip("0.") for weight in weights):
            return True
    return False
