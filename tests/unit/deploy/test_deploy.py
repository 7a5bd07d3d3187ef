"""What is shipped beside the code: no Docker engine is needed to see that it is consistent."""

import json
import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def _targets() -> dict[str, str]:
    text = (ROOT / "Dockerfile").read_text()
    parts = re.split(r"^FROM \S+ AS (\w+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_no_image_runs_as_root():
    targets = _targets()
    assert {"router", "renderer"} <= set(targets)
    for name in ("router", "renderer"):
        users = re.findall(r"^USER (\S+)$", targets[name], flags=re.MULTILINE)
        assert users, name
        assert users[-1] not in {"root", "0"}, name


def test_only_the_renderer_image_holds_a_browser():
    targets = _targets()
    assert "chromium" in targets["renderer"]
    assert "chromium" not in targets["router"]


def test_no_image_switches_the_sandbox_off():
    assert "no-sandbox" not in (ROOT / "Dockerfile").read_text()
    assert "seccomp=unconfined" not in (ROOT / "deploy" / "compose.yaml").read_text()


def test_compose_names_real_targets_and_gives_the_renderer_no_way_out():
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    services = compose["services"]
    for name in ("router", "renderer"):
        assert services[name]["build"]["target"] in _targets()
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["read_only"] is True
    [network] = services["renderer"]["networks"]
    assert compose["networks"][network]["internal"] is True
    assert "ports" not in services["renderer"]


def test_the_seccomp_profile_leaves_user_namespaces_and_takes_what_breaks_out_of_them():
    profile = json.loads((ROOT / "deploy" / "seccomp-renderer.json").read_text())
    refused = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ERRNO" for name in rule["names"]}
    assert not refused & {"clone", "clone3", "unshare", "chroot"}  # what Chromium's sandbox is made of
    assert {"mount", "bpf", "kexec_load", "init_module", "process_vm_writev", "open_by_handle_at", "keyctl"} <= refused


def test_the_set_up_script_is_a_shell_script_that_parses():
    subprocess.run(["sh", "-n", ROOT / "deploy" / "setup.sh"], check=True)
    subprocess.run(["sh", "-n", ROOT / ".ci" / "run"], check=True)
