"""The command line: every problem at once, decisions explained as they are enforced, and clear words where something cannot be done."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from isolation.cli import context
from isolation.store.people import PeopleRepository
from tests.support.product import ALICE, BOB, CAROL, DAVE, ERIN, Product, command, eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Product]:
    """A deployment that is configured and not running: its tenant answers, its store is empty."""
    product = Product(tmp_path)
    product.upstream.port = 9  # nothing is asked of it
    with product.tenant:
        product.write_config()
        product.state_dir.mkdir()
        yield product


def run(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "isolation", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "240", "HOME": str(cwd), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def check(file: Path) -> tuple[int, str]:
    outcome = command(file, "check")
    return outcome.exit_code, outcome.output


# ---------------------------------------------------------------------- check


def test_check_says_that_a_configuration_is_good(offline: Product) -> None:
    *warnings, last = offline.cli("check").splitlines()
    assert last == f"{offline.config}: good. 5 app(s): Data, Lab, Open, Hasty, Gone"
    # One app is open to everybody, and the token of a node stands in the file: worth a word, and no reason to stop.
    assert all(": warning: " in line for line in warnings)
    assert ["this makes the app public" in line for line in warnings] == [True, False]


def test_check_reports_every_problem_at_once_with_file_and_line(offline: Product) -> None:
    document = offline.document()
    document["auth_host"] = "auth host"
    document["nonsense"] = 1
    document["apps"][1]["upstream"] = "ftp://x"
    document["apps"][2]["policies"][0]["decision"] = "alow"
    document["apps"][3]["domain"] = document["apps"][0]["domain"]
    document["isolation"][0]["include"] = [{"user_risk": {"at_least": "extreme"}}]
    document["risk"]["stale_after"] = "soon"
    document["identity_providers"][0]["config"]["client_secret"] = "file:missing.txt"
    text = yaml.safe_dump(document, sort_keys=False)
    offline.config.write_text(text)
    status, output = check(offline.config)
    assert status == 1
    lines = output.splitlines()
    found = {}
    for line in lines[:-1]:
        if ": warning: " in line:
            continue
        place = re.match(rf"{re.escape(str(offline.config))}:(\d+): (.*)", line)
        assert place is not None, line
        found[place.group(2)] = text.splitlines()[int(place.group(1)) - 1].strip()
    for word, source in {
        "auth_host: ": "auth_host: auth host",
        "nonsense: is not a known setting": "nonsense: 1",
        "upstream: write scheme, host and port": "upstream: ftp://x",
        "apps[2].policies[0]": "decision: alow",
        "isolation[0]": "at_least: extreme",
        "risk.stale_after": "stale_after: soon",
    }.items():
        matching = [line for message, line in found.items() if word in message]
        assert matching, (word, output)
        assert source in matching[0], (word, matching)
    assert lines[-1] == f"{len(found)} error(s): this configuration cannot be used"


def test_check_finds_what_only_the_whole_shows(offline: Product) -> None:
    """What needs every part to be well-formed first: names, files, certificates."""
    document = offline.document()
    document["apps"][3]["domain"] = document["apps"][0]["domain"]
    document["apps"][1]["name"] = "Data"
    document["apps"][4]["upstream"], document["apps"][4]["upstream_ca"] = "https://x.example", "garbage.pem"
    document["tls"] = {"certificate": "garbage.pem", "key": "garbage.pem"}
    document["identity_providers"][0]["config"]["client_secret"] = "file:missing.txt"
    (offline.home / "garbage.pem").write_text("this is no certificate")
    offline.config.write_text(yaml.safe_dump(document, sort_keys=False))
    status, output = check(offline.config)
    assert status == 1
    for word in (
        "apps[3].domain: 'data.localhost' is already the domain of apps[0]",
        "apps[1].name: 'Data' is already the name of apps[0]",
        "apps[4].upstream_ca: ",
        "tls: ",
        "client_secret: secret file",
    ):
        assert word in output
    assert len([line for line in output.splitlines() if line.startswith(f"{offline.config}:") and ": warning: " not in line]) == 5


def test_check_warns_and_goes_on(offline: Product) -> None:
    document = offline.document()
    document["identity_providers"][0]["config"]["client_secret"] = "in-clear-text"
    offline.config.write_text(yaml.safe_dump(document, sort_keys=False))
    status, output = check(offline.config)
    assert status == 0
    assert "warning: identity_providers[0].config.client_secret: stands in the file in clear" in output
    assert "in-clear-text" not in output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"apps: [", "is not valid YAML"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"- just\n- a list\n", "must be a mapping of settings"),
        (b"a: 1\na: 2\n", "is given twice"),
    ],
)
def test_check_of_something_else(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "isolation.yaml"
    file.write_bytes(content)
    status, output = check(file)
    assert status == 1
    assert said in output


def test_no_configuration_at_all(tmp_path: Path) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path / "none"), "ISOLATION_CONFIG": str(tmp_path / "none.yaml")}
    outcome = run("check", cwd=tmp_path, **state)
    assert outcome.returncode == 1
    assert "none.yaml: cannot be read: No such file or directory" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_serve_refuses_a_broken_configuration_and_a_port_that_is_taken(offline: Product) -> None:
    with socket.create_server(("127.0.0.1", offline.port)):
        outcome = run("--config", str(offline.config), "serve")
    assert outcome.returncode == 1
    assert f"cannot listen on 127.0.0.1:{offline.port} (listen)" in outcome.stderr
    offline.config.write_text("auth_host: x\n")
    outcome = run("--config", str(offline.config), "serve")
    assert outcome.returncode == 1
    assert f"{offline.config}" in outcome.stderr
    assert "identity_providers: is required and missing" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_worker_is_not_started_by_hand(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "isolation", "worker"],
        cwd=ROOT,
        input="hello\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert outcome.returncode == 1
    assert "is started by `isolation serve`" in outcome.stderr
    assert "Traceback" not in outcome.stderr


# ---------------------------------------------------------------------- decide


def decided(product: Product, person: str, *options: str) -> dict[str, dict[str, Any]]:
    """Return the decision for every app, as JSON."""
    documents = [json.loads(line) for line in product.cli("decide", "--user", person, "--json", *options).splitlines()]
    return {document["app"]: document for document in documents}


def outline(steps: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """What explains a decision, without what goes on changing nothing: ages, and whether groups were read from the token or from Graph."""
    return [(step["rung"], step["text"], re.sub(r" \((token|graph)\)", "", step["value"])) for step in steps]


@pytest.mark.parametrize("person", [ALICE, BOB, CAROL, DAVE])
def test_decide_says_what_the_router_does_and_why(product: Product, person: str) -> None:
    browser = product.browser()
    browser.sign_in(product.url("data"), person)
    eventually(lambda: not decided(product, person)["Data"]["signals_in_doubt"], "signals were never read")
    told = eventually(
        lambda: (
            answer
            if (answer := browser.fetch(product.url("data", "/.isolation/identity")).json())["decision"]
            == {"forward": "forward", "isolate": "isolate", "refuse": "refuse"}[decided(product, person)["Data"]["decision"]]
            else None
        ),
        "the router decides otherwise",
    )
    document = decided(product, person)["Data"]
    assert told["policy"] == (document["policy"] or "")
    entry = json.loads(product.cli("audit", "find", told["reference"]))
    assert entry["outcome"] == document["decision"]
    assert entry["detail"]["rules"] == document["rules"]
    assert outline(entry["detail"]["steps"]) == outline(document["steps"])
    assert entry["detail"].get("controls") == document["controls"]
    assert document["reason"] == entry["detail"].get("reason")


def test_decide_shows_policy_rule_values_and_ages(product: Product) -> None:
    product.browser(BOB)
    eventually(lambda: decided(product, "bob")["Data"]["rules"], "the risk was never read")
    text = product.cli("decide", "--user", "bob", "--app", "data")
    assert "bob@contoso.example at Data (data.localhost): isolated (clipboard none)" in text
    assert "policy “Staff”, rule “High-risk users”" in text
    for word in ("What is known", "Every rule", "risk", "groups", "entra"):
        assert word in text
    assert re.search(r"risk\s.*high.*\b\d+ s\b", text)
    assert "Contractors" in text


def test_decide_by_name_of_the_app_or_its_host(product: Product) -> None:
    assert list(decided(product, ALICE, "--app", "LAB")) == list(decided(product, ALICE, "--app", "lab.localhost")) == ["Lab"]
    assert set(decided(product, ALICE)) == {"Data", "Lab", "Open", "Hasty", "Gone"}


def test_decide_asks_the_directory_about_somebody_new(offline: Product) -> None:
    document = decided(offline, CAROL, "--app", "Data")["Data"]
    # Groups come from the directory, which is asked now; risk was never polled here, and unknown is not "none".
    assert (document["decision"], document["policy"]) == ("isolate", "Contractors")
    assert document["signals_in_doubt"] == ["risk"]


def test_decide_about_nobody(offline: Product) -> None:
    assert "neither the store nor the directory knows" in offline.cli("decide", "--user", "nobody@contoso.example", status=1)
    assert "nobody here is known as 'nobody'" in offline.cli("decide", "--user", "nobody", status=1)
    assert "no app is called 'x'; apps: Data, Lab" in offline.cli("decide", "--user", ALICE, "--app", "x", status=1)
    assert "'300.1.1.1' is no IP address" in offline.cli("decide", "--user", ALICE, "--ip", "300.1.1.1", status=1)
    offline.tenant.fail("users", "status", status=500)
    offline.tenant.fail("token", "status", status=500)
    assert "the directory could not be asked" in offline.cli("decide", "--user", ERIN, status=1)


# ---------------------------------------------------------------------- users


def signed_up(product: Product, email: str, oid: str) -> str:
    """Record somebody in the store as a sign-in does."""
    with product.store() as store:
        record = store.run_sync(
            PeopleRepository(store).upsert_from_sign_in(
                product.tenant.tenant_id, oid, email, email.partition("@")[0].title(), None, None, store.clock.now(), "Entra"
            )
        )
    return record.key


@pytest.fixture
def nora(offline: Product) -> str:
    return signed_up(offline, "nora@contoso.example", "00000000-0000-4000-8000-00000000000a")


def test_tags(offline: Product, nora: str) -> None:
    said = offline.cli("users", "tag", "nora", "--risk", "high", "--for", "2h", "--reason", "phishing report [link]")
    number, reference = re.search(r"\(tag (\d+), reference (\S+)\)", said).groups()  # type: ignore[union-attr]
    assert "nora@contoso.example is tagged high until 20" in said
    assert f"tag {number}: high until" in offline.cli("users", "show", "NORA@contoso.example")
    assert "phishing report [link]" in offline.cli("users", "show", nora)
    entry = json.loads(offline.cli("audit", "find", reference.lower()))
    assert (entry["kind"], entry["outcome"], entry["person"]) == ("tag-added", "high", "nora@contoso.example")
    assert entry["actor"] == context.operator()
    assert "until removed" in offline.cli("users", "tag", "nora", "--risk", "low", "--reason", "watch")
    assert "has no such tag" in offline.cli("users", "untag", "nora", "--tag", "99", status=1)
    assert f"removed tag {number}" in offline.cli("users", "untag", "nora", "--tag", number)
    assert "removed tag" in offline.cli("users", "untag", "nora")
    assert "has no such tag" in offline.cli("users", "untag", "nora", status=1)
    kinds = [entry["kind"] for entry in offline.audit("--user", "nora")]
    assert kinds == ["tag-removed", "tag-removed", "tag-added", "tag-added"]


def test_overrides(offline: Product, nora: str) -> None:
    said = offline.cli("users", "override", "nora", "--risk", "none", "--for", "1d12h", "--reason", "checked by hand")
    assert "nora@contoso.example counts as none until 20" in said
    assert "override 1: none until" in offline.cli("users", "show", "nora")
    assert decided(offline, "nora", "--app", "Data")["Data"]["decision"] == "refuse"  # in no group, but the risk is known
    assert "at most 90 days" in offline.cli(
        "users", "override", "nora", "--risk", "none", "--for", "91d", "--reason", "x", status=1
    )
    assert [entry["kind"] for entry in offline.audit("--user", "nora")] == ["override-added"]
    assert "no such override" in offline.cli("users", "unoverride", "nora", "--override", "999", status=1)
    assert offline.cli("users", "unoverride", "nora").startswith("removed override 1 (none: checked by hand)")
    assert "override 1" not in offline.cli("users", "show", "nora")
    assert {entry["kind"] for entry in offline.audit("--user", "nora")} == {"override-added", "override-removed"}
    assert "no such override" in offline.cli("users", "unoverride", "nora", status=1)


@pytest.mark.parametrize("given", ["2 hours", "soon", "0m", "-5m", "h", "5", "1h30"])
def test_a_duration_that_is_none(offline: Product, nora: str, given: str) -> None:
    said = offline.cli("users", "tag", "nora", "--risk", "high", f"--for={given}", "--reason", "x", status=1)
    assert f"'{given}' is no duration: write 30m, 2h or 1d12h" in said
    assert offline.audit("--user", "nora") == []


def test_tags_that_cannot_be(offline: Product, nora: str) -> None:
    assert "give a reason" in offline.cli("users", "tag", "nora", "--risk", "high", "--reason", "  ", status=1)
    assert "nobody here is known as 'norma'" in offline.cli("users", "tag", "norma", "--risk", "high", "--reason", "x", status=1)
    assert "extreme" in offline.cli("users", "tag", "nora", "--risk", "extreme", "--reason", "x", status=2)
    signed_up(offline, "nora@partner.example", "00000000-0000-4000-8000-00000000000b")
    said = offline.cli("users", "tag", "nora", "--risk", "high", "--reason", "x", status=1)
    assert "'nora' means several people: nora@contoso.example, nora@partner.example" in said


# ---------------------------------------------------------------------- sessions, audit


def test_sessions(product: Product) -> None:
    person = product.newcomer("sam")
    browsers = [product.browser(person) for _ in range(2)]
    names = [browser.fetch(product.url("data", "/.isolation/identity")).json()["session"] for browser in browsers]
    listing = product.cli("sessions", "list", "--user", person)
    assert all(name in listing for name in names)
    assert person in listing
    assert f"ended session {names[0]}" in product.cli("sessions", "revoke", names[0])
    assert "there is no such live session" in product.cli("sessions", "revoke", names[0], status=1)
    assert names[0] not in product.cli("sessions", "list")
    assert f"ended session {names[1]}" in product.cli("sessions", "revoke", "--user", person)
    assert "there is no such live session" in product.cli("sessions", "revoke", "--user", person, status=1)
    for arguments in ([], [names[0], "--user", person]):
        assert "name either a session" in product.cli("sessions", "revoke", *arguments, status=1)
    eventually(lambda: {browser.fetch(product.url("data")).status_code for browser in browsers} == {401})
    entries = product.audit("--user", person, "--kind", "session-ended")
    assert [entry["actor"] for entry in entries] == [context.operator()] * 2


def test_audit(product: Product) -> None:
    person = product.newcomer("aud", group=None)
    browser = product.browser()
    page = browser.sign_in(product.url("data"), person)
    [reference] = set(re.findall(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}\b", page.text))
    for typed in (
        reference,
        reference.lower(),
        reference.replace("-", " "),
        reference.replace("-", "").replace("0", "o").replace("1", "l"),
    ):
        entry = json.loads(product.cli("audit", "find", typed))
        assert (entry["reference"], entry["person"], entry["outcome"]) == (reference, person, "refuse")
    assert entry["detail"]["steps"]
    for wrong in ("0000-0000", "nonsense", ""):
        assert "no audit entry has the reference" in product.cli("audit", "find", wrong, status=1)
    entries = product.audit("--user", person)
    assert {"sign-in", "session-started", "decision"} <= {entry["kind"] for entry in entries}
    assert [entry["kind"] for entry in product.audit("--user", person, "--kind", "sign-in")] == ["sign-in"]
    assert len(product.audit("--limit", "2")) == 2
