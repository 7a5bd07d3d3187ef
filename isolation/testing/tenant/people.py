"""The people and groups of the built-in tenant. Every id is fixed, so that configurations and tests may name them.

==========  ==========================================  =========================================================
who         object id                                   what they are
==========  ==========================================  =========================================================
alice       ``a11ce000-0000-4000-8000-000000000001``    employee, no risk
bob         ``b0b00000-0000-4000-8000-000000000002``    employee, high risk
carol       ``ca201000-0000-4000-8000-000000000003``    contractor: in "Vendors EMEA" ⊂ "Vendors" ⊂ "Contractors"
dave        ``da4e0000-0000-4000-8000-000000000004``    in no group that a policy names
erin        ``e2100000-0000-4000-8000-000000000005``    security team, employee
==========  ==========================================  =========================================================

Groups: :data:`EMPLOYEES`, :data:`SECURITY`, :data:`CONTRACTORS`, :data:`VENDORS`, :data:`VENDORS_EMEA`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

DOMAIN: Final = "contoso.example"
TENANT_ID: Final = "c0417050-0000-4000-8000-00000000c050"
CLIENT_ID: Final = "15074710-0000-4000-8000-0000000000a9"
CLIENT_SECRET: Final = "built-in-tenant-client-secret"  # public on purpose: guards nothing but the built-in tenant

EMPLOYEES: Final = "e3910000-0000-4000-8000-000000000101"
SECURITY: Final = "5ec00000-0000-4000-8000-000000000102"
CONTRACTORS: Final = "c0270000-0000-4000-8000-000000000103"
VENDORS: Final = "4e2d0000-0000-4000-8000-000000000104"
VENDORS_EMEA: Final = "4e2d0000-0000-4000-8000-000000000105"


@dataclass(frozen=True, slots=True)
class PersonSeed:
    """A person as the tenant knows them at its start. ``role``: one line for the sign-in page."""

    oid: str
    handle: str
    name: str
    role: str
    user_type: str = "Member"
    employee_type: str = "Employee"
    risk: str | None = None  # None: Identity Protection never saw this person

    @property
    def upn(self) -> str:
        """Return the user principal name, which here is also the e-mail address."""
        return f"{self.handle}@{DOMAIN}"


@dataclass(frozen=True, slots=True)
class GroupSeed:
    """A security group. ``members``: object ids of people and of other groups."""

    id: str
    name: str
    members: tuple[str, ...] = field(default=())


ALICE: Final = PersonSeed("a11ce000-0000-4000-8000-000000000001", "alice", "Alice Archer", "Employee, nothing unusual")
BOB: Final = PersonSeed("b0b00000-0000-4000-8000-000000000002", "bob", "Bob Brennan", "Employee, at high risk", risk="high")
CAROL: Final = PersonSeed(
    "ca201000-0000-4000-8000-000000000003",
    "carol",
    "Carol Castellanos",
    "Contractor, through nested groups",
    employee_type="Contractor",
)
DAVE: Final = PersonSeed("da4e0000-0000-4000-8000-000000000004", "dave", "Dave Dietrich", "In no group that may use the apps")
ERIN: Final = PersonSeed("e2100000-0000-4000-8000-000000000005", "erin", "Erin Eriksen", "Security team")

PEOPLE: Final = (ALICE, BOB, CAROL, DAVE, ERIN)
GROUPS: Final = (
    GroupSeed(EMPLOYEES, "Employees", (ALICE.oid, BOB.oid, ERIN.oid)),
    GroupSeed(SECURITY, "Security team", (ERIN.oid,)),
    GroupSeed(CONTRACTORS, "Contractors", (VENDORS,)),
    GroupSeed(VENDORS, "Vendors", (VENDORS_EMEA,)),
    GroupSeed(VENDORS_EMEA, "Vendors EMEA", (CAROL.oid,)),
)
