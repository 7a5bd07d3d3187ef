"""Runs the viewer's own unit tests (node --test). Python's side of the same golden vectors is in tests/unit/renderer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed; the browser tests exercise the same modules")
def test_viewer_modules() -> None:
    files = sorted(str(path) for path in HERE.glob("*.test.js"))
    assert files
    done = subprocess.run(["node", "--test", *files], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
