"""The address rules, without any network: what is public, what a setting opens, what is shown."""

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets.errors import SettingsError
from pipeline_assets.fetch.addresses import (
    AddressRules,
    canonical_host,
    host_of,
    is_host,
    not_public,
    parse_allow,
    shown,
)

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450::1",
]

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - refused, not bound
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",  # a cloud's metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # a cloud's platform service
    "169.254.169.254",  # most clouds' metadata
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3ffe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # a cloud's metadata
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "localhost",
    "",
    "1.2.3",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_unicast_is_open_on_the_two_ports_only(address: str) -> None:
    """With nothing allowed."""
    rules = AddressRules(())
    assert not_public(address) is None
    assert rules.refusal("shop.example", address, 80) is None
    assert rules.refusal("shop.example", address, 443) is None
    for port in (0, 22, 81, 8080, 65535):
        assert "neither 80 nor 443" in (rules.refusal("shop.example", address, port) or "")


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_everything_else_is_refused(address: str) -> None:
    """Also where `ipaddress` calls it global."""
    assert not_public(address) is not None
    assert AddressRules(()).refusal("shop.example", address, 80) is not None


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_as_public_as_the_one_inside(address: ipaddress.IPv4Address) -> None:
    """And never more public than the standard library thinks."""
    assert (not_public(str(address)) is None) == (not_public(f"::ffff:{address}") is None)
    assert not_public(str(address)) is not None or address.is_global
    carried = int(address)
    assert not_public(str(ipaddress.IPv6Address((0x2002 << 112) | (carried << 80)))) is not None
    assert not_public(str(ipaddress.IPv6Address((0x64FF9B << 96) | carried))) is not None


@pytest.mark.parametrize(
    ("entry", "opened", "closed"),
    [
        (
            "127.0.0.1:8765",
            [("127.0.0.1", "127.0.0.1", 8765), ("localhost", "::ffff:127.0.0.1", 8765)],
            [("127.0.0.1", "127.0.0.1", 80), ("x", "127.0.0.2", 8765), ("x", "::1", 8765)],
        ),
        (
            "127.0.0.1",
            [("x", "127.0.0.1", 80), ("x", "127.0.0.1", 6379)],
            [("x", "127.0.0.2", 80), ("127.0.0.1", "10.0.0.1", 80)],
        ),
        (
            "10.0.0.0/8",
            [("x", "10.9.8.7", 80), ("x", "10.0.0.0", 9200)],
            [("x", "11.0.0.0", 9200), ("x", "172.16.0.1", 80)],
        ),
        ("10.0.0.0/8:8080", [("x", "10.9.8.7", 8080)], [("x", "10.9.8.7", 80)]),
        (
            "Shop.Internal",
            [("shop.internal", "10.0.0.1", 9), ("SHOP.internal.", "127.0.0.1", 80)],
            [("evil.example", "10.0.0.1", 80), ("a.shop.internal", "10.0.0.1", 80)],
        ),
        (
            "shop.internal:8080",
            [("shop.internal", "10.0.0.1", 8080)],
            [("shop.internal", "10.0.0.1", 80), ("evil.example", "10.0.0.1", 8080)],
        ),
        ("shop.example:8080", [("shop.example", "8.8.8.8", 8080)], [("x", "8.8.8.8", 8080)]),
        ("::1", [("::1", "::1", 8080)], [("::1", "::2", 80), ("x", "127.0.0.1", 80)]),
        ("[::1]", [("::1", "::1", 8080)], [("::1", "::2", 80)]),
        ("[::1]:8080", [("::1", "::1", 8080)], [("::1", "::1", 80)]),
        ("fd00::/8", [("x", "fd12::1", 80)], [("x", "fe80::1", 80)]),
        ("0x7f.1:80", [("127.0.0.1", "127.0.0.1", 80)], [("x", "127.0.0.1", 81)]),
    ],
)
def test_an_entry_opens_exactly_what_it_names(
    entry: str, opened: list[tuple[str, str, int]], closed: list[tuple[str, str, int]]
) -> None:
    """(name, address, port) that are open and that stay closed."""
    rules = AddressRules([entry])
    assert [rules.refusal(*target) for target in opened] == [None] * len(opened)
    assert all(rules.refusal(*target) is not None for target in closed)


@pytest.mark.parametrize(
    "entry",
    [
        *("", ":80", "host:", "host:0", "host:65536", "host:http", "a b", "http://host", "*"),
        *("10.0.0.0/33", "[::1", "[::1]80x", "[fd00::]/8", "host/path", "x" * 64, "fe80::1%eth0"),
    ],
)
def test_a_bad_entry_names_the_setting_and_the_value(entry: str) -> None:
    """The start is refused, not the fetch."""
    with pytest.raises(SettingsError) as caught:
        parse_allow(entry)
    assert caught.value.field == "PIPELINE_FETCH_ALLOW"
    assert caught.value.value == entry


def test_a_refusal_says_how_to_open() -> None:
    """In the form that the setting takes."""
    refusal = AddressRules(()).refusal("shop.internal", "10.0.0.1", 8080)
    assert refusal is not None
    assert "10.0.0.1 is not a public address (private)" in refusal
    assert "name shop.internal:8080 in PIPELINE_FETCH_ALLOW" in refusal
    v6 = AddressRules(()).refusal("::1", "::1", 80) or ""
    assert "name [::1]:80 in" in v6
    assert parse_allow("[::1]:80").port == 80


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("EXAMPLE.com.", "example.com"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0x7F.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0", "0.0.0.0"),  # noqa: S104 - refused, not bound
        ("fade.cafe", "fade.cafe"),
        ("256.1.1.1", "256.1.1.1"),
        ("::1", "::1"),
    ],
)
def test_hosts_become_what_they_are(host: str, canonical: str) -> None:
    """As a resolver would read them."""
    assert canonical_host(host) == canonical


@pytest.mark.parametrize(
    "host", ["bücher.example", "BÜCHER.example.", "bu\u0308cher。example", "xn--bcher-kva.example"]
)
def test_an_internationalised_name_is_one_host(host: str) -> None:
    """For rates, breakers and what is allowed, however it is written."""
    assert canonical_host(host) == host_of(f"http://{host}/a?b") == "xn--bcher-kva.example"
    assert is_host(host_of(f"http://{host}/"))
    rules = AddressRules([host])
    assert rules.refusal("xn--bcher-kva.example", "10.0.0.1", 80) is None
    assert rules.refusal("bücher.example", "10.0.0.1", 80) is None


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("i❤.example", "xn--i-7iq.example"),
        ("I❤\ufe0f.EXAMPLE", "xn--i-7iq.example"),
        ("foo_bär.example", "xn--foo_br-fua.example"),
        ("straße.example", "xn--strae-oqa.example"),
    ],
)
def test_names_of_the_older_standard_are_names(host: str, name: str) -> None:
    """Symbols and underscores, which the newer one refuses; what both take is the newer's."""
    assert canonical_host(host) == canonical_host(name) == name
    assert is_host(name)


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("example.com", True),
        ("xn--bcher-kva.example", True),
        ("under_score.example", True),
        ("::1", True),
        ("x" * 63, True),
        ("x" * 64, False),
        (".".join(["x" * 63] * 4), False),
        ("", False),
        ("a..b", False),
        ("fe80::1%25eth0", False),
        ("127.0.0.1%00.example", False),
        ("ho st", False),
        ("a\0b", False),
        ("ä.example", False),
    ],
)
def test_what_is_a_host(host: str, good: bool) -> None:
    """Before any resolver is asked."""
    assert is_host(host) is good


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://host/a?b=c", "http://host/a?b=c"),
        ("http://me:secret@host/", "http://host/"),
        ("http://me:sec@ret@host/x@y", "http://host/x@y"),
        ("http://me:se/cret", "http://me:se/cret"),
        ("//me:secret@host", "//host"),
        ("a\r\nb", "a b"),
    ],
)
def test_a_url_is_shown_without_its_user(url: str, text: str) -> None:
    """On one line."""
    assert shown(url) == text


def test_a_long_url_is_cut() -> None:
    """At 200 characters, visibly."""
    text = shown("http://host/" + "x" * 500)
    assert len(text) == 200
    assert text.endswith("…")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_a_host_or_none(text: str) -> None:
    """Never an exception."""
    assert isinstance(host_of(f"http://{text}"), str)
    assert host_of("http://[::1") == ""


@given(
    st.from_regex(
        r"https?://([a-z0-9.-]{1,12}@)?[a-z0-9x.-]{1,20}(:[0-9]{1,5})?[/@?#]", fullmatch=True
    )
)
@example("http://0177.0.0.1/")
@example("http://127.0.0.1:80@shop.example/")
@example("http://shop.example:80/@127.0.0.1/")
@example("http://face.cafe/")
@example("http://999.1.1.1/")
@example("http://0x7f.1/")
def test_the_quick_way_to_a_host_is_the_same_way(url: str) -> None:
    """What looks plain is what it looks like."""
    try:
        slowly = canonical_host(urlsplit(url).hostname or "")
    except ValueError:
        slowly = ""
    assert host_of(url) == slowly
