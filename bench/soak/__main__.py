"""Twenty sessions that browse, crash, hang, download and reconnect, while parts of the product are killed: ``python -m bench.soak``.

What must hold: every session is back at its address within five seconds of a fault or says why not; and at the end no zombie, orphan, profile
directory, file descriptor or memory is left over. Writes ``bench/results/soak.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import override

from bench.report import console, table, write
from bench.soak.chaos import Deployment, Sample, end
from bench.soak.person import BACK_SECONDS, Person
from bench.soak.site import Site
from renderer.wire import messages as m
from tests.support.product import AppSpec, Product

# ---------------------------------------------------------------- limits
HANG_SECONDS = 40.0  # a page that hangs is told of after eight seconds of silence; a busy machine takes longer
REST_SECONDS = 150.0  # a session nobody came back to lives for two minutes
MAY_GROW_FILES = 25  # connections that are just being made or given up
MAY_GROW_MEMORY = 1.3  # of what router and node had after the first round: allocators keep what they had in the busiest moment


VICTIMS = ("browser", "node", "router")  # each in turn, in an order of chance


@dataclass(frozen=True)
class Plan:
    """What to do. ``kill_every`` 0: nothing of the product is killed."""

    sessions: int = 20
    seconds: float = 1800.0
    kill_every: float = 20.0
    seed: int = 1
    patience: float = 5.0  # longest pause between two things that one person does


@dataclass
class Outcome:
    """What came of it."""

    people: list[Person]
    kills: Counter[str]
    before: Sample
    after: Sample
    rest: Sample
    problems: list[str] = field(default_factory=list)

    @property
    def back(self) -> list[float]:
        """Return how long each loss or change of page took until the picture was there."""
        return sorted(seconds for person in self.people for seconds in person.seen.back)


class _Deployed(Product):
    """A product whose node has room for exactly so many sessions: a lease that leaks is noticed at once."""

    capacity = 1

    @override
    def document(self) -> dict[str, Any]:
        return super().document() | {"renderer": {"capacity": self.capacity, "warm": 1, "free_memory": 0}}


async def soak(plan: Plan, home: Path) -> Outcome:
    """Run a whole product, its people and its faults."""
    async with Site() as site:
        spec = AppSpec("Data", port=site.port)
        product = _Deployed(home, apps=(spec,), renderer=True, stale_after="1h")
        product.capacity = plan.sessions
        product.check_logs = False
        await asyncio.to_thread(product.__enter__)
        try:
            return await _live(plan, product)
        finally:
            await asyncio.to_thread(product.__exit__, None, None, None)


async def _live(plan: Plan, product: Product) -> Outcome:
    chance = random.Random(plan.seed)
    deployment = Deployment(product.pid, product.pids, product.state_dir / "run" / "renderer")
    people = []
    for _ in range(plan.sessions):
        browser = await asyncio.to_thread(product.browser, product.newcomer("soak", group="Contractors"))
        people.append(Person(f"p{len(people)}", product.port, "data.localhost", browser.cookie_header("data")))
    lines = [asyncio.create_task(person.run()) for person in people]
    try:
        await asyncio.gather(*(person.back("the first page") for person in people))
        before = await asyncio.to_thread(deployment.sample)
        kills: Counter[str] = Counter()
        over = asyncio.Event()
        work = [_work(person, plan, over, random.Random(chance.random()), deployment) for person in people]
        await asyncio.gather(*work, _faults(plan, over, chance, deployment, kills))
        await asyncio.gather(*(person.back("the last page") for person in people))
        after = await asyncio.to_thread(deployment.sample)
    finally:
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)
    # Signed out, every browser ends; the warm one is left.
    for person in people:
        await asyncio.to_thread(product.cli, "sessions", "revoke", "--user", f"soak{people.index(person) + 1}@contoso.example")
    rest = await _settled(deployment)
    outcome = Outcome(people, kills, before, after, rest)
    outcome.problems = [*_judge(outcome)]
    return outcome


async def _settled(deployment: Deployment) -> Sample:
    until = time.monotonic() + REST_SECONDS
    while True:
        sample = await asyncio.to_thread(deployment.sample)
        if (sample.browsers <= 1 and sample.directories <= 1 and not sample.zombies) or time.monotonic() > until:
            return sample
        await asyncio.sleep(1)


async def _work(person: Person, plan: Plan, over: asyncio.Event, chance: random.Random, deployment: Deployment) -> None:
    number = 0
    while not over.is_set():
        number += 1
        what = chance.choices(("browse", "scroll", "reconnect", "download", "crash", "hang"), (8, 8, 4, 2, 1, 1))[0]
        person.seen.counts[f"did: {what}"] += 1
        match what:
            case "browse":
                await person.go(f"/page/{number}")
            case "scroll":
                await person.say(m.Wheel(400, 300, 0, 240, 0))
            case "reconnect":
                await person.drop()
            case "download":
                await person.say(m.Navigate("/file"))
            case "crash":
                pages = await asyncio.to_thread(deployment.pages)
                if pages:
                    end(chance.choice(pages))  # anybody's
            case _:
                await _hang(person, number)
        await asyncio.sleep(chance.uniform(0.1, plan.patience))
        await person.back(what)


async def _hang(person: Person, number: int) -> None:
    person.hung.clear()
    await person.go("/hang")
    try:
        async with asyncio.timeout(HANG_SECONDS):
            await person.hung.wait()
    except TimeoutError:
        person.seen.counts["hang: ended before it was told"] += 1  # something of the product was killed meanwhile
    await person.go(f"/after/{number}")


async def _faults(plan: Plan, over: asyncio.Event, chance: random.Random, deployment: Deployment, kills: Counter[str]) -> None:
    """Let the time pass, and kill meanwhile: everything at least once, however slow the machine."""
    end_at = time.monotonic() + plan.seconds
    while plan.kill_every and (time.monotonic() < end_at or not kills):
        for what in chance.sample(VICTIMS, len(VICTIMS)):
            await asyncio.sleep(plan.kill_every)
            kills[await asyncio.to_thread(deployment.kill, what, chance)] += 1
    await asyncio.sleep(max(0.0, end_at - time.monotonic()))
    over.set()


def _judge(outcome: Outcome) -> list[str]:
    problems = [f"{person.name}: {lost}" for person in outcome.people for lost in person.seen.lost]
    before, after, rest = outcome.before, outcome.after, outcome.rest
    if rest.zombies or after.zombies > len(outcome.people):
        problems.append(f"zombies: {after.zombies}, at rest {rest.zombies}")
    if rest.browsers > 1 or rest.directories > 1:
        problems.append(f"left over: {rest.browsers} browsers, {rest.directories} directories")
    for what, then, now in (("router", before.router_files, after.router_files), ("node", before.node_files, after.node_files)):
        if now > then + MAY_GROW_FILES:
            problems.append(f"open files of the {what}: {then} became {now}")
    for what, held, holds in (
        ("router", before.router_memory, after.router_memory),
        ("node", before.node_memory, after.node_memory),
    ):
        if holds > held * MAY_GROW_MEMORY + 20:
            problems.append(f"memory of the {what}: {held:.0f} MiB became {holds:.0f}")
    return problems


def report(plan: Plan, outcome: Outcome) -> None:
    """Print what happened, and write it down."""
    back = outcome.back
    counts: Counter[str] = sum((person.seen.counts for person in outcome.people), Counter())
    late = sum(seconds > BACK_SECONDS for seconds in back)
    figures: dict[str, float | int | None] = {
        "soak.sessions": plan.sessions,
        "soak.minutes": round(plan.seconds / 60, 2),
        "soak.kills": sum(outcome.kills.values()),
        "soak.back": len(back),
        "soak.back_p50_s": round(back[len(back) // 2], 2) if back else None,
        "soak.back_p95_s": round(back[int(len(back) * 0.95)], 2) if back else None,
        "soak.back_max_s": round(back[-1], 2) if back else None,
        "soak.back_over_5_s": late,
        "soak.explained": sum(person.seen.explained for person in outcome.people),
        "soak.lost": sum(len(person.seen.lost) for person in outcome.people),
        "soak.problems": len(outcome.problems),
        **outcome.before.figures("soak.before"),
        **outcome.after.figures("soak.after"),
        **outcome.rest.figures("soak.rest"),
    }
    table("Soak", ("figure", "value"), [*figures.items()])
    table(
        "What happened",
        ("event", "times"),
        sorted(counts.items()) + sorted((f"killed: {k}", n) for k, n in outcome.kills.items()),
    )
    path = write("soak", figures, {"events": dict(counts), "kills": dict(outcome.kills), "problems": outcome.problems})
    for problem in outcome.problems:
        console.print(f"[red]{problem}")
    console.print(f"written to {path}")


def main() -> int:
    """Run a soak. Returns 1 when something was left over, or somebody did not come back."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--sessions", type=int, default=Plan.sessions)
    parser.add_argument("--minutes", type=float, default=Plan.seconds / 60)
    parser.add_argument("--kill-every", type=float, default=Plan.kill_every, help="seconds; 0: kill nothing")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    options = parser.parse_args()
    plan = Plan(options.sessions, options.minutes * 60, options.kill_every, options.seed)
    with tempfile.TemporaryDirectory(prefix="isolation-soak-") as home:
        Path(home).chmod(0o755)
        outcome = asyncio.run(soak(plan, Path(home)))
    report(plan, outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
