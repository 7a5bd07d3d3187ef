"""``isolation demo``: the whole product on this machine, with Datasette, JupyterLab and a built-in tenant, all on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import string
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from isolation.cli import logs
from isolation.cli.context import demo_state_dir
from isolation.cli.decide import Answer, decide_everywhere
from isolation.cli.serve import Deployment
from isolation.cli.supervisor import Spec
from isolation.errors import ConfigurationError
from isolation.settings import load
from isolation.settings.model import Settings
from isolation.testing.demo import sample
from isolation.testing.tenant import people

START_SECONDS = 90.0
"""The very first start compiles bytecode for half a gigabyte of packages; later ones take seconds."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of one demo, counted from the first."""

    router: int

    @property
    def tenant(self) -> int:
        """Port of the built-in tenant."""
        return self.router + 1

    @property
    def data(self) -> int:
        """Port of Datasette."""
        return self.router + 2

    @property
    def lab(self) -> int:
        """Port of JupyterLab."""
        return self.router + 3

    @property
    def operations(self) -> int:
        """Port of health and metrics."""
        return self.router + 4


def demo(port: int, state_dir: Path | None) -> None:
    """Prepare and run the demo until Ctrl-C. Raises :class:`ConfigurationError`."""
    console = Console(highlight=False)
    for module in ("datasette", "jupyterlab"):
        if find_spec(module) is None:
            raise ConfigurationError(f"the demo needs {module}: run `make demo`, or `pip install 'isolation[demo]'`")
    ports = Ports(port)
    home = (state_dir or demo_state_dir()).resolve()
    console.print(f"[bold]Preparing[/] {home}")
    config = prepare(home, ports)
    settings, text = load.require_with_text(config)
    logs.configure("supervisor", level="info", style="json")
    log_file = home / "demo.log"
    with log_file.open("w", encoding="utf-8") as log:
        # People read the screen; the processes' logs go to a file. The console keeps the old standard error.
        screen = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            asyncio.run(_run(console, config, settings, text, home, ports, log_file))
        finally:
            os.dup2(screen, 2)
            os.close(screen)


def prepare(home: Path, ports: Ports) -> Path:
    """Write the configuration and the sample content below ``home``; return the configuration file."""
    try:
        for folder in (home, home / "apps", home / "apps" / "notebooks"):
            folder.mkdir(parents=True, exist_ok=True)
        # Chromium's account walks through this directory to its own; it can list nothing here.
        home.chmod(stat.S_IRWXU | stat.S_IXGRP | stat.S_IXOTH)
        secret = home / "client-secret.txt"
        secret.write_text(people.CLIENT_SECRET, encoding="utf-8")
        secret.chmod(0o600)
        database = home / "apps" / "payments.db"
        if not database.exists():
            sample.write_database(database)
        notebook = home / "apps" / "notebooks" / "Month-end.ipynb"
        if not notebook.exists():
            sample.write_notebook(notebook)
        lab_config = home / "apps" / "jupyter" / "config" / "labconfig"
        lab_config.mkdir(parents=True, exist_ok=True)
        # JupyterLab asks on its first start whether it may fetch news from the internet; nobody wants that question in a demo.
        (lab_config / "page_config.json").write_text(
            '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}'
        )
        template = string.Template((Path(sample.__file__).parent / "configuration.yaml").read_text(encoding="utf-8"))
        config = home / "isolation.yaml"
        config.write_text(
            template.substitute(
                port=ports.router,
                tenant_port=ports.tenant,
                data_port=ports.data,
                lab_port=ports.lab,
                operations_port=ports.operations,
                state_dir=home,
                secret_file=secret,
                client_id=people.CLIENT_ID,
                directory_id=people.TENANT_ID,
                employees=people.EMPLOYEES,
                contractors=people.CONTRACTORS,
            ),
            encoding="utf-8",
        )
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {error.filename or home}: {error.strerror}. Choose another place with --state-dir, or run as the account that owns it."
        ) from error
    return config


def _app_specs(home: Path, ports: Ports) -> list[Spec]:
    apps = home / "apps"
    jupyter = apps / "jupyter"
    python = [sys.executable, "-m"]
    bound = _bound_to_parent()
    root = ["--allow-root"] if os.geteuid() == 0 else []
    return [
        Spec(
            "tenant",
            [
                *bound,
                *python,
                "isolation.testing.tenant",
                "--port",
                str(ports.tenant),
                "--base-url",
                f"http://localhost:{ports.tenant}",
            ],
            bytes,
        ),
        Spec(
            "datasette",
            [*bound, *python, "datasette", "serve", str(apps / "payments.db"), "--host", "127.0.0.1", "--port", str(ports.data)],
            bytes,
            cwd=str(apps),
            independent=True,
        ),
        Spec(
            "jupyterlab",
            [
                *bound,
                *python,
                "jupyterlab",
                "--no-browser",
                *root,
                "--ip=127.0.0.1",
                f"--port={ports.lab}",
                "--ServerApp.port_retries=0",
                f"--ServerApp.root_dir={apps / 'notebooks'}",
                # The router signs people in; the app keeps its own XSRF tokens and cookies.
                "--IdentityProvider.token=",
                "--ServerApp.allow_remote_access=True",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                "--LanguageServerManager.autodetect=False",  # it would look for two dozen programs while people wait
            ],
            bytes,
            env={
                "JUPYTER_CONFIG_DIR": str(jupyter / "config"),
                "JUPYTER_DATA_DIR": str(jupyter / "data"),
                "JUPYTER_RUNTIME_DIR": str(jupyter / "runtime"),
                "JUPYTERLAB_WORKSPACES_DIR": str(jupyter / "workspaces"),
                "JUPYTERLAB_SETTINGS_DIR": str(jupyter / "settings"),
                "IPYTHONDIR": str(jupyter / "ipython"),
            },
            cwd=str(apps),
            independent=True,
        ),
    ]


def _bound_to_parent() -> Sequence[str]:
    """Other people's programs do not watch our pipe: the kernel ends them when the supervisor dies (util-linux setpriv)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


async def _run(console: Console, config: Path, settings: Settings, text: str, home: Path, ports: Ports, log_file: Path) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    deployment = Deployment(config, settings, text, extra=_app_specs(home, ports))
    started = loop.time()
    stopped = asyncio.create_task(stop.wait())
    try:
        await deployment.start()
        ready = asyncio.create_task(_wait_until_ready(console, ports, log_file))
        await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            return
        ready.result()
        answers = await decide_everywhere(settings, [person.upn for person in people.PEOPLE], wait=15.0)
        _welcome(console, settings, ports, answers, loop.time() - started, log_file)
        await stopped
    finally:
        stopped.cancel()
        console.print("\n[bold]Stopping[/] …")
        await deployment.stop()
        console.print("Stopped. Nothing is left running.")


async def _wait_until_ready(console: Console, ports: Ports, log_file: Path) -> None:
    """Wait for every part, naming each as it comes up. Raises :class:`ConfigurationError` when one does not."""
    parts = {
        "built-in tenant": f"http://127.0.0.1:{ports.tenant}/{people.TENANT_ID}/v2.0/.well-known/openid-configuration",
        "Datasette": f"http://127.0.0.1:{ports.data}/-/versions.json",
        "JupyterLab": f"http://127.0.0.1:{ports.lab}/api",
        "router, sync and renderer": f"http://127.0.0.1:{ports.operations}/readyz",
    }
    loop = asyncio.get_running_loop()
    end = loop.time() + START_SECONDS
    async with httpx.AsyncClient(trust_env=False, timeout=2.0) as client:
        with console.status("Starting …") as status:
            while parts:
                for name, url in list(parts.items()):
                    status.update(f"Waiting for {', '.join(parts)} …")
                    with contextlib.suppress(httpx.HTTPError):
                        if (await client.get(url)).status_code == 200:
                            console.print(f"  [green]✓[/] {name}")
                            del parts[name]
                if not parts:
                    break
                if loop.time() > end:
                    raise ConfigurationError(
                        f"{', '.join(parts)} did not start within {START_SECONDS:.0f} s; the reason is in {log_file}"
                    )
                await asyncio.sleep(0.1)


def _welcome(
    console: Console, settings: Settings, ports: Ports, answers: Sequence[Answer], seconds: float, log_file: Path
) -> None:
    by_person: dict[str, list[Answer]] = {}
    for answer in answers:
        by_person.setdefault(answer.user, []).append(answer)
    console.print(f"\n[bold green]Ready[/] in {seconds:.1f} s. Open [bold]{settings.auth_origin}/[/], or one of the apps:")
    for app in settings.apps:
        console.print(f"  [bold]{settings.origin(app.domain)}/[/]  {app.description}")
    table = Table(title="Who can sign in, what they will see, and why", title_justify="left", show_lines=True)
    table.add_column("Person", no_wrap=True)
    for app in settings.apps:
        table.add_column(f"{app.name}\n[not bold]{app.domain}{settings.authority_suffix}[/]")
    for person in people.PEOPLE:
        table.add_row(
            f"{person.upn}\n[dim]{person.role}[/]",
            *(f"{answer.headline}\n[dim]{answer.why}[/]" for answer in by_person.get(person.upn, [])),
        )
    console.print(table)
    console.print("People sign in with one click, no password. Try this while one of them works:")
    console.print(
        f'  .venv/bin/isolation --config {settings.file} users tag alice --risk high --for 2h --reason "phishing report"',
        soft_wrap=True,  # one line, whatever the terminal's width: it is there to be copied
    )
    console.print(f"  or change the tenant's own risk levels at http://localhost:{ports.tenant}/_tenant/")
    console.print(f"Logs: {log_file}   Health: http://127.0.0.1:{ports.operations}/readyz   [bold]Ctrl-C ends everything.[/]")
