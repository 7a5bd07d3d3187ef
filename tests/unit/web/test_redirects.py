"""Where people are sent after signing in: a systematic corpus of ways to name another host, and properties."""

from __future__ import annotations

import itertools
import re
from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isolation.web.redirects import MAX_TARGET, safe_target, same_origin_path

ORIGIN = "https://app.corp.example"
HOSTS = (
    "evil.example",
    "evil.example:443",
    "app.corp.example.evil.example",
    "app.corp.example@evil.example",
    "[::ffff:1.2.3.4]",
    "0x7f.1",
)
SLASHES = (
    *(
        "//",
        "///",
        "////",
        "/\\",
        "\\/",
        "\\\\",
        "\\",
        "/\\/",
        "//\\",
        "/\t/",
        "/\n/",
        "/\r/",
        "/\r\n/",
        "\t//",
        " //",
        "/ /",
        "\x00//",
    ),
    *(
        "/\x0b/",
        "/\x7f/",
        "/\x1f/",
        "/\u00a0/",
        "/\u2028/",
        "/\u3000/",
        "/\u200b/",
        "/\ufeff/",
        "/\uff0f",
        "\uff0f\uff0f",
        "/\u2044",
        "/\uff3c",
    ),
    *(
        "/%09/",
        "/%0a/",
        "/%0d/",
        "/%0d%0a/",
        "/%20/",
        "/%00/",
        "/%2f",
        "/%2F/",
        "/%5c",
        "/%5C/",
        "/%c2%a0/",
        "/%e2%80%8b/",
        "/%ef%bc%8f",
    ),
    *(
        "/%252f",
        "/%255c",
        "/%2509/",
        "/%25252f",
        "/%2525252525252f",
        "/.//",
        "/..//",
        "/./\\",
        "/%2e//",
        "/%2e%2e//",
        "/.%2e//",
        "/x/..//",
    ),
    *("/x/../../", "/x/%2e%2e//", "/;//../", "/%ff//", "//%0a/", "/%e3%80%80/", "/%f0%9d%9f%8e/../../"),
)
SCHEMES = (
    "http:",
    "https:",
    "https:/",
    "https://",
    "HTTPS://",
    "javascript:",
    "data:text/html,",
    "vbscript:",
    "file://",
    "ftp://",
    "blob:",
    "ws://",
    "https:\\\\",
)
ODDITIES = (
    *(
        "",
        " ",
        "?",
        "#",
        "?//evil.example",
        "#//evil.example",
        "evil.example",
        "www.evil.example/",
        "@evil.example",
        ":80",
        ".",
        "..",
        "x/y",
    ),
    *(
        "\u202e//elpmaxe.live",
        "/#@evil.example",
        "/a#b",
        "/a b",
        "/a\nb",
        "/a\r\nSet-Cookie: x=y",
        "/a\x00b",
        "/a\\b",
        "/..",
        "/../",
        "/a/..",
        "/a/../b",
    ),
    *(
        "/%2e%2e/a",
        "/a/%2e%2e",
        "/a/.",
        "/a%0ab",
        "/a%00",
        "/\u00e4",
        "/%zz/%2f%2f..",
        "/a%5cb",
        "/a%5c%2e.%5cb",
        "/.isolation/sign-out",
        "/.isolation",
    ),
    *(
        "/.Isolation/complete?code=x",
        "/%2eisolation/sign-in",
        "/%252eisolation/sign-in",
        "/.isolation%2fcomplete",
        "/" + "a" * MAX_TARGET,
        "*",
        "CONNECT",
    ),
)
HOSTILE = sorted(
    {slash + host for slash, host in itertools.product(SLASHES, HOSTS)}
    | {scheme + host for scheme, host in itertools.product(SCHEMES, HOSTS)}
    | {f" {scheme}{host}" for scheme, host in itertools.product(SCHEMES[:4], HOSTS[:2])}
    | {slash + scheme + host for slash, scheme, host in itertools.product(("//", "/\\", "/%09/"), SCHEMES[3:6], HOSTS[:1])}
    | set(ODDITIES)
)
# An app behind a path of its own may begin with what looks like a host: these stay on this host for everybody.
DEEP_LINKS = (
    *(
        "/",
        "/run?month=5",
        "/a/b/c",
        "/a//b",
        "/@user/profile",
        "/~user/",
        "/a;b=c/d",
        "/a:b",
        "/sales/-/query?sql=select%0A*%0Afrom%20%22a%22",
    ),
    *(
        "/lab/tree/My%20Notebook.ipynb",
        "/x?next=//evil.example",
        "/x?next=https://evil.example/%0d%0a",
        "/%C3%A4/%E4%BD%A0",
        "/a%2fb",
        "/a%20/b",
    ),
    *(
        "/?x=..",
        "/?a=b&c=d",
        "/a?b?c",
        "/...",
        "/.well-known/x",
        "/isolation/x",
        "/a.b/.c",
        "/100%25",
        "/javascript:alert(1)",
        "/a=b,c+d!$&'()*[]|{}^`\""[:-1],
    ),
)


def test_the_corpus_is_large() -> None:
    assert len(HOSTILE) > 400


@pytest.mark.parametrize("target", HOSTILE, ids=ascii)
def test_hostile_targets_become_the_front_page(target: str) -> None:
    assert safe_target(target) == "/"
    assert safe_target(target.encode("utf-8", "surrogatepass")) == "/"


@pytest.mark.parametrize("target", DEEP_LINKS)
def test_deep_links_stay_as_they_are(target: str) -> None:
    assert safe_target(target) == target


def whatwg(url: str) -> str:
    """Return what a browser makes of a Location: it strips tabs and line breaks, and reads backslashes as slashes."""
    stripped = re.sub(r"[\t\n\r]", "", url.strip("".join(map(chr, range(0x21)))))
    return stripped.replace("\\", "/")


@given(
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet="/\\.%25 fcC\t\n:@?#evil09aA", max_size=40).map(lambda text: f"/{text}"),
        st.binary(max_size=40),
    )
)
@example("/%2f/evil")
def test_every_reading_of_every_result_stays_on_the_host(target: str | bytes) -> None:
    result = safe_target(target)
    assert result == "/" or result.encode() == (target if isinstance(target, bytes) else target.encode())
    path = result.partition("?")[0]
    for reading in (path, unquote(path), unquote(unquote(path)), quote(path), path.replace("%", "%25")):
        for url in (reading, whatwg(reading)):
            assert urlsplit(urljoin(f"{ORIGIN}/base/", url)).netloc in {"app.corp.example", ""}
            assert not url.startswith("//")
            assert "\\" not in url
    assert result.isprintable()
    assert result.isascii()


@pytest.mark.parametrize(
    ("referer", "expected"),
    [
        (None, "/"),
        (f"{ORIGIN}/page?x=1", "/page?x=1"),
        (f"{ORIGIN}/page#part", "/page"),
        (ORIGIN, "/"),
        (f"{ORIGIN}.evil.example/page", "/"),
        (f"{ORIGIN}@evil.example/page", "/"),
        (f"{ORIGIN}//evil.example", "/"),
        ("https://evil.example/page", "/"),
        ("http://app.corp.example/page", "/"),
    ],
)
def test_only_a_page_of_this_origin_is_returned_to(referer: str | None, expected: str) -> None:
    assert same_origin_path(referer, ORIGIN) == expected
