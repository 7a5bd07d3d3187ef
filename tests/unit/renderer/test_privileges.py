"""Getting rid of root, tried for real: these tests fork, mount in a namespace of their own and look at what the unprivileged side sees."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from renderer.privileges import (
    STAGE,
    Identity,
    PrivilegeError,
    barred,
    drop_root,
    kept_environment,
    prepare_runtime_dir,
    unprivileged_identity,
)

CHECKOUT = Path(__file__).parents[3]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give it up")
WHO = Identity(61984, 61984)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="isolation-privileges-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_identity_is_never_root() -> None:
    assert unprivileged_identity().uid != 0


def test_the_environment_carries_no_secrets(place: Path) -> None:
    kept = kept_environment(
        {
            "PATH": "/bin",
            "ISOLATION_SECRET": "s",
            "AWS_KEY": "k",
            "LD_PRELOAD": "x",
            "PYTHONSTARTUP": "x",
            "ISOLATION_CHROMIUM": "/c",
        },
        place,
    )
    assert set(kept) == {"PATH", "ISOLATION_CHROMIUM", "HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}
    assert kept["HOME"] == str(place)


def test_the_runtime_directory_is_private_and_ours(place: Path) -> None:
    prepare_runtime_dir(place / "new" / "node", None)
    assert (place / "new" / "node").stat().st_mode & 0o777 == 0o700
    (place / "trap").symlink_to("/etc")
    with pytest.raises(PrivilegeError):
        prepare_runtime_dir(place / "trap", None)


@as_root
def test_somebody_elses_directory_is_refused(place: Path) -> None:
    (place / "theirs").mkdir()
    os.chown(place / "theirs", 12345, 12345)
    with pytest.raises(PrivilegeError):
        prepare_runtime_dir(place / "theirs", WHO)


@as_root
def test_barred_asks_the_kernel(place: Path) -> None:
    (place / "open" / "in").mkdir(parents=True)
    (place / "shut" / "in").mkdir(parents=True)
    (place / "shut").chmod(0o700)
    (place / "own").mkdir(mode=0o700)
    found = barred([place / "open" / "in", place / "shut" / "in", place / "own"], WHO)
    assert found == {place / "shut" / "in": place / "shut", place / "own": None}
    assert barred([place / "open" / "in"], WHO, write=True) == {place / "open" / "in": None}


def test_an_ordinary_user_is_left_alone(place: Path) -> None:
    code = f"from renderer.privileges import drop_root; from pathlib import Path; drop_root([], Path({str(place / 'node')!r}), None); print('still here')"
    become = ["setpriv", "--reuid=61984", "--regid=61984", "--clear-groups", "--"] if os.geteuid() == 0 else []
    if become:
        # The interpreter may lie below /root: let the same tool that the node uses open the way.
        pytest.skip("as root the whole node is started instead, see the next test and tests/browser")
    done = subprocess.run(
        [*become, sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT, timeout=30, check=False
    )
    assert done.stdout == "still here\n", done.stderr


PROBE = """
import os, sys
from pathlib import Path
sys.path.insert(0, {checkout!r})
from renderer import privileges as p
shut = Path({place!r}) / "shut"
who = p.unprivileged_identity()
needed = shut / "deep" / "down"
p.open_the_way([needed], [], [shut])
assert not p.barred([needed], who)
os.setgroups([]); os.setresgid(who.gid, who.gid, who.gid); os.setresuid(who.uid, who.uid, who.uid)
print(sorted(os.listdir(shut)), (needed / "file").read_text())
try:
    (needed / "new").write_text("x")
except OSError as problem:
    print("read-only", problem.errno)
"""


@as_root
def test_only_what_is_needed_shows_and_nothing_leaks_back(place: Path) -> None:
    needed = place / "shut" / "deep" / "down"
    needed.mkdir(parents=True)
    (needed / "file").write_text("content")
    needed.chmod(0o777)
    (place / "shut" / "secret").write_text("of root")
    (place / "shut").chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(checkout=str(CHECKOUT), place=str(place))],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        umask=0o077,  # as under ``isolation serve``
    )
    assert done.stdout == "['deep'] content\nread-only 30\n", done.stderr
    assert (place / "shut" / "secret").read_text() == "of root"  # outside, all is as it was


@as_root
def test_still_root_after_dropping_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STAGE, "1")
    with pytest.raises(PrivilegeError):
        drop_root([], place / "node", None)


@as_root
def test_without_setpriv_the_node_does_not_start(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(PrivilegeError, match="util-linux"):
        drop_root([], place / "node", None)


@as_root
def test_a_node_without_a_way_to_drop_root_says_how_to_fix_it(place: Path) -> None:
    """No CAP_SYS_ADMIN: no mounts. Where the interpreter is readable the node starts without them, else it explains."""
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable, "-m", "renderer", "--runtime-dir", str(place / "node"), "--exit-with-parent"],
        capture_output=True, text=True, timeout=60, cwd=CHECKOUT, check=False, input="",
    )  # fmt: skip
    if barred([Path(sys.base_prefix)], WHO):
        assert done.returncode == 78
        assert "outside of /root" in done.stderr
    else:
        assert "no node token" in done.stderr


@as_root
def test_the_second_life_has_no_rights(place: Path) -> None:
    """The whole way: root starts the node; what asks for the token is an ordinary process without capabilities."""
    process = subprocess.Popen(
        [sys.executable, "-m", "renderer", "--runtime-dir", str(place / "node")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=CHECKOUT, env=os.environ | {"SECRET_OF_ROUTER": "x"},
    )  # fmt: skip
    try:
        status: dict[str, str] = {}
        for _ in range(600):
            status = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":\t" in line
            )
            if status["Uid"].split()[0] != "0" and (place / "node" / "lock").exists():
                break
            process_ended = process.poll()
            assert process_ended is None
            import time

            time.sleep(0.02)
        assert set(status["Uid"].split() + status["Gid"].split()) == {str(unprivileged_identity().uid)}
        assert status["Groups"].strip() == ""
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
        assert b"SECRET_OF_ROUTER" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    finally:
        process.kill()
        process.communicate()
