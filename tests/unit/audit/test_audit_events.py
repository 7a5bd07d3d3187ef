"""The audit log names no secret, whoever wrote the text."""

from __future__ import annotations

import inspect
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.audit import events
from isolation.audit.events import _DETAIL, MAX_TEXT, AuditEvent, Kind, new_reference, normal_reference, scrub

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


def every_constructor() -> dict[str, AuditEvent]:
    made = {}
    for name, function in inspect.getmembers(events, inspect.isfunction):
        signature = inspect.signature(function)
        if name.startswith("_") or signature.return_annotation != "AuditEvent":
            continue
        values: dict[str, object] = {}
        for parameter in signature.parameters.values():
            match parameter.annotation:
                case "float" | "float | None":
                    values[parameter.name] = 1.0
                case "int":
                    values[parameter.name] = 7
                case "str":
                    values[parameter.name] = f"the {parameter.name}"
                case "Sequence[str]":
                    values[parameter.name] = ["one"]
                case _:
                    values[parameter.name] = {}
        made[name] = function(**values)
    return made


def test_there_is_one_constructor_for_each_kind() -> None:
    kinds = [event.kind for event in every_constructor().values()]
    assert sorted(kinds) == sorted(Kind)
    assert _DETAIL.keys() == set(Kind)


@pytest.mark.parametrize("name", every_constructor())
def test_every_event_is_json_within_its_allow_list(name: str) -> None:
    event = every_constructor()[name]
    assert event.detail.keys() <= _DETAIL[event.kind]
    assert json.loads(json.dumps(event.detail)) == event.detail
    assert normal_reference(event.ref) == event.ref
    assert event.outcome


def test_no_allow_list_has_a_place_for_a_secret() -> None:
    fields = set().union(*_DETAIL.values())
    assert not fields & {"token", "cookie", "secret", "password", "query", "url", "body", "header", "headers", "authorization"}


def test_a_field_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(ValueError, match="does not carry cookie"):
        events.decision(at=1, session="", person="", email="", app="", outcome="forward", detail={"policy": "x", "cookie": "c"})


def test_a_value_that_is_not_plain_is_refused() -> None:
    with pytest.raises(ValueError, match="plain values"):
        events.decision(at=1, session="", person="", email="", app="", outcome="forward", detail={"policy": object()})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://data.localhost/run?code=abc&state=x then", "https://data.localhost/run then"),
        ("/run?month=5", "/run"),
        ("GET run?token=abc", "GET run"),
        ("https://h/#access_token=abc", "https://h/"),
        (f"got {JWT} back", "got [removed] back"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer [removed]"),
        ("Proxy-Authorization: basic dXNlcjpwYXNz", "Proxy-Authorization: basic [removed]"),
        ("a\x00b\x1b[31mc\nd\u202ee", "a b [31mc d e"),
        ("is this so? yes", "is this so? yes"),
        ("x" * 600, "x" * 499 + "…"),
    ],
)
def test_text_is_scrubbed(text: str, kept: str) -> None:
    assert scrub(text) == kept


@given(st.text(max_size=3000))
def test_scrubbed_text_is_short_and_printable(text: str) -> None:
    plain = scrub(text)
    assert len(plain) <= MAX_TEXT
    assert plain.isprintable()


@given(
    st.text(alphabet="abc/:.?#&= ", max_size=60), st.sampled_from(["?code=SECRET", "#access_token=SECRET", "?a=b&token=SECRET"])
)
def test_no_query_survives_wherever_it_stands(around: str, query: str) -> None:
    assert "SECRET" not in scrub(f"{around}/path{query} {around}")
    assert "SECRET" not in scrub(f"https://host{query}")


def test_secrets_do_not_get_in_by_any_field_of_a_detail() -> None:
    nested: object = JWT
    for _ in range(10):
        nested = {JWT: [nested, JWT]}
    detail = {
        "steps": [{"text": JWT, "value": {"deep": JWT}}],
        "policy": JWT,
        "rules": (JWT,),
        "signals": {JWT},
        "controls": nested,
    }
    event = events.decision(at=1, session="", person=JWT, email=JWT, app=JWT, outcome=JWT, detail=detail)
    assert JWT not in repr(event)
    assert json.dumps(event.detail)


def test_for_ever_is_written_as_nothing() -> None:
    event = events.tag_added(at=1, person="t/a", actor="erin", tag=1, level="high", reason="r", until=float("inf"))
    assert event.detail["until"] is None
    assert (
        events.isolation_ended(at=1, person="", session="", lease="", node="", why="", seconds=float("nan")).detail["seconds"]
        is None
    )


def test_references_differ_and_can_be_read_aloud() -> None:
    made = {new_reference() for _ in range(500)}
    assert len(made) == 500
    assert all(len(ref) == 9 and ref[4] == "-" for ref in made)
    assert not set("".join(made)) & set("ILOU")


@pytest.mark.parametrize("typed", ["7KQ4-M2XD", "7kq4m2xd", " 7KQ4 M2XD ", "7-K-Q-4-M-2-X-D"])
def test_a_reference_is_read_however_it_is_typed(typed: str) -> None:
    assert normal_reference(typed) == "7KQ4-M2XD"
    assert normal_reference("OIL1-0000") == "0111-0000"


@given(st.text())
def test_what_is_no_reference_is_none(text: str) -> None:
    found = normal_reference(text)
    assert found is None or (len(found) == 9 and normal_reference(found) == found)
