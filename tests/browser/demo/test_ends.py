"""The demo's end, and its second start."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.demo.person import Person, until
from tests.support.demo.running import Demo, ready_seconds, running_demo, wait

pytestmark = [pytest.mark.browser, pytest.mark.demo, pytest.mark.timeout(300)]

SECOND_START = 10.0


def at_work(demo: Demo, visit: Callable[..., Person]) -> None:
    """Have an isolated browser, a kernel and open connections."""
    notebook = demo.notebook("last")
    bob = visit("Bob Brennan", f"{demo.lab}/lab/workspaces/last/tree/{notebook}")
    bob.ready()
    until(bob.page, "the kernel", lambda: demo.kernels(notebook))


@pytest.mark.case(55)
def test_nothing_is_left_of_a_demo_however_it_ends(visit: Callable[..., Person], figures: dict[str, float]) -> None:
    with running_demo() as demo:
        product = demo.product
        at_work(demo, visit)
        names = " ".join(process.line_in_full for process in product.family())
        for part in ("--type=renderer", "ipykernel", "datasette", "isolation.testing.tenant", "worker", "sync"):
            assert part in names
        assert product.profiles()
        figures["from Ctrl-C to the demo's end"] = product.interrupt()
        assert "Nothing is left running" in product.screen()
        assert product.leftovers() == []

        product.start()
        figures[f"until the demo is ready at its second start (promised: {SECOND_START:.0f})"] = ready_seconds(product.screen())
        at_work(demo, visit)
        product.kill()
        wait("the end of all that hung on it", lambda: not product.leftovers())
