"""Which addresses may be connected to: pure rules, asked for every socket before it connects.

`ipaddress.is_global` is not the rule: it passes 6to4, NAT64, `::127.0.0.1` and multicast, each of
which can carry a private address. Here IPv6 is public inside 2000::/3 only, less what is listed.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from pipeline_assets.errors import SettingsError

STANDARD_PORTS: Final = frozenset({80, 443})
MAX_SHOWN_CHARS: Final = 200

_SETTING: Final = "PIPELINE_FETCH_ALLOW"
_HOST_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)
_MAX_HOST_CHARS: Final = 253  # RFC 1035; the resolver raises UnicodeError past it
_LEGACY_IPV4: Final = re.compile(r"[0-9a-fx.]+")  # decimal, octal and hex forms of inet_aton
# What almost every URL looks like, read in a tenth of the time: a name in lower case or a dotted
# address, and a path. Other labels with digits in front may be an address in disguise.
_PLAIN_URL: Final = re.compile(
    r"https?://([a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)+"
    r"|(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3})(?::[0-9]+)?/"
)
_USER_PART: Final = re.compile(r"^([^/?#]*//)?[^/?#]*@")

# IANA's special-purpose registries, and one public address that is a cloud's own platform.
_DENIED_V4: Final = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud platform's own service"),
        ("169.254.0.0/16", "link-local, where clouds serve credentials"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_DENIED_V6: Final = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("2001::/32", "Teredo, which carries an IPv4 address"),
        ("2001::/23", "protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4, which carries an IPv4 address"),
        ("3ffe::/16", "withdrawn"),
        ("3fff::/20", "documentation"),
    )
)


def shown(url: str) -> str:
    """`url` for a message: without its user part, on one line, at most 200 characters."""
    text = " ".join(_USER_PART.sub(r"\1", url).split())
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 1]}…"


def canonical_host(host: str) -> str:
    """`host` in ASCII and lower case without a trailing dot; any form of IPv4 in dotted form.

    An internationalised name is one host, however it is written.
    """
    host = (host if host.isascii() else _ascii(host)).lower().rstrip(".")
    if _LEGACY_IPV4.fullmatch(host):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            pass
    return host


def _ascii(host: str) -> str:
    import idna  # noqa: PLC0415 - 10 ms that few hosts need

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        pass
    try:
        return host.encode("idna").decode("ascii")  # of 2003: hearts and underscores, still in use
    except UnicodeError:
        return host


def is_host(host: str) -> bool:
    """Whether `host` is a name that a resolver can be asked for, or an IP address without zone."""
    if len(host) <= _MAX_HOST_CHARS and _HOST_NAME.fullmatch(host):
        return True
    try:
        return "%" not in host and bool(ip_address(host))
    except ValueError:
        return False


def host_of(url: str) -> str:
    """The canonical host of `url`; empty where it has none or is no URL."""
    plain = _PLAIN_URL.match(url)
    if plain is not None:
        return plain[1]
    try:
        return canonical_host(urlsplit(url).hostname or "")
    except ValueError:
        return ""


def not_public(address: str) -> str | None:
    """Why `address` (an IP address as text) is not public unicast, in a few words; else None."""
    try:
        ip = _unwrapped(address)
    except ValueError:
        return "not an IP address"
    if isinstance(ip, IPv4Address):
        return next((what for network, what in _DENIED_V4 if ip in network), None)
    if ip not in _PUBLIC_V6 or ip.scope_id is not None:
        return "outside the public range 2000::/3"
    return next((what for network, what in _DENIED_V6 if ip in network), None)


def _unwrapped(address: str) -> IPv4Address | IPv6Address:
    ip = ip_address(address)
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


@dataclass(frozen=True, slots=True)
class AllowEntry:
    """One thing that may be fetched although it is private: a host or a network, maybe one port."""

    host: str | None
    network: IPv4Network | IPv6Network | None
    port: int | None

    def opens(self, host: str, address: IPv4Address | IPv6Address, port: int) -> bool:
        """Whether this entry opens `port` of `address`, reached under the name `host`."""
        if self.port is not None and port != self.port:
            return False
        return host == self.host if self.network is None else address in self.network


def parse_allow(entry: str) -> AllowEntry:
    """`host`, `host:port`, an address or a network with or without a port, `[v6]` or `[v6]:port`.

    Raises `SettingsError` for anything else.
    """
    host, port = _split_port(entry.strip())
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise SettingsError(_SETTING, entry, "the port is 1 to 65535")
    number = None if port is None else int(port)
    host = canonical_host(host)
    network = _network(host)
    if network is None and not is_host(host):
        raise SettingsError(_SETTING, entry, "a host, a host:port or a network such as 10.0.0.0/8")
    return AllowEntry(None if network else host, network, number)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return None if "%" in text else ip_network(text, strict=False)
    except ValueError:
        return None


def _split_port(entry: str) -> tuple[str, str | None]:
    if entry.startswith("["):
        host, closed, rest = entry[1:].partition("]")
        return host if closed else entry, rest.removeprefix(":") if rest else None
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port
    return entry, None


class AddressRules:
    """What may be connected to: public unicast on ports 80 and 443, and what `allow` names.

    A host in `allow` opens whatever it resolves to, but only under that name: another name that
    points to the same private address stays closed. Raises `SettingsError` for a bad entry.
    """

    def __init__(self, allow: Sequence[str]) -> None:
        self._allow = tuple(parse_allow(entry) for entry in allow)

    def refusal(self, host: str, address: str, port: int) -> str | None:
        """Why a connection to `address` and `port`, under the name `host`, is refused, or None."""
        try:
            ip = _unwrapped(address)
        except ValueError:
            return f"{address!r} is not an IP address"
        name = canonical_host(host)
        if any(entry.opens(name, ip, port) for entry in self._allow):
            return None
        if (reason := not_public(address)) is not None:
            return f"{address} is not a public address ({reason}); {_hint(host, port)}"
        if port not in STANDARD_PORTS:
            return f"port {port} is neither 80 nor 443; {_hint(host, port)}"
        return None


def _hint(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"if it should be fetched, name {name}:{port} in {_SETTING}"


__all__ = [
    "STANDARD_PORTS",
    "AddressRules",
    "AllowEntry",
    "canonical_host",
    "host_of",
    "is_host",
    "not_public",
    "parse_allow",
    "shown",
]
