from pathlib import Path

from isolation.policy.controls import CONTROL_KEYS
from isolation.settings import document, load, reference

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_documentation_is_what_the_schema_says():
    assert reference.render() in DOCS.read_text(), "run: python -m isolation.settings.reference"


def test_every_setting_has_a_sentence():
    rows = [line for line in reference.render().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    for row in rows:
        assert row.rstrip(" |").split("|")[3].strip().endswith((".", "?", ")", "`")), row


def test_every_control_is_described():
    assert tuple(reference.CONTROLS) == CONTROL_KEYS


def test_the_example_in_the_documentation_is_a_good_configuration(tmp_path):
    text = DOCS.read_text()
    example = text.split("```yaml\n", 1)[1].split("```", 1)[0]
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "entra-client-secret").write_text("x" * 40)
    loaded = load.check(document.parse(example, "example.yaml"), base=tmp_path)
    assert loaded.problems == (), loaded.report()
