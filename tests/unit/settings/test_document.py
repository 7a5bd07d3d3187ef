from hypothesis import given
from hypothesis import strategies as st

from isolation.settings import document


def test_every_value_knows_its_line():
    read = document.parse("a: 1\nb:\n  - x: 1\n  - x: 2\n    y: 3\n")
    assert read.data == {"a": 1, "b": [{"x": 1}, {"x": 2, "y": 3}]}
    assert read.line(("b", 1, "y")) == 5
    assert read.line(("b", 1, "missing")) == 4
    assert document.dotted(("b", 1, "y")) == "b[1].y"


def test_a_key_given_twice_is_an_error_with_its_line():
    read = document.parse("a: 1\nb: 2\na: 3\n")
    [problem] = read.problems
    assert (problem.line, problem.path) == (3, "a")
    assert "twice" in problem.message


def test_broken_yaml_names_the_line():
    read = document.parse("a: 1\nb: [1, 2\nc: 3\n")
    [problem] = read.problems
    assert problem.line == 3
    assert "YAML" in problem.message


def test_tags_that_construct_objects_are_refused():
    read = document.parse("a: !!python/object/apply:os.system ['true']\n")
    assert read.problems
    assert read.data["a"] != 0


def test_an_empty_file_and_a_list_are_problems(tmp_path):
    assert document.parse("").problems
    assert document.parse("- a\n").problems
    assert document.read(tmp_path / "none.yaml").problems
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert document.read(binary).problems


def test_alias_bombs_and_deep_nesting_end_in_a_problem():
    assert document.parse("a: " + "[" * 200 + "]" * 200).problems
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 20))
    assert document.parse(bomb).problems


@given(st.text(max_size=200))
def test_any_text_gives_a_document_or_problems(text):
    read = document.parse(text)
    assert isinstance(read.data, dict)
