"""The person a decision looks at. The attacker chooses names and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.identity.principals import MAX_NAME_LENGTH, PersonRecord, build_person, normal_email, normal_name, person_key
from isolation.identity.sessions.model import Session
from isolation.policy.facts import Unknown, UnknownReason

UNKNOWN = Unknown(UnknownReason.NEVER_READ)
SESSION = Session("abc", "abcdef", "t/a", "Entra", 100.0, 1000.0, 60.0, 200.0)
RECORD = PersonRecord("t/a", "t", "a", "alice@contoso.example", "Alice", "Other", 1.0)


def test_the_session_says_when_and_how_somebody_signed_in() -> None:
    person = build_person(RECORD, SESSION, risk=UNKNOWN, groups=UNKNOWN, user_type=UNKNOWN)
    assert (person.key, person.login_method, person.signed_in_at) == ("t/a", "Entra", 100.0)


def test_somebody_elses_session_is_refused() -> None:
    record = PersonRecord("t/b", "t", "b", "bob@contoso.example", "Bob", "Entra", 1.0)
    with pytest.raises(ValueError, match="somebody else"):
        build_person(record, SESSION, risk=UNKNOWN, groups=UNKNOWN, user_type=UNKNOWN)


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("Alice@Contoso.Example", "alice@contoso.example"),
        ("o'hara+x@contoso.example", "o'hara+x@contoso.example"),
        ("bob_partner.example#EXT#@contoso.example", "bob_partner.example#ext#@contoso.example"),
        ("a@b@contoso.example", ""),
        ("@contoso.example", ""),
        ("alice@", ""),
        ("alice@contoso.example\n", ""),
        ("alice @contoso.example", ""),
        ("\u212aim@contoso.example", ""),  # the Kelvin sign is "k" in lower case
        ("alice@cont\u043eso.example", ""),  # a Cyrillic o
        ("alice@contoso.example\x00@evil", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_an_address_is_plain_or_nothing(text: str | None, email: str) -> None:
    assert normal_email(text) == email


@given(st.text() | st.from_regex(r"[ -~]{0,20}@[ -~]{0,20}"))
def test_whatever_comes_out_is_one_plain_address_and_stays_it(text: str) -> None:
    email = normal_email(text)
    assert email == "" or (email.count("@") == 1 and email.isascii() and email.isprintable() and email == email.lower())
    assert normal_email(email) == email


@given(st.text(max_size=1000))
def test_names_cannot_hide_or_turn_text(text: str) -> None:
    name = normal_name(text)
    assert name.isprintable()
    assert len(name) <= MAX_NAME_LENGTH
    assert not set(name) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\n\r\t\x00")


@pytest.mark.parametrize(
    ("tenant", "oid"), [("", "a"), ("t", ""), ("t/x", "a"), ("t", "a/b"), ("t", "\u212a"), ("t", "a b"), ("t", "a\n")]
)
def test_two_people_cannot_share_a_key(tenant: str, oid: str) -> None:
    with pytest.raises(ValueError, match="tenant id"):
        person_key(tenant, oid)


def test_a_key_is_in_lower_case() -> None:
    assert person_key("T", "OID") == "t/oid"
