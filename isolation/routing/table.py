"""The route table: from a host name to the app behind it."""

from __future__ import annotations

from collections.abc import Iterable

from isolation.errors import ConfigurationError
from isolation.policy.addresses import normal_domain
from isolation.routing.model import App

_WILDCARD = "*."


class RouteTable:
    """Finds an app by host in constant time. Immutable: a new configuration is a new table.

    An exact domain wins over a wildcard. ``*.example.com`` covers exactly one label: neither the apex, nor two labels, nor
    ``evil-example.com``. Raises ConfigurationError, naming every domain that is not one or is taken twice.
    """

    __slots__ = ("_apps", "_exact", "_wildcard")

    def __init__(self, apps: Iterable[App]) -> None:
        self._apps = tuple(apps)
        self._exact: dict[str, App] = {}
        self._wildcard: dict[str, App] = {}
        problems = []
        for app in self._apps:
            wildcard = app.domain.startswith(_WILDCARD)
            domain = normal_domain(app.domain.removeprefix(_WILDCARD))
            if domain is None:
                problems.append(f'app "{app.name}": "{app.domain}" is not a host name or *.parent')
                continue
            taken = (self._wildcard if wildcard else self._exact).setdefault(domain, app)
            if taken is not app:
                problems.append(f'app "{app.name}": the domain {app.domain} already belongs to app "{taken.name}"')
        if problems:
            raise ConfigurationError("\n".join(problems))

    @property
    def apps(self) -> tuple[App, ...]:
        """Return the apps in the order given."""
        return self._apps

    def find(self, host: str) -> App | None:
        """Return the app for a host in the normal spelling of :class:`Target`, or None."""
        app = self._exact.get(host)
        if app is not None:
            return app
        label, dot, parent = host.partition(".")
        return self._wildcard.get(parent) if label and dot else None
