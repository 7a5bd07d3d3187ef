"""Own pages: rendering with Jinja2 and the headers that go with everything of ours. What the pages say is in ``answers``.

Every value is escaped, a value that is missing is an error and not an empty place, and no page holds script, inline style or
anything of another host.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from isolation.errors import ConfigurationError
from isolation.limits import OWN_PREFIX
from isolation.web import csp

# limits
STATIC_SECONDS = 3_600  # how long a browser may keep the stylesheet: a new version is seen within the hour, and at once on reload

_PACKAGE = Path(__file__).resolve().parent.parent
_STATIC_TYPES: Mapping[str, str] = {"pages.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


def find_templates() -> Path:
    """Return the directory of the templates: inside the installed package, or at the top of a checkout."""
    for candidate in (_PACKAGE / "_templates", _PACKAGE.parent / "templates"):
        if (candidate / "base.html").is_file():
            return candidate
    raise ConfigurationError("the page templates are missing: this installation is incomplete")


class PageRenderer:
    """Renders templates to responses. ``directory``: where the templates are; found by itself when not given."""

    def __init__(self, directory: Path | None = None) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(directory or find_templates()),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["static"] = f"{OWN_PREFIX}static/"
        self._static = {name: (_PACKAGE / "web" / "static" / name).read_bytes() for name in _STATIC_TYPES}

    def page(
        self,
        name: str,
        view: Mapping[str, object],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        policy: str = csp.OWN_PAGE,
    ) -> Response:
        """Return ``templates/{name}.html`` rendered with ``view``. ``headers`` add to or replace ours; ``policy`` is the page's CSP."""
        body = self._environment.get_template(f"{name}.html").render(view)
        return own_response(body.encode(), "text/html; charset=utf-8", status, headers, policy=policy)

    def static(self, name: str) -> Response | None:
        """Return ``pages.css`` or ``icon.svg``, or None for any other name."""
        content = self._static.get(name)
        if content is None:
            return None
        headers = {"cache-control": f"public, max-age={STATIC_SECONDS}", "vary": "Accept-Encoding"}
        return own_response(content, _STATIC_TYPES[name], 200, headers)


def own_response(
    body: bytes, media_type: str, status: int, headers: Mapping[str, str] | None = None, *, policy: str = csp.NOTHING
) -> Response:
    """Return a response with the headers that every response of ours carries."""
    merged = {**csp.OWN_HEADERS, "content-security-policy": policy, "content-type": media_type, **(headers or {})}
    return Response(body, status, merged)


def redirect(url: str, *cookies: str, status: int = 303) -> Response:
    """Return a redirect (as a GET) that sets ``cookies`` (whole ``Set-Cookie`` values)."""
    return with_cookies(own_response(b"", "text/plain; charset=utf-8", status, {"location": url}), *cookies)


def with_cookies(response: Response, *cookies: str) -> Response:
    """Return ``response`` with ``Set-Cookie`` headers added, one for each value."""
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response


def problem(
    status: int, code: str, title: str, detail: str, headers: Mapping[str, str] | None = None, **extra: str | bool
) -> Response:
    """Return a problem document (RFC 9457) for code that cannot read a page. ``extra`` members are ours: ``reference``, ``login`` and so on."""
    members: dict[str, str | int | bool] = {
        "type": f"urn:isolation:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **extra,
    }
    return own_response(json.dumps(members).encode(), "application/problem+json", status, headers)
