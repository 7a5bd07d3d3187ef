"""The built-in tenant: Entra ID's OIDC v2 and Microsoft Graph v1.0 over real HTTP, with people, nested groups, risk and failures.

In a test::

    with Tenant() as tenant:
        tenant.set_risk("bob", "low")
        tenant.fail("risky-users", status=429)

As a process: ``python -m isolation.testing.tenant --port 8081``; people and failures are then changed at ``/_tenant/``.
"""

from isolation.testing.tenant.faults import Endpoint, Kind
from isolation.testing.tenant.server import Tenant

__all__ = ["Endpoint", "Kind", "Tenant"]
