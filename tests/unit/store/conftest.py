"""A real store per test: a copy of one migrated file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from isolation.identity.principals import PersonRecord
from isolation.store.database import Store
from isolation.store.people import PeopleRepository
from isolation.store.sessions import SessionRepository
from isolation.testing.clock import FakeClock
from tests.support.store import TENANT, Bus


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "migrated.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path, migrated: Path) -> Path:
    target = tmp_path / "store.db"
    shutil.copy(migrated, target)
    target.chmod(0o600)
    return target


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{path}", clock=clock, busy_seconds=0.2)
    yield opened
    opened.close()


@pytest.fixture
def people(store: Store) -> PeopleRepository:
    return PeopleRepository(store)


@pytest.fixture
def sessions(store: Store) -> SessionRepository:
    return SessionRepository(store)


@pytest.fixture
async def alice(people: PeopleRepository, clock: FakeClock) -> PersonRecord:
    return await people.upsert_from_sign_in(TENANT, "a11ce", "alice@contoso.example", "Alice", None, None, clock.now(), "Entra")


@pytest.fixture
async def bus(store: Store, alice: PersonRecord) -> Bus:
    listener = Bus(store)
    await listener.news()
    return listener
