"""Addresses of pages, as the viewer may see them. Pure."""

from __future__ import annotations

import re

from renderer.wire.codec import MAX_PATH
from renderer.wire.fields import EXTERNAL, ORIGIN, WireError

_HTTP = re.compile(r"(https?://)(?:[^/?#]*@)?([^/?#@]+)([^\x00-\x20\x7f-\U0010ffff]*)")


def split_address(url: str) -> tuple[str, str]:
    """Return origin and origin-form path of an http(s) address, ("", "") for every other (about:blank, blob:, an error page).

    Credentials in an address are left out; a path too long for the contract is cut to its first part.
    """
    match = _HTTP.fullmatch(url)
    if match is None:
        return "", ""
    origin = match[1] + match[2].lower()
    try:
        ORIGIN.load(origin)
    except WireError:
        return "", ""
    path = match[3] if match[3].startswith("/") else "/" + match[3]
    if len(path) > MAX_PATH:
        path = re.split(r"[?#]", path, maxsplit=1)[0][:MAX_PATH]
    return origin, path


def is_external(url: str) -> bool:
    """Whether an address is one for another program of the device, and fit to be offered."""
    try:
        EXTERNAL.load(url)
    except WireError:
        return False
    return True


def may_show(url: str) -> bool:
    """Whether a page may be at this address: the web, and what Chromium itself puts in its place; no files, no inner pages of the browser."""
    scheme = url.partition(":")[0].lower()
    if scheme == "blob":
        return may_show(url[5:]) or url[5:].startswith("null/")
    return scheme in {"http", "https"} or url in {"", "about:blank", "about:srcdoc", ":"} or url.startswith("chrome-error://")
