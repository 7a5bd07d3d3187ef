"""Proof, before the node takes anybody in, that Chromium's sandbox holds: read from /proc, not from Chromium's word."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.async_api import Error

from renderer.chromium import processes
from renderer.chromium.flags import Proxy
from renderer.chromium.launch import Chromium, Engine, LaunchError, NoSandboxError, how_to_allow_sandbox

_SECCOMP_FILTER = "2"  # proc_pid_status(5)
_NAMESPACES = ("user", "pid", "net")


async def check_sandbox(engine: Engine, proxy: Proxy | None) -> Chromium:
    """Start a browser with a page and look at the page's process. Returns the browser, with the page gone.

    Raises :class:`NoSandboxError`, or :class:`LaunchError` when Chromium does not start at all.
    """
    chromium = await engine.launch(proxy)
    try:
        page = await chromium.browser.new_page()
        await page.set_content("<p>sandbox</p>")
        inside = [process.pid for process in processes.take_census().tree(chromium.pid)]
        browser = processes.browser_of(inside)
        pages = [pid for pid in inside if processes.is_page(pid)]
        if not pages:
            raise LaunchError("Chromium runs no page process")
        for pid in pages:
            problem = unsandboxed(pid, beside=str(browser))
            if problem:
                raise NoSandboxError(f"{how_to_allow_sandbox()} (found: {problem})")
        await page.context.close()
    except Error as problem:
        engine.end_soon(chromium)
        raise LaunchError("Chromium ended while its sandbox was looked at") from problem
    except BaseException:
        engine.end_soon(chromium)
        raise
    return chromium


def unsandboxed(pid: int, proc: Path = processes.PROC, *, beside: str = "self") -> str:
    """Return what is missing from a process's sandbox, "" for nothing: a seccomp filter, no new privileges, namespaces of its own, no root.

    ``beside``: the process whose namespaces it must not share, its browser: the walls around a session are none around its pages.
    """
    try:
        status = dict(line.split(":", 1) for line in (proc / str(pid) / "status").read_text().splitlines() if ":" in line)
        shared = [
            name for name in _NAMESPACES if os.readlink(proc / str(pid) / "ns" / name) == os.readlink(proc / beside / "ns" / name)
        ]
    except OSError as problem:
        return f"the process cannot be inspected: {problem.strerror}"
    missing = []
    if status.get("Seccomp", "").strip() != _SECCOMP_FILTER:
        missing.append("no seccomp filter")
    if status.get("NoNewPrivs", "").strip() != "1":
        missing.append("may gain privileges")
    if "0" in status.get("Uid", "0").split():
        missing.append("runs as root")
    if shared:
        missing.append(f"shares the {', '.join(shared)} namespace with its browser")
    return ", ".join(missing)
