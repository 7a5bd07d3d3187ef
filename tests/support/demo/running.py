"""The whole product as child processes: ``isolation demo`` or ``isolation serve``, and what /proc says about all that belongs to them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from renderer.chromium.find import NoChromiumError, find_chromium
from tests.support.ports import free_ports

CHECKOUT = Path(__file__).resolve().parents[3]
START_SECONDS = 90.0
"""Bound for a start: the first one on a machine compiles half a gigabyte of packages."""
PATIENCE = 30.0
T = TypeVar("T")


def chromium() -> str | None:
    """Return the browser that the product itself would use, or None to let Playwright look for its own."""
    try:
        return str(find_chromium())
    except NoChromiumError:
        return None


def wait(what: str, look: Callable[[], T | None], *, seconds: float = PATIENCE, step: float = 0.05) -> T:
    """Return the first truthy answer of ``look``."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(step)
    return found


def state_directory() -> Path:
    """Return a new directory that the renderer's account may walk through (pytest's own are closed to it)."""
    path = Path(tempfile.mkdtemp(prefix="isolation-product-"))
    path.chmod(0o711)
    return path


# ---------------------------------------------------------------- /proc


@dataclass(frozen=True)
class Proc:
    """A process as it was when it was looked at. ``born``: start time in clock ticks; with the id it names one process for ever."""

    pid: int
    ppid: int
    born: int
    state: str
    command: tuple[str, ...]

    @property
    def line_in_full(self) -> str:
        return " ".join(self.command)

    @property
    def line(self) -> str:
        return self.line_in_full[:160]

    def alive(self) -> bool:
        now = read_process(self.pid)
        return now is not None and now.born == self.born and now.state != "Z"

    def kill(self) -> None:
        """Kill -9 it, if it is still the same process."""
        assert self.alive(), self.line
        os.kill(self.pid, signal.SIGKILL)

    def status(self) -> dict[str, str]:
        """Return the fields of /proc/PID/status."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def namespace(self, kind: str) -> str | None:
        """Return e.g. ``net:[4026531840]``, or None where this account may not look."""
        try:
            return os.readlink(f"/proc/{self.pid}/ns/{kind}")
        except PermissionError:
            return None


def read_process(pid: int) -> Proc | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    # The name in parentheses may hold anything, so the fields are counted from its end (proc(5)).
    fields = stat.rpartition(")")[2].split()
    words = tuple(word.decode(errors="replace") for word in command.split(b"\0") if word)
    if len(words) == 1:  # Chromium's children write their whole command line as one word
        words = tuple(words[0].split(" "))
    return Proc(pid, int(fields[1]), int(fields[19]), fields[0], words)


def processes() -> list[Proc]:
    """Return every process of this machine (as far as this account sees them)."""
    found = (read_process(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [process for process in found if process is not None]


def descendants(pid: int) -> list[Proc]:
    """Return a process and all below it."""
    everything = processes()
    found, wanted = [process for process in everything if process.pid == pid], {pid}
    while more := [process for process in everything if process.ppid in wanted and process.pid not in wanted]:
        found += more
        wanted |= {process.pid for process in more}
    return found


def marked(mark: str) -> list[Proc]:
    """Return every process that names ``mark`` (a state directory) in its command line, environment or working directory."""
    needle, found = mark.encode(), []
    for process in processes():
        if process.pid == os.getpid() or process.state == "Z":
            continue
        words = " ".join(process.command).encode()
        with contextlib.suppress(OSError):
            words += Path(f"/proc/{process.pid}/environ").read_bytes()
        with contextlib.suppress(OSError):
            words += os.readlink(f"/proc/{process.pid}/cwd").encode()
        if needle in words:
            found.append(process)
    return found


# ---------------------------------------------------------------- the product


class Running:
    """One product that was started. ``home``: its state directory. ``config``: the configuration in force."""

    def __init__(self, home: Path, arguments: Sequence[str], *, config: Path, operations: int) -> None:
        self.home = home
        self.config = config
        self.operations = operations
        self._output = home / "screen.txt"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._known: set[Proc] = set()
        self._before = 0

    def start(self) -> None:
        """Start it, and return once it says that it is ready."""
        self._before = self._output.stat().st_size if self._output.exists() else 0
        with self._output.open("ab") as screen:
            self._process = subprocess.Popen(
                [*_with_us(), sys.executable, "-m", "isolation", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
                cwd=CHECKOUT,
                start_new_session=True,
                env={**os.environ, "ISOLATION_TEST_HOME": str(self.home), "COLUMNS": "160"},
            )
        wait("the product's start", self._ready, seconds=START_SECONDS)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended:\n{self.screen()}"
        if "demo" in self._arguments:
            return "Ctrl-C ends everything" in self.screen()
        return http(f"http://127.0.0.1:{self.operations}/readyz")[0] == 200

    def screen(self) -> str:
        """Return what it printed since it was started."""
        return self._output.read_bytes()[self._before :].decode(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    # ------------------------------------------------------------ its processes

    def family(self) -> list[Proc]:
        """Return all its living processes, and remember them."""
        found = descendants(self.pid) if self._process is not None and self._process.poll() is None else []
        self._known |= set(found)
        return found

    def child(self, *words: str) -> Proc:
        """Return the child of the supervisor whose command line holds these words, and that was told what to do."""
        told = {int(line["pid"]) for line in self.log("process.started")}
        found = [
            one
            for one in self.family()
            if one.pid in told and one.ppid == self.pid and all(word in one.command for word in words)
        ]
        assert len(found) == 1, [process.line for process in found]
        return found[0]

    def chromium(self, user: str) -> Proc:
        """Return the Chromium of somebody's isolated session, by the audit log and the node's."""
        lease = self.audit("isolation-started", user)[0]["detail"]["lease"]
        pid = int(self.log("lease.started", lease=lease[:8], logger="renderer.node")[-1]["pid"])
        return next(process for process in self.family() if process.pid == pid)

    def profiles(self) -> list[Path]:
        """Return every directory in which Chromium keeps anything."""
        runtime = self.home / "run" / "renderer"
        return sorted(path for path in runtime.iterdir() if path.is_dir()) if runtime.exists() else []

    def ownerless(self) -> list[str]:
        """Return sessions' directories that no living process uses. (Playwright keeps empty ones of its own for each browser that lives.)"""
        lines = [process.line_in_full for process in self.family()]
        sessions = [path for path in self.profiles() if path.name.startswith("session-")]
        return [str(path) for path in sessions if not any(str(path) in line for line in lines)]

    def leftovers(self) -> list[str]:
        """Return what is still there of a product that has ended."""
        left = {process for process in self._known if process.alive()} | set(marked(str(self.home)))
        return [f"{process.pid} {process.line}" for process in left] + [str(path) for path in self.profiles()]

    # ------------------------------------------------------------ its end

    def interrupt(self) -> float:
        """Press Ctrl-C; return the seconds until the process was gone."""
        assert self._process is not None
        self.family()
        started = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE)
        return time.monotonic() - started

    def kill(self) -> None:
        """Kill -9 the supervisor."""
        assert self._process is not None
        self.family()
        self._process.kill()
        self._process.wait(PATIENCE)

    def stop(self) -> None:
        """End it however it takes, and remove its directory."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    # ------------------------------------------------------------ its tools and records

    def isolation(self, *arguments: str) -> str:
        """Run ``isolation --config … ARGUMENTS`` and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "isolation", "--config", str(self.config), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            cwd=CHECKOUT,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def audit(self, kind: str, user: str) -> list[dict[str, Any]]:
        """Return somebody's audit entries, newest first."""
        lines = self.isolation("audit", "list", "--kind", kind, "--user", user, "--limit", "5000").splitlines()
        return [json.loads(line) for line in lines]

    def log(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return the log lines of one event, oldest first."""
        found = []
        path = self.home / "demo.log" if "demo" in self._arguments else self._output
        for line in path.read_text(errors="replace").splitlines():
            if f'"{event}"' in line and line.startswith("{"):
                entry = json.loads(line)
                if entry.get("event") == event and all(entry.get(name) == value for name, value in fields.items()):
                    found.append(entry)
        return found


def _with_us() -> list[str]:
    """Nothing outlives the tests, not even ones that are killed themselves."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def http(url: str) -> tuple[int, bytes]:
    """Ask once, without a proxy; status 0 where nothing answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


# ---------------------------------------------------------------- the demo


@dataclass(frozen=True)
class Demo:
    """The demo, and where its parts are."""

    product: Running
    port: int

    @property
    def data(self) -> str:
        return f"http://data.localhost:{self.port}"

    @property
    def lab(self) -> str:
        return f"http://lab.localhost:{self.port}"

    @property
    def auth(self) -> str:
        return f"http://auth.localhost:{self.port}"

    @property
    def datasette(self) -> str:
        """Datasette itself, past the router."""
        return f"http://127.0.0.1:{self.port + 2}"

    @property
    def jupyter(self) -> str:
        """JupyterLab itself, past the router."""
        return f"http://127.0.0.1:{self.port + 3}"

    @property
    def _notebooks(self) -> Path:
        return self.product.home / "apps" / "notebooks"

    def notebook(self, name: str) -> str:
        """Make a copy of the sample notebook, so that nobody meets somebody else's kernel; return its file name."""
        shutil.copyfile(self._notebooks / "Month-end.ipynb", self._notebooks / f"{name}.ipynb")
        return f"{name}.ipynb"

    def outputs(self, notebook: str) -> str:
        """Return the text that the cells of a saved notebook printed."""
        try:
            cells = json.loads((self._notebooks / notebook).read_text())["cells"]
        except ValueError:  # just being written
            return ""
        return "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))

    def kernels(self, notebook: str) -> list[dict[str, Any]]:
        """Return Jupyter's own account of the kernels that run for a notebook."""
        _, body = http(f"{self.jupyter}/api/sessions")
        return [session["kernel"] for session in json.loads(body or b"[]") if session["path"] == notebook]


def ready_seconds(screen: str) -> float:
    """Return the seconds the demo says it took to be ready."""
    found = re.search(r"Ready in ([\d.]+) s", screen)
    assert found is not None, screen
    return float(found[1])


@contextlib.contextmanager
def running_demo() -> Iterator[Demo]:
    """Run ``isolation demo`` on free ports in a state directory of its own."""
    home, port = state_directory(), free_ports(5)[0]
    product = Running(
        home, ["demo", "--port", str(port), "--state-dir", str(home)], config=home / "isolation.yaml", operations=port + 4
    )
    try:
        product.start()
        yield Demo(product, port)
    finally:
        product.stop()
