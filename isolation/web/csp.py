"""Content Security Policy and the other headers of every response that is ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

_FEATURES = (
    "accelerometer",
    "autoplay",
    "camera",
    "clipboard-read",
    "clipboard-write",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "geolocation",
    "gyroscope",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "publickey-credentials-get",
    "screen-wake-lock",
    "usb",
    "xr-spatial-tracking",
)


def permissions(*allowed: str) -> str:
    """Return a Permissions-Policy that lets the page itself use the ``allowed`` features, and none of the other powerful ones."""
    return ", ".join(
        [*(f"{feature}=()" for feature in _FEATURES if feature not in allowed), *(f"{feature}=(self)" for feature in allowed)]
    )


PERMISSIONS_POLICY = permissions()

OWN_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "cache-control": "no-store",  # the back button after signing out shows nothing
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",  # a callback's URL holds a code
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": PERMISSIONS_POLICY,
        "vary": "Cookie",
    }
)


def policy(directives: Mapping[str, Iterable[str]]) -> str:
    """Return a policy of ``directives`` on top of "nothing at all": no source, no frame around it, no base, no form."""
    merged: dict[str, Iterable[str]] = {
        "default-src": ("'none'",),
        "base-uri": ("'none'",),
        "frame-ancestors": ("'none'",),
        "form-action": ("'none'",),
    }
    merged.update(directives)
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in merged.items())


OWN_PAGE = policy({"style-src": ("'self'",), "img-src": ("'self'",), "form-action": ("'self'",)})
"""For pages of ours: one stylesheet and one icon of their own host, forms to their own host, and no script at all."""

NOTHING = policy({})
"""For responses that are no pages."""
