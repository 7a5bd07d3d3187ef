from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from isolation.clock import SystemClock
from isolation.signals.providers.entra import GraphReader, GraphSettings
from isolation.testing.tenant import Tenant


def settings_of(tenant: Tenant, **changes: object) -> GraphSettings:
    values: dict[str, object] = {
        "login": tenant.base_url,
        "graph": tenant.base_url,
        "directory_id": tenant.tenant_id,
        "client_id": tenant.client_id,
        "secret": lambda: tenant.client_secret,
    } | changes
    return GraphSettings(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def running() -> Iterator[Tenant]:
    with Tenant() as tenant:
        yield tenant


@pytest.fixture
def tenant(running: Tenant) -> Tenant:
    """The module's tenant in its first state: starting one per test would cost more than the tests."""
    running.directory.reset()
    running.heal()
    running.state.switches = type(running.state.switches)()
    running.state.seen.clear()
    return running


@pytest_asyncio.fixture
async def reader(tenant: Tenant) -> AsyncIterator[GraphReader]:
    opened = GraphReader(settings_of(tenant), SystemClock(), risk_page_interval=0.0, max_pages=20)
    yield opened
    await opened.aclose()
