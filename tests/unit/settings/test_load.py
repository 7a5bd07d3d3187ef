from pathlib import Path

import pytest

from isolation.errors import ConfigurationError
from isolation.policy.model import Action, OnUnknown
from isolation.settings import load

GOOD = """\
auth_host: auth.corp.example
state_dir: state
identity_providers:
  - name: Entra
    type: azureAD
    config:
      client_id: 3f0e3b3a-0000-4000-8000-000000000001
      client_secret: file:secret.txt
      directory_id: 3F0E3B3A-0000-4000-8000-00000000000A
apps:
  - name: Payroll
    domain: payroll.corp.example
    upstream: http://10.1.2.3:8080
    policies:
      - name: Staff
        decision: allow
        include: [{email_domain: {domain: corp.example}}]
isolation:
  - name: High-risk users
    include: [{user_risk: {at_least: high}}]
risk: {unknown: refuse, stale_after: 15m}
"""


@pytest.fixture
def check(tmp_path: Path):
    (tmp_path / "secret.txt").write_text("s3cret\n")

    def _check(text: str):
        file = tmp_path / "isolation.yaml"
        file.write_text(text)
        return load.load(file)

    return _check


def test_a_good_file_becomes_settings(check):
    loaded = check(GOOD)
    assert loaded.problems == ()
    settings = loaded.settings
    assert settings.auth_origin == "https://auth.corp.example"
    assert settings.providers[0].client_secret == "s3cret"
    assert "s3cret" not in repr(settings)
    assert settings.providers[0].directory_id == "3f0e3b3a-0000-4000-8000-00000000000a"
    [app] = settings.apps
    assert app.policy.policies[0].action is Action.ALLOW
    assert app.policy.on_unknown is OnUnknown.REFUSE
    assert len(app.policy.isolation) == 1
    assert len(app.audience) == 64
    assert settings.risk_stale_after == 900


def test_every_problem_is_reported_at_once_with_its_line(check):
    text = (
        GOOD.replace("auth_host: auth.corp.example", "auth_host: auth corp")
        .replace("decision: allow", "decision: alow")
        .replace("user_risk: {at_least: high}", "user_risk: {at_least: extreme}")
        .replace("stale_after: 15m", "stale_after: soon")
        .replace("state_dir: state", "state_dirr: state")
    )
    loaded = check(text)
    assert loaded.settings is None
    lines = {problem.line for problem in loaded.errors}
    assert {1, 2, 16, 20, 21} <= lines
    report = loaded.report()
    assert "did you mean state_dir?" in report
    assert "apps[0].policies[0]" in report
    assert "isolation[0]" in report
    assert all(line.startswith(loaded.file) for line in report.splitlines())


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("client_secret: file:secret.txt", "client_secret: file:none.txt", "client_secret", "cannot be read"),
        ("client_secret: file:secret.txt", "client_secret: env:NO_SUCH_VARIABLE", "client_secret", "is not set"),
        ("upstream: http://10.1.2.3:8080", "upstream: 10.1.2.3:8080", "upstream", "http"),
        ("upstream: http://10.1.2.3:8080", "upstream: http://10.1.2.3/x", "upstream", "origin"),
        ("domain: payroll.corp.example", "domain: '*.example'", "domain", "two labels"),
        ("domain: payroll.corp.example", "domain: auth.corp.example", "domain", "auth host"),
        ("type: azureAD", "type: okta", "type", "azureAD"),
        ("state_dir: state", "public_scheme: http", "", "localhost"),
        ("state_dir: state", "secret: file:secret.txt", "secret", "32 characters"),
        ("state_dir: state", "trusted_proxies: [10.0.0.1/8]", "trusted_proxies", "CIDR"),
        ("state_dir: state", "listen: '8080'", "listen", "127.0.0.1:8080"),
    ],
)
def test_bad_values_say_what_is_wrong_and_what_to_do(check, old, new, path, words):
    loaded = check(GOOD.replace(old, new))
    assert loaded.settings is None
    assert any(path in problem.path and words in problem.message for problem in loaded.errors), loaded.report()


def test_two_apps_cannot_share_a_name_or_a_host(check):
    app = GOOD[GOOD.index("  - name: Payroll") : GOOD.index("isolation:")]
    loaded = check(GOOD.replace(app, app + app))
    assert {problem.path for problem in loaded.errors} == {"apps[1].name", "apps[1].domain"}


def test_a_secret_in_clear_is_a_warning_not_an_error(check):
    loaded = check(GOOD.replace("file:secret.txt", "plain"))
    assert loaded.settings is not None
    assert [problem.severity for problem in loaded.problems] == ["warning"]


def test_require_raises_with_the_whole_report(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("auth_host: 1\napps: []\n")
    with pytest.raises(ConfigurationError) as caught:
        load.require(file)
    assert "auth_host" in str(caught.value)
    assert "identity_providers" in str(caught.value)
