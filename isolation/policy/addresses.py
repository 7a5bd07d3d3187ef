"""E-mail addresses and host names in the one spelling in which they are compared.

Addresses decide who gets in, so nothing is repaired: what has no single reading has no normal form. (OAuth2 Proxy's
CVE-2026-40574 let ``a@evil.com@corp.com`` pass a rule for ``corp.com``.)
"""

from __future__ import annotations

import re

import idna

MAX_DOMAIN_CHARACTERS = 253  # RFC 1035 §2.3.4: 255 octets on the wire
MAX_LOCAL_CHARACTERS = 64  # RFC 5321 §4.5.3.1.1
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_UPPER_TO_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def normal_domain(text: str) -> str | None:
    """Return a domain in lower case with A-labels (``xn--…``), or None where it is not a plain domain name.

    No trailing dot, no port, no wildcard, no empty label. Unicode follows IDNA 2008 without compatibility mappings: full-width
    letters and other look-alikes have no normal form.
    """
    domain = text.translate(_UPPER_TO_LOWER)
    if not domain.isascii():
        try:
            # Label by label: idna.encode() would take three more characters for dots.
            domain = ".".join(
                label if label.isascii() else idna.alabel(label.lower()).decode("ascii") for label in domain.split(".")
            )
        except (idna.IDNAError, UnicodeError):
            return None
    if len(domain) > MAX_DOMAIN_CHARACTERS:
        return None
    return domain if all(_LABEL.fullmatch(label) for label in domain.split(".")) else None


def normal_email(text: str) -> str | None:
    """Return an address in the spelling used for comparison, or None where it is not a plain address.

    Exactly one ``@``, no quotes, spaces or control characters. Only ASCII letters change case in the local part, so that no
    Unicode letter (the Kelvin sign) folds into an ASCII one.
    """
    local, at, domain = text.partition("@")
    if not at or not local or len(local) > MAX_LOCAL_CHARACTERS:
        return None
    if not local.isprintable() or any(character in ' "(),:;<>@[\\]' for character in local):
        return None
    normal = normal_domain(domain)
    return None if normal is None else f"{local.translate(_UPPER_TO_LOWER)}@{normal}"
