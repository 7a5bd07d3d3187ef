"""Which Chromium to run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

# Debian's commands are shell scripts around these; started through the script, the script and not Chromium would be our child.
_BINARIES = ("/usr/lib/chromium/chromium-headless-shell", "/usr/lib/chromium/chromium")
_COMMANDS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable")
_DOWNLOADS = (
    "chromium_headless_shell-*/chrome-*/headless_shell",
    "chromium_headless_shell-*/chrome-*/chrome-headless-shell",
    "chromium-*/chrome-*/chrome",
)
HOW_TO_GET = (
    "no Chromium found. On Debian or Ubuntu: apt-get install chromium-headless-shell (or chromium). "
    "Elsewhere: python -m playwright install --with-deps chromium. Or name one: ISOLATION_CHROMIUM=/path/to/chromium"
)


class NoChromiumError(Exception):
    """There is no Chromium to run. The text says how to get one."""


def find_chromium(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the browser's executable: the one named by ``ISOLATION_CHROMIUM``, Playwright's own download, or the system's.

    Raises :class:`NoChromiumError`.
    """
    named = environment.get("ISOLATION_CHROMIUM", "")
    if named:
        path = Path(named)
        if not (path.is_absolute() and path.is_file() and os.access(path, os.X_OK)):
            raise NoChromiumError(f"ISOLATION_CHROMIUM names {named}, which is not an executable file")
        return path
    home = environment.get("HOME", "")
    browsers = environment.get("PLAYWRIGHT_BROWSERS_PATH", "") or (f"{home}/.cache/ms-playwright" if home else "")
    if browsers and browsers != "0":
        for pattern in _DOWNLOADS:
            # The newest of several downloads: the directory's name ends in its revision.
            for path in sorted(Path(browsers).glob(pattern), key=lambda p: (len(str(p)), str(p)), reverse=True):
                if os.access(path, os.X_OK):
                    return path
    candidates = [Path(binary) for binary in _BINARIES]
    candidates += [Path(found) for command in _COMMANDS if (found := shutil.which(command)) is not None]
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise NoChromiumError(HOW_TO_GET)


def main() -> int:
    """Print the browser's path, for the set-up script; return 1 with a hint when there is none."""
    try:
        sys.stdout.write(f"{find_chromium()}\n")
    except NoChromiumError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
