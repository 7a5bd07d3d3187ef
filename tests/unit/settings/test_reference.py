import re
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import TypeAdapter

from isolation.policy.controls import CONTROL_KEYS
from isolation.settings import document, load, reference
from isolation.settings.schema import Configuration

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_documentation_is_what_the_schema_says():
    assert reference.render() in DOCS.read_text(), "run: python -m isolation.settings.reference"


def test_every_setting_has_a_sentence():
    rows = [line for line in reference.render().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    for row in rows:
        assert row.rstrip(" |").split("|")[3].strip().endswith((".", "?", ")", "`")), row


def test_a_default_that_is_written_down_means_the_default():
    """Who copies it from the table into a file changes nothing."""
    checked = 0
    for name, value, _ in reference._rows(Configuration, ""):
        written = re.fullmatch("`(.+)`", value)
        model = Configuration
        *parents, last = name.replace("[]", "").split(".")
        for parent in parents:
            model = reference._section(model.model_fields[parent].annotation)
        if written:
            field = model.model_fields[last]
            adapter = TypeAdapter(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation)
            assert adapter.validate_python(yaml.safe_load(written[1])) == field.default, name
            checked += 1
    assert checked > 25


def test_every_control_is_described():
    assert tuple(reference.CONTROLS) == CONTROL_KEYS


def test_the_example_in_the_documentation_is_a_good_configuration(tmp_path):
    text = DOCS.read_text()
    example = text.split("```yaml\n", 1)[1].split("```", 1)[0]
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "entra-client-secret").write_text("x" * 40)
    loaded = load.check(document.parse(example, "example.yaml"), base=tmp_path)
    assert loaded.problems == (), loaded.report()
