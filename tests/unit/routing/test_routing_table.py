"""From host to app: exact, then one label of wildcard, and nothing that only looks alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.errors import ConfigurationError
from isolation.routing.table import RouteTable
from isolation.routing.target import parse_target
from isolation.testing.builders import app

PAYROLL = app("Payroll", "payroll.example.com")
ANY = app("Any", "*.example.com")
DEEP = app("Deep", "*.eu.example.com")
TABLE = RouteTable([ANY, PAYROLL, DEEP])


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("payroll.example.com", PAYROLL),
        ("other.example.com", ANY),
        ("eu.example.com", ANY),
        ("x.eu.example.com", DEEP),
        ("example.com", None),
        ("evil-example.com", None),
        ("evilexample.com", None),
        ("x.evil-example.com", None),
        ("a.b.example.com", None),
        ("a.payroll.example.com", None),
        ("payroll.example.com.evil.tld", None),
        (".example.com", None),
        ("*.example.com.evil.tld", None),
        ("com", None),
        ("", None),
        ("::1", None),
        ("xn--xample-2of.com", None),
    ],
)
def test_find(host: str, found: object) -> None:
    assert TABLE.find(host) is found


@pytest.mark.parametrize("apps", [1, 150])
@pytest.mark.parametrize("header", [b"APP.EXAMPLE.COM", b"app.example.com.", b"app.example.com:443", b"App.Example.Com.:8443"])
def test_every_spelling_finds_the_same_app_however_many_there_are(apps: int, header: bytes) -> None:
    wanted = app("Wanted", "app.example.com")
    table = RouteTable([wanted, *(app(f"App {number}", f"app{number}.example.com") for number in range(apps - 1))])
    assert table.find(parse_target(b"/", [header], "GET").host) is wanted
    assert len(table.apps) == apps


def test_domains_are_taken_once_and_all_problems_are_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        RouteTable(
            [
                PAYROLL,
                app("Again", "PAYROLL.example.com"),
                ANY,
                app("Twice", "*.example.com"),
                app("Odd", "*.*.example.com"),
                app("Url", "http://x"),
            ]
        )
    message = str(caught.value)
    for name in ('"Again"', '"Twice"', '"Odd"', '"Url"'):
        assert name in message
    assert len(message.splitlines()) == 4


def test_a_domain_is_found_in_its_normal_spelling() -> None:
    table = RouteTable([app("Books", "Bücher.example")])
    assert table.find("xn--bcher-kva.example") is table.apps[0]


@given(st.text(max_size=40))
def test_find_is_total_and_a_wildcard_covers_exactly_one_label(host: str) -> None:
    found = TABLE.find(host)
    if found is ANY:
        label, _, rest = host.partition(".")
        assert label
        assert rest == "example.com"
