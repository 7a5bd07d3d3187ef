"""What the built-in tenant knows, in memory: people, groups, memberships, risk. Changed by tests and by the control page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from isolation.clock import Clock
from isolation.testing.tenant.people import DOMAIN, GROUPS, PEOPLE, PersonSeed

#: Graph's ``riskLevel`` members (msgraph-sdk 1.65, ``models/risk_level.py``). Anything else is newer than the SDK.
RISK_LEVELS = ("none", "low", "medium", "high", "hidden")


@dataclass(frozen=True, slots=True)
class User:
    """A user object."""

    oid: str
    handle: str
    name: str
    role: str
    user_type: str
    employee_type: str
    sessions_valid_from: float
    enabled: bool = True

    @property
    def upn(self) -> str:
        """Return the user principal name."""
        return f"{self.handle}@{DOMAIN}"


@dataclass(frozen=True, slots=True)
class Risk:
    """A ``riskyUser``. ``level`` None is sent as JSON null."""

    level: str | None
    state: str
    updated: float


@dataclass(frozen=True, slots=True)
class Group:
    """A group and its direct members."""

    id: str
    name: str
    members: frozenset[str]


def iso(at: float) -> str:
    """Return a moment as Graph writes it: UTC, seven digits, ``Z``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


class Directory:
    """The tenant's state. Each change replaces a whole value, so readers on another thread never see half of one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.now() - 86_400  # nobody's earlier sessions have been revoked since
        self.version = 0
        self.users: dict[str, User] = {}
        self.groups: dict[str, Group] = {}
        self.risks: dict[str, Risk] = {}
        self.reset()

    def reset(self) -> None:
        """Return to the people and groups of :mod:`isolation.testing.tenant.people`."""
        self.users = {seed.oid: _user(seed, self._since) for seed in PEOPLE}
        self.groups = {seed.id: Group(seed.id, seed.name, frozenset(seed.members)) for seed in GROUPS}
        self.risks = {}
        for seed in PEOPLE:
            if seed.risk is not None:
                self.set_risk(seed.oid, seed.risk)
        self.version += 1

    def find(self, who: str) -> User:
        """Return a person by object id, e-mail address or handle. Raises KeyError."""
        wanted = who.casefold()
        if wanted in self.users:
            return self.users[wanted]
        for user in list(self.users.values()):
            if wanted in {user.upn, user.handle}:
                return user
        raise KeyError(who)

    def find_group(self, which: str) -> Group:
        """Return a group by id or by name, in any case. Raises KeyError."""
        wanted = which.casefold()
        for group in list(self.groups.values()):
            if wanted in {group.id, group.name.casefold()}:
                return group
        raise KeyError(which)

    def set_risk(self, who: str, level: str | None) -> None:
        """Set a person's risk level; ``"none"`` leaves a dismissed record behind, as Identity Protection does."""
        user = self.find(who)
        state = "dismissed" if level == "none" else "atRisk"
        self.risks = {**self.risks, user.oid: Risk(level, state, self._clock.now())}

    def forget_risk(self, who: str) -> None:
        """Remove a person's risk record: Identity Protection never saw them."""
        oid = self.find(who).oid
        self.risks = {key: risk for key, risk in self.risks.items() if key != oid}

    def set_enabled(self, who: str, enabled: bool) -> None:
        """Set ``accountEnabled``."""
        self._put(replace(self.find(who), enabled=enabled))

    def revoke_sessions(self, who: str) -> None:
        """Do what ``POST /users/{id}/revokeSignInSessions`` does: sign-ins before now count no longer."""
        self._put(replace(self.find(who), sessions_valid_from=self._clock.now()))

    def set_user_type(self, who: str, user_type: str) -> None:
        """Set ``userType`` (``Member`` or ``Guest``)."""
        self._put(replace(self.find(who), user_type=user_type))

    def set_employee_type(self, who: str, employee_type: str) -> None:
        """Set ``employeeType`` (free text)."""
        self._put(replace(self.find(who), employee_type=employee_type))

    def delete_user(self, who: str) -> None:
        """Remove a person from the directory and from every group."""
        oid = self.find(who).oid
        self.users = {key: user for key, user in self.users.items() if key != oid}
        self.groups = {key: replace(group, members=group.members - {oid}) for key, group in self.groups.items()}
        self.version += 1

    def add_member(self, group: str, member: str) -> None:
        """Add a person or a group to a group."""
        found = self.find_group(group)
        self._put_group(replace(found, members=found.members | {self._member_id(member)}))

    def remove_member(self, group: str, member: str) -> None:
        """Remove a direct member from a group."""
        found = self.find_group(group)
        self._put_group(replace(found, members=found.members - {self._member_id(member)}))

    def add_group(self, group_id: str, name: str) -> None:
        """Add an empty group."""
        self._put_group(Group(group_id.casefold(), name, frozenset()))

    def add_user(self, oid: str, handle: str, name: str, *, role: str = "", risk: str | None = None) -> None:
        """Add a person."""
        self._put(User(oid.casefold(), handle, name, role, "Member", "Employee", self._since))
        if risk is not None:
            self.risks = {**self.risks, oid.casefold(): Risk(risk, "atRisk", self._clock.now())}

    def populate(self, number: int, level: str = "low") -> None:
        """Add ``number`` more people at ``level``, for measuring paging."""
        now = self._clock.now()
        users, risks = dict(self.users), dict(self.risks)
        for index in range(number):
            oid = f"f1110000-0000-4000-9000-{index:012x}"
            users[oid] = User(oid, f"person{index}", f"Person {index}", "", "Member", "Employee", self._since)
            risks[oid] = Risk(level, "atRisk", now)
        self.users, self.risks = users, risks
        self.version += 1

    def groups_of(self, oid: str) -> list[Group]:
        """Return every group a person or group belongs to, directly or through others; cycles are allowed."""
        groups = self.groups
        found: dict[str, Group] = {}
        pending = [oid]
        while pending:
            member = pending.pop()
            for group in groups.values():
                if member in group.members and group.id not in found:
                    found[group.id] = group
                    pending.append(group.id)
        return sorted(found.values(), key=lambda group: group.id)

    def _member_id(self, member: str) -> str:
        try:
            return self.find(member).oid
        except KeyError:
            return self.find_group(member).id

    def _put(self, user: User) -> None:
        self.users = {**self.users, user.oid: user}
        self.version += 1

    def _put_group(self, group: Group) -> None:
        self.groups = {**self.groups, group.id: group}
        self.version += 1


def _user(seed: PersonSeed, since: float) -> User:
    return User(seed.oid, seed.handle, seed.name, seed.role, seed.user_type, seed.employee_type, since)
