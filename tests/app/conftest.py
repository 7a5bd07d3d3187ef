"""Products that many tests share: starting one takes seconds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.product import Product


@pytest.fixture(scope="session")
def whole_product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with Product(tmp_path_factory.mktemp("product")) as product:
        yield product


@pytest.fixture
def product(whole_product: Product) -> Iterator[Product]:
    """The product, with an empty list of what its upstream has seen and a tenant without faults."""
    whole_product.upstream.forget()
    yield whole_product
    whole_product.tenant.heal()


@pytest.fixture(scope="session")
def whole_fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A second one, whose readings go stale after three seconds: for tests that break what it stands on.

    As root its state lies on a small file system of its own, which can be filled up.
    """
    home = tmp_path_factory.mktemp("fragile")
    disk = home / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0711", "tmpfs", disk]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
    try:
        with Product(home, stale_after="3s", state_dir=disk / "state") as product:
            product.own_disk = mounted
            yield product
    finally:
        if mounted:
            subprocess.run(["umount", disk], check=True)


@pytest.fixture
def fragile(whole_fragile: Product) -> Iterator[Product]:
    if not whole_fragile.running:  # a test that broke it has failed; the others say what they have to say
        whole_fragile.start()
    whole_fragile.upstream.forget()
    yield whole_fragile
    whole_fragile.tenant.heal()
    whole_fragile.tenant.keys.forge(False)
    whole_fragile.tenant.switches.skew = 0.0
