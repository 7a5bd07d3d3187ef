"""Control groups: a played tree for what is written where, and the kernel's own tree, where there is one, for how groups live and end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from renderer.chromium import cgroups
from renderer.chromium.cgroups import Groups
from renderer.watch import MIB, Limits

LIMITS = Limits(memory=100 * MIB, processes=10, disk=0, seconds=1.0, cores=0.5)


def played(tmp_path: Path, path: str = "/service", controllers: str = "cpuset cpu io memory pids") -> tuple[Path, Path]:
    root, proc = tmp_path / "tree", tmp_path / "proc"
    (root / "service").mkdir(parents=True)
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(f"1:name=systemd:/x\n0::{path}\n")
    (root / "cgroup.controllers").write_text(controllers)
    (root / "service" / "cgroup.controllers").write_text(controllers)
    (root / "service" / "cgroup.procs").write_text("41\n42\n")
    return root, proc


def test_what_a_session_gets() -> None:
    assert cgroups.settings(LIMITS) == {
        "memory.max": str(round(110 * MIB)),
        "pids.max": "400",
        "cpu.max": "50000 100000",
    }


def test_a_branch_is_taken_over(tmp_path: Path) -> None:
    root, proc = played(tmp_path)
    groups = cgroups.find(root, proc)
    assert groups == Groups(root / "service")
    assert (root / "service" / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (root / "service" / "node" / "cgroup.procs").read_text() == str(os.getpid()), "the node moves aside"
    group = groups.open("a1", LIMITS)
    assert group == root / "service" / "session-a1"
    assert (group / "memory.max").read_text() == str(round(110 * MIB))
    cgroups.join(group, [7])
    assert (group / "cgroup.procs").read_text() == "7"
    assert groups.open("a1", LIMITS) is None, "a name is used once"


def test_a_node_that_waits_beside_another_touches_nothing_of_it(tmp_path: Path) -> None:
    """A spare finds its branch, or makes it, before it may clean: what is there may be in use."""
    root, proc = played(tmp_path)
    service = root / "service"
    (proc / "4711").mkdir()
    alive, dead = service / "isolation-renderer-4711", service / "isolation-renderer-4712"
    for branch in (alive, dead):
        (branch / "session-just-made").mkdir(parents=True)
    cgroups.delegate(os.getuid(), os.getgid(), root, proc)
    assert (alive / "session-just-made").is_dir()
    assert not dead.exists()
    (service / "session-a").mkdir()
    groups = cgroups.find(root, proc)
    assert groups is not None
    assert not (service / "session-a" / "cgroup.kill").exists()
    groups.clear()
    assert (service / "session-a" / "cgroup.kill").read_text() == "1"


@pytest.mark.parametrize(
    ("path", "controllers"), [("/service", "cpu pids"), ("/../..", "cpu memory pids"), ("/gone", "cpu memory pids")]
)
def test_no_branch(tmp_path: Path, path: str, controllers: str) -> None:
    root, proc = played(tmp_path, path, controllers)
    assert cgroups.find(root, proc) is None
    (proc / "self" / "cgroup").write_text("3:memory:/x\n")
    assert cgroups.find(root, proc) is None
    assert cgroups.find(tmp_path / "nowhere", proc) is None


def test_a_group_ends_with_what_runs_in_it() -> None:
    tree = next((Path(t) for t in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if Path(t, "cgroup.controllers").is_file()), None)
    if tree is None or os.geteuid() != 0 or not os.access(tree, os.W_OK):
        pytest.skip("this machine lets nobody make control groups")
    group = tree / f"isolation-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("this machine lets nobody make control groups")
    process = subprocess.Popen(["sleep", "60"])
    try:
        cgroups.join(group, [process.pid, 2**22 + 1])
        assert (group / "cgroup.procs").read_text().split() == [str(process.pid)]
        assert cgroups.close(group)
        assert process.wait(10) != 0
        assert not group.exists()
        assert cgroups.close(group)
    finally:
        process.kill()
        process.wait(10)
