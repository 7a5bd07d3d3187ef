"""The tenant's own pages, rendered with Jinja (autoescape, StrictUndefined). No script except the form_post page's."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from isolation.testing.tenant.directory import User

_FORM_POST_SCRIPT = "document.forms[0].submit();"
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_FORM_POST_SCRIPT.encode()).digest()).decode()

#: No form-action: Chromium applies it to the redirects after a form as well, and those lead to the application.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FORM_POST_HEADERS: Mapping[str, str] = {
    **HEADERS,
    "Content-Security-Policy": f"default-src 'none'; script-src 'sha256-{_SCRIPT_HASH}'; frame-ancestors 'none'; base-uri 'none'",
}

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def sign_in(people: Sequence[User], *, page: str, action: str, first: str) -> str:
    """Return the page with a button per person who has a line of their own; ``first`` is the object id to show on top."""
    shown = sorted((user for user in people if user.role), key=lambda user: user.oid != first)
    return _environment.get_template("sign_in.html").render(people=shown, page=page, action=action, first=first)


def problem(title: str, text: str) -> str:
    """Return a page with one message."""
    return _environment.get_template("problem.html").render(title=title, text=text)


def form_post(uri: str, answer: Mapping[str, str]) -> str:
    """Return the page that posts an answer back to the application."""
    return _environment.get_template("form_post.html").render(uri=uri, answer=answer, script=_FORM_POST_SCRIPT)


def control(**view: object) -> str:
    """Return the control page."""
    return _environment.get_template("control.html").render(**view)
