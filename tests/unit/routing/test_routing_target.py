"""One parse of where a request wants to go, against the published ways of having two."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isolation.errors import BadRequestError
from isolation.routing.model import Target
from isolation.routing.target import MAX_TARGET_BYTES, parse_absolute, parse_authority, parse_target

HOST = [b"app.example.com"]


def parse(raw: bytes) -> Target:
    return parse_target(raw, HOST, "GET")


@pytest.mark.parametrize(
    "raw",
    [
        b"/public/../admin",
        b"/public/%2e%2e/admin",
        b"/public/.%2e/admin",
        b"/public/%2E./admin",
        b"/public%2f..%2fadmin",
        b"/public%2F%2e%2e%2Fadmin",
        b"/public/..%2fadmin",
        b"/public/..%5cadmin",
        b"/public/..%5Cadmin",
        b"/public\\..\\admin",
        b"/public/..;/admin",
        b"/public/..;x=1/admin",
        b"/public/%2e%2e;/admin",
        b"/public/..%3b/admin",
        b"/public/..%20/admin",
        b"/admin/.;/",
        b"/./admin",
        b"/a/.",
        b"/a/%20..%20%20;x",
        b"/;/..;/",
        b"/a/..",
        b"/..",
        b"/.",
        b"/a/%2e",
        b"/a/%2e%2e",
        b"//..//",
        b"/eng/exec/../x",
        b"/admin%00.png",
        b"/admin%0d%0aX-Forwarded-User:%20root",
        b"/a%0a",
        b"/a%09b",
        b"/a%1fb",
        b"/a%7fb",
        b"/a%",
        b"/a%2",
        b"/a%zz",
        b"/a%u002e",
        b"/a%+2f",
        b"/%c0%ae%c0%ae/admin",
        b"/%e0%80%ae%e0%80%ae/admin",
        b"/%f0%80%80%ae/admin",
        b"/public%c0%afadmin",
        b"/foo/secret#/bar",
        b"/a?x#y",
        b"/a b",
        b"/a?b c",
        b"/a\tb",
        b"/a\x00",
        b"/a\r\nX: y",
        b"/a?x\x0b",
        b"/caf\xc3\xa9",
        b"/a?q=\xff",
        b"/a\x7f",
        b"",
        b"admin",
        b"\\admin",
        b"*",
        b"?x",
        b"http://internal/admin",
        b"http:http://internal/admin",
        b"HTTP://app.example.com/",
        b"https://app.example.com/",
        b"app.example.com:443",
        b"/" + b"a" * MAX_TARGET_BYTES,
        b"/?" + b"a" * MAX_TARGET_BYTES,
    ],
)
def test_ambiguous_targets_are_refused(raw: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse(raw)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/%252e%252e/admin", "/%2e%2e/admin"),
        (b"/%25252e", "/%252e"),
        (b"/foo/secret%23/bar", "/foo/secret#/bar"),
        (b"/a%3fb", "/a?b"),
        (b"/%61dmin", "/admin"),
        (b"/a%2fb", "/a/b"),
        (b"/api/v4/projects/group%2Fproject", "/api/v4/projects/group/project"),
        (b"/lab/tree/My%20Notebook.ipynb", "/lab/tree/My Notebook.ipynb"),
        (b"/api/contents/a%20b/%E2%82%AC.ipynb", "/api/contents/a b/€.ipynb"),
        (b"//evil.com/x", "//evil.com/x"),
        (b"/a//b/", "/a//b/"),
        (b"/api../admin", "/api../admin"),
        (b"/...", "/..."),
        (b"/.well-known/x", "/.well-known/x"),
        (b"/%2ehidden", "/.hidden"),
        (b"/file..txt", "/file..txt"),
        (b"/a;v=1/b", "/a;v=1/b"),
        (b"/a;../b", "/a;../b"),
        (b'/a|b[c]{d}^`"<>', '/a|b[c]{d}^`"<>'),
        (b"/~user/@scope/a+b,c'(d)*!$&=:", "/~user/@scope/a+b,c'(d)*!$&=:"),
        (b"/ADMIN/", "/ADMIN/"),
        (b"/%E9t%E9", "/\\xe9t\\xe9"),
        (b"/%ff", "/\\xff"),
        (b"/" + b"a" * (MAX_TARGET_BYTES - 1), "/" + "a" * (MAX_TARGET_BYTES - 1)),
    ],
)
def test_what_real_apps_use_is_decoded_once_and_kept_byte_for_byte(raw: bytes, path: str) -> None:
    target = parse(raw)
    assert (target.path, target.raw_path, target.raw, target.query, target.has_query) == (path, raw, raw, b"", False)


@pytest.mark.parametrize(
    "raw",
    [
        b"/a?",
        b"/a??",
        b"/a?x=1?y",
        b"/api/private/x?path=/status/../..",
        b"/db?sql=select+*%0D%0Afrom+t%00&_hide=%5c\\d",
        b"/a?q=100%",
        b"/a?q=%zz&r=%ff%c0%ae",
    ],
)
def test_a_query_is_opaque(raw: bytes) -> None:
    target = parse(raw)
    path, _, query = raw.partition(b"?")
    assert (target.raw_path, target.query, target.has_query, target.raw) == (path, query, True, raw)
    assert "?" not in target.path


BYTES = st.sampled_from(
    [b"/", b".", b"..", b"%2e", b"%2E", b"%2f", b"%25", b"2e", b";", b"%20", b"%5c", b"\\", b"?", b"a", b"%c0%ae", b"%", b"%00"]
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(BYTES | st.binary(max_size=3), max_size=12).map(lambda parts: b"/" + b"".join(parts)))
@example(b"/%2e%2e")
def test_whatever_is_accepted_has_one_meaning(raw: bytes) -> None:
    try:
        target = parse(raw)
    except BadRequestError:
        return
    assert target.raw == raw
    decoded = re.sub(rb"%(..)", lambda match: bytes.fromhex(match[1].decode()), target.raw_path)
    assert decoded.decode("utf-8", "backslashreplace") == target.path
    for segment in re.split(rb"[/\\]", decoded):
        assert segment.partition(b";")[0].strip() not in {b".", b".."}
    assert not re.search(rb"[\x00-\x1f\x7f\\]", decoded)
    # A backslash in the path stands for nothing but a byte that is not UTF-8.
    assert ("\\" in target.path) == (decoded != decoded.decode("utf-8", "ignore").encode())
    # Nothing downstream that resolves dot segments can end up elsewhere.
    assert "/../" not in f"{target.path}/"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.lists(st.binary(max_size=30), max_size=3), st.text(max_size=10))
def test_any_bytes_are_parsed_or_refused(raw: bytes, hosts: list[bytes], method: str) -> None:
    for read in (parse_target, parse_absolute):
        try:
            target = read(raw, hosts, method)
        except BadRequestError:
            continue
        assert target.host == target.host.lower()


@pytest.mark.parametrize(
    ("header", "host", "port"),
    [
        (b"app.example.com", "app.example.com", None),
        (b"APP.EXAMPLE.COM", "app.example.com", None),
        (b"app.example.com.", "app.example.com", None),
        (b"APP.example.com.:8443", "app.example.com", 8443),
        (b"app.example.com:443", "app.example.com", 443),
        (b"localhost:1", "localhost", 1),
        (b"127.0.0.1:65535", "127.0.0.1", 65535),
        (b"[::1]:80", "::1", 80),
        (b"[2001:DB8:0::1]", "2001:db8::1", None),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example", None),
        (b"a" * 63 + b".x", "a" * 63 + ".x", None),
    ],
)
def test_hosts(header: bytes, host: str, port: int | None) -> None:
    target = parse_target(b"/", [header], "GET")
    assert (target.host, target.port) == (host, port)
    assert parse_authority(header) == (host, port)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b".",
        b"..",
        b"app@evil.com",
        b"user:pass@app.example.com",
        b"app.example.com/admin?",
        b"app.example.com?x",
        b"app.example.com#x",
        b"app.example.com..",
        b".app.example.com",
        b"app..example.com",
        b"app.example.com:",
        b"app.example.com:0",
        b"app.example.com:65536",
        b"app.example.com:000443",
        b"app.example.com:+80",
        b"app.example.com:80:80",
        b"app.example.com,evil.com",
        b"app.example.com evil.com",
        b" app.example.com",
        b"app.example.com\t",
        b"app.example.com\x00",
        b"app.example.com%00",
        b"app%2eexample.com",
        b"app_example.com",
        b"-app.example.com",
        b"app-.example.com",
        b"a" * 64 + b".com",
        b"a." * 127 + b"aa",
        b"b\xc3\xbccher.example",
        b"\xef\xbd\x81pp.example.com",
        b"[::1",
        b"::1",
        b"[::1]x",
        b"[::g]",
        b"[fe80::1%25eth0]",
        b"[v1.x]",
        b"[127.0.0.1]",
        b"*.example.com",
        b"a\\b.com",
    ],
)
def test_hosts_that_are_not_plain_are_refused(header: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse_target(b"/", [header], "GET")


@pytest.mark.parametrize("hosts", [[], [b"app.example.com", b"app.example.com"], [b"app.example.com", b"evil.com"]])
def test_there_is_exactly_one_host(hosts: list[bytes]) -> None:
    with pytest.raises(BadRequestError):
        parse_target(b"/", hosts, "GET")


@pytest.mark.parametrize("method", ["CONNECT", "connect", "", "GET POST", "GET\r\n", "GÉT", "X" * 33])
def test_methods_that_have_no_path_or_are_none_are_refused(method: str) -> None:
    with pytest.raises(BadRequestError):
        parse_target(b"/", HOST, method)


def test_messages_repeat_nothing_of_the_request() -> None:
    for raw in (b"/secret%00", b"/secret/../x", b"/secret%zz", b"/secret\x01", b"secret"):
        with pytest.raises(BadRequestError) as caught:
            parse(raw)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "host", "raw_path", "query", "port"),
    [
        (b"http://app.example.com/a?b", b"app.example.com", b"/a", b"b", None),
        (b"HTTP://APP.example.com./", b"app.example.com:80", b"/", b"", None),
        (b"http://app.example.com:80/", b"app.example.com", b"/", b"", 80),
        (b"http://app.example.com:8080", b"app.example.com:8080", b"/", b"", 8080),
        (b"http://app.example.com?x=/", b"app.example.com", b"/", b"x=/", None),
        (b"http://[::1]:81/x", b"[::1]:81", b"/x", b"", 81),
    ],
)
def test_absolute_form_is_for_the_gateway(raw: bytes, host: bytes, raw_path: bytes, query: bytes, port: int | None) -> None:
    target = parse_absolute(raw, [host], "GET")
    assert (target.raw_path, target.query, target.port) == (raw_path, query, port)


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        (b"http://internal/admin", b"app.example.com"),
        (b"http://app.example.com:81/", b"app.example.com"),
        (b"http://app.example.com/", b"app.example.com:8080"),
        (b"http://app.example.com@evil.com/", b"evil.com"),
        (b"http://evil.com\\@app.example.com/", b"app.example.com"),
        (b"http://app.example.com#@evil.com/", b"evil.com"),
        (b"http:app.example.com/", b"app.example.com"),
        (b"http:///app.example.com/", b"app.example.com"),
        (b"https://app.example.com/", b"app.example.com"),
        (b"ftp://app.example.com/", b"app.example.com"),
        (b"http://app.example.com/../x", b"app.example.com"),
        (b"/x", b"app.example.com"),
    ],
)
def test_absolute_form_names_the_host_of_the_header(raw: bytes, host: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse_absolute(raw, [host], "GET")
