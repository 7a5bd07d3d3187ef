"""Pass-through against nginx and Go, in one run on one pinned core: ``python -m bench.proxy``.

Rounds are interleaved, so that whatever else the machine does hits all alike; figures are medians over the rounds. Every request carries the
headers of a browser. One connection measures latency without queueing, many measure throughput.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.proxy.machines import LOAD_CORE, ROOT, Machine, MissingError, data_plane, go_proxy, need, nginx_proxy, upstream

RESULTS = ROOT / "bench" / "results" / "proxy.json"
BROWSER = (
    'sec-ch-ua: "Chromium";v="146", "Not.A/Brand";v="24"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/146.0.0.0 Safari/537.36",
    "Accept: */*",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Dest: empty",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9",
)
_UNITS = {"us": 1.0, "ms": 1_000.0, "s": 1_000_000.0, "m": 60_000_000.0}


@dataclass
class Figures:
    """What the rounds gave for one machine. Times in microseconds."""

    rps: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    single_p50: list[float] = field(default_factory=list)
    single_p99: list[float] = field(default_factory=list)


def load(machine: Machine, *, connections: int, seconds: float, wrk: str) -> tuple[float, float, float, float]:
    """Return requests/s, p50, p99 (µs) and the machine's processor time per request (µs)."""
    argv = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    for header in (*BROWSER, *machine.headers):
        argv += ["-H", header]
    argv.append(f"http://127.0.0.1:{machine.port}/api/items?page=3")

    def pin() -> None:
        if LOAD_CORE in os.sched_getaffinity(0):
            os.sched_setaffinity(0, {LOAD_CORE})

    before = machine.cpu_seconds()
    done = subprocess.run(argv, capture_output=True, text=True, check=True, preexec_fn=pin)
    used = machine.cpu_seconds() - before
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise MissingError(f"{machine.name} failed requests:\n{done.stdout}")
    count = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    spread = dict(re.findall(r"^\s+(50|99)%\s+([\d.]+(?:us|ms|s|m))$", done.stdout, re.MULTILINE))
    if count is None or rate is None or len(spread) != 2:
        raise MissingError(f"wrk's output was not understood:\n{done.stdout}")
    return float(rate[1]), _microseconds(spread["50"]), _microseconds(spread["99"]), used / int(count[1]) * 1e6


def _microseconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    assert match is not None
    return float(match[1]) * _UNITS[match[2]]


def main() -> int:
    """Run the comparison. Exit status 2 where something needed is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="per machine, round and load")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--without-router", action="store_true", help="the data plane only (for work on it)")
    options = parser.parse_args()
    try:
        return run(options)
    except MissingError as error:
        print(error, file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    """Start everything, measure, print and write."""
    wrk = need("wrk", "apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="isolation-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user where we are root

        def running(machine: Machine) -> Machine:
            stack.callback(machine.stop)
            return machine

        origin = running(upstream(folder))
        machines = {
            "upstream": origin,
            "nginx": running(nginx_proxy(folder, origin.port)),
            "go": running(go_proxy(folder, origin.port)),
        }
        machines["data_plane"] = running(data_plane(folder, origin.port))
        if not options.without_router:
            from bench.proxy.router import router

            print("starting the router, signing in …", flush=True)
            machines["router"] = running(router(folder, origin.port))
        figures = {key: Figures() for key in machines}
        for machine in machines.values():
            load(machine, connections=options.connections, seconds=1, wrk=wrk)  # warm up
        started = time.time()
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds} …", flush=True)
            order = list(machines.items())
            for key, machine in order if number % 2 else reversed(order):  # nobody always follows the same one
                rps, p50, p99, cpu = load(machine, connections=options.connections, seconds=options.seconds, wrk=wrk)
                found = figures[key]
                found.rps.append(rps)
                found.p50.append(p50)
                found.p99.append(p99)
                found.cpu.append(cpu)
                _, single_p50, single_p99, _ = load(machine, connections=1, seconds=1, wrk=wrk)
                found.single_p50.append(single_p50)
                found.single_p99.append(single_p99)
    report(machines, figures, options, time.time() - started)
    return 0


def report(machines: dict[str, Machine], figures: dict[str, Figures], options: argparse.Namespace, seconds: float) -> None:
    """Print the table and write the figures."""
    median = statistics.median
    print(f"\n{'':44}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}{'1 conn. p50 µs':>16}{'p99 µs':>9}")
    for key, machine in machines.items():
        f = figures[key]
        cpu = f"{median(f.cpu):9.1f}" if key != "upstream" else f"{'':9}"
        print(
            f"{machine.name:44}{median(f.rps):9.0f}{median(f.p50) / 1000:9.2f}{median(f.p99) / 1000:9.2f}{cpu}"
            f"{median(f.single_p50):16.0f}{median(f.single_p99):9.0f}"
        )
    subject = "router" if "router" in machines else "data_plane"

    def against(peer: str, what: str) -> float:
        pairs = zip(getattr(figures[subject], what), getattr(figures[peer], what), strict=True)
        return round(median(mine / theirs for mine, theirs in pairs if theirs), 3)  # round by round: they ran side by side

    direct = figures["upstream"]
    document = {
        "figures": {
            "proxy.rps_vs_go": against("go", "rps"),
            "proxy.rps_vs_nginx": against("nginx", "rps"),
            "proxy.p50_vs_go": against("go", "p50"),
            "proxy.p99_vs_go": against("go", "p99"),
            "proxy.p50_vs_nginx": against("nginx", "p50"),
            "proxy.p99_vs_nginx": against("nginx", "p99"),
            "proxy.cpu_vs_go": against("go", "cpu"),
            "proxy.cpu_vs_nginx": against("nginx", "cpu"),
            "proxy.added_p50_us": round(median(figures[subject].single_p50) - median(direct.single_p50), 1),
            "proxy.added_p99_us": round(median(figures[subject].single_p99) - median(direct.single_p99), 1),
            "proxy.rps": round(median(figures[subject].rps)),
            "proxy.data_plane_rps_vs_go": round(
                median(a / b for a, b in zip(figures["data_plane"].rps, figures["go"].rps, strict=True)), 3
            ),
        },
        "subject": machines[subject].name,
        "conditions": {
            "connections": options.connections,
            "rounds": options.rounds,
            "seconds_per_round": options.seconds,
            "total_seconds": round(seconds),
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "load_average": [round(value, 2) for value in os.getloadavg()],
        },
        "rounds": {
            key: {name: [round(value, 1) for value in values] for name, values in vars(f).items()} for key, f in figures.items()
        },
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    print("\nratios, medians over the rounds:")
    for name, value in document["figures"].items():  # type: ignore[attr-defined]
        print(f"  {name:32}{value}")
    print(f"written to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
