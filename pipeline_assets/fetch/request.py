"""One request over aiohttp, with every connection checked on its socket; failures as `RowError`.

aiohttp costs 0.3 s to import, so this module is imported when the first request is made.
"""

import errno
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from http.cookies import CookieError
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pipeline_assets.errors import (
    Blocked,
    InvalidInput,
    Network,
    RowError,
    Timeout,
    TooLarge,
    from_http_status,
)
from pipeline_assets.fetch.addresses import AddressRules, canonical_host, is_host, shown
from pipeline_assets.fetch.inflating import ACCEPTED, inflaters, undone
from pipeline_assets.fetch.retry_after import parse_retry_after
from pipeline_assets.fetch.robots_tag import OUR_NAME, opt_out
from pipeline_assets.store.bodies import Body, Collected
from pipeline_assets.store.validators import Validators

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

Resolve = Callable[[str], Sequence[str]]

USER_AGENT: Final = f"{OUR_NAME}/{version('pipeline-assets')}"
MAX_REDIRECTS: Final = 5
MAX_HEADER_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 1000
"""Shops send 9 KB in one header, and 200 of them."""
BAD_CERTIFICATE_WAIT: Final = timedelta(days=1)
"""Somebody has to renew it first."""
CONNECT_SHARE: Final = 0.25
SILENCE_SHARE: Final = 0.5
"""Of a resource's deadline: what connecting may take, and how long a server may send nothing."""
_AUTHORITY: Final = re.compile(r"[^/?#\\]*")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)?")
_NOT_ASCII: Final = re.compile(r"[^!-~]+")
_RANGE: Final = re.compile(r"bytes 0-(?P<last>[0-9]+)/(?P<all>[0-9]+)")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = (
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientConnectionResetError,
    aiohttp.ClientOSError,
)

# The name under which the running task connects: a socket knows only its address, and an allowed
# host name must not open its address for other names.
_host: ContextVar[str] = ContextVar("_host", default="")


@dataclass(slots=True)
class _Way:
    """How a request gets there: by a connection `opened` for it, or by one that was kept."""

    opened: bool = False


_way: ContextVar[_Way] = ContextVar("_way")


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer of 200 to 299 with a body. `url` is the final one, without user part.

    `body` is None where the server said that what we know of it stands (304).
    """

    url: str
    status: int
    content_type: str | None
    etag: str | None
    last_modified: str | None
    body: Body | None


class _Refused(OSError):
    """Raised in place of a socket; an `OSError`, so that a host's other addresses are tried."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EACCES, reason)


class Courtesy(Protocol):
    """What hosts are owed while one resource is fetched."""

    async def may_ask(self, host: str) -> None:
        """Wait until a host that a redirect leads to may be asked.

        Raises `RowError` where that is not waited for.
        """
        ...

    async def leave_alone(self, host: str, wait: timedelta, why: str) -> None:
        """A host asked for it, by Retry-After."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRules:
    """What requests keep to.

    At most `per_host` connections to one host are open at a time; `timeout_s` is a resource's
    deadline, of which connecting and silence have their share; `max_bytes` bounds a body; `contact`
    says where we can be found; `resolve` takes a name to its addresses, the system's resolver where
    it is None.
    """

    addresses: AddressRules
    per_host: int
    timeout_s: float
    max_bytes: int
    contact: str = ""
    honour_opt_out: bool = True
    resolve: Resolve | None = None


class Requests:
    """A session that connects only to what its rules allow. Make it inside the running loop."""

    def __init__(self, rules: RequestRules) -> None:
        self._rules = rules
        connector = aiohttp.TCPConnector(
            limit=0,  # the fetcher bounds what is in flight, before a resource's deadline starts
            limit_per_host=rules.per_host,
            socket_factory=partial(_checked_socket, rules.addresses),
            resolver=None if rules.resolve is None else _Resolver(rules.resolve),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": user_agent(rules.contact), "Accept-Encoding": ACCEPTED},
            auto_decompress=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            timeout=aiohttp.ClientTimeout(
                total=None,  # the fetcher's deadline, which also stands still
                sock_connect=rules.timeout_s * CONNECT_SHARE,
                sock_read=rules.timeout_s * SILENCE_SHARE,
            ),
            trust_env=False,
            middlewares=(self._errors_of_connections,),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def get(self, url: str, known: Validators | None, courtesy: Courtesy) -> Response:
        """Fetch `url`, following at most five redirects; each hop goes through the same rules.

        With `known`, the server is asked only for what has changed since. `courtesy` is asked
        before each redirect is followed. Raises `RowError`; has no deadline of its
        own. A body over the limit, as declared or after decompression, is `TooLarge` and is not
        read further; an empty one is `InvalidInput`.
        """
        hop = _target(url, url)
        # For the redirects of this one resource, also between addresses.
        cookies = aiohttp.CookieJar(unsafe=True, quote_cookie=False)
        for number in range(MAX_REDIRECTS + 1):
            _host.set(hop.raw_host or "")
            headers = _conditional(known, hop, first=number == 0)
            answered = False
            try:
                async with self._session.get(
                    hop,
                    headers=headers | _sent(cookies, hop),
                    allow_redirects=False,
                ) as response:
                    answered = True
                    _keep_cookies(cookies, response, hop)
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None:
                        return await _answer(response, self._rules, asked=bool(headers))
                    _check_opt_out(response, self._rules)
            except (aiohttp.ClientError, OSError) as error:
                raise self._translated(error, shown(str(hop))) from None
            except RowError as error:
                # Without an answer the wait is our own idea, as for a bad certificate.
                if answered and error.transient and error.retry_after:
                    await courtesy.leave_alone(hop.raw_host or "", error.retry_after, error.message)
                raise
            hop = _target(location, url, base=hop)
            await courtesy.may_ask(hop.raw_host or "")
        raise InvalidInput(f"{shown(url)}: more than {MAX_REDIRECTS} redirects")

    async def _errors_of_connections(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Translate here, inside aiohttp: it would repeat a GET on its own, unseen by the chain.

        Only what went over a kept connection is repeated, where the server has closed that in the
        meantime: most likely nobody has heard of the request.
        """
        while True:
            _way.set(way := _Way())
            try:
                return await handler(request)
            except (aiohttp.ClientError, OSError) as error:
                never_there = isinstance(error, aiohttp.ClientConnectorError)
                if way.opened or never_there or not isinstance(error, _GONE):
                    raise self._translated(error, shown(str(request.url))) from None

    def _translated(self, error: aiohttp.ClientError | OSError, what: str) -> RowError:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            seconds = self._rules.timeout_s * CONNECT_SHARE
            return Timeout(f"{what}: no connection within {seconds:g} s")
        if isinstance(error, TimeoutError):
            seconds = self._rules.timeout_s * SILENCE_SHARE
            return Timeout(f"{what}: the server sent nothing for {seconds:g} s")
        return _translated(error, what)


def _conditional(known: Validators | None, hop: URL, *, first: bool) -> dict[str, str]:
    """The headers that ask for what has changed, of the URL that gave the validators.

    Of any other one "not modified" would say nothing about the bytes that are known.
    """
    if known is None or known.url not in (None, _named(hop)):
        return {}
    return known.headers() if first or known.url is not None else {}


def _keep_cookies(cookies: aiohttp.CookieJar, response: aiohttp.ClientResponse, hop: URL) -> None:
    for name, cookie in response.cookies.items():
        with suppress(CookieError):  # what cannot be sent is left to the jar
            cookie.set(name, cookie.coded_value, cookie.coded_value)  # sent as it was written
    cookies.update_cookies(response.cookies, hop)


def _sent(cookies: aiohttp.CookieJar, hop: URL) -> dict[str, str]:
    found = cookies.filter_cookies(hop)
    said = "; ".join(f"{name}={each.coded_value}" for name, each in found.items())
    return {"Cookie": said} if said else {}


def _named(url: URL) -> str:
    """A URL without its user part and fragment, of which the server hears nothing in its path."""
    return str(url.with_user(None).with_fragment(None))


def user_agent(contact: str) -> str:
    """Who we are, and where to complain."""
    return f"{USER_AGENT} (+{contact})" if contact else USER_AGENT


def _checked_socket(rules: AddressRules, info: "AddrInfoType") -> socket.socket:
    family, kind, proto, _, sockaddr = info
    reason = rules.refusal(_host.get(), str(sockaddr[0]), int(sockaddr[1]))
    if reason is not None:
        raise _Refused(reason)
    _way.get().opened = True
    return socket.socket(family=family, type=kind, proto=proto)


class _Resolver(AbstractResolver):
    """aiohttp's shape around a function from name to addresses."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp's signature
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._resolve(host)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _target(text: str, asked: str, base: URL | None = None) -> URL:
    """The URL to connect to, with its host in canonical form. Raises `Blocked`, `InvalidInput`."""
    what = shown(asked) if base is None else f"{shown(asked)}: its redirect to {shown(text)!r}"
    try:
        # Not a character of it is changed that may stand there: it may be part of a signature.
        url = URL(_escaped(text.strip()), encoded=True)
        url = url if base is None else base.join(url)
        _ = url.port  # a port that there is not is seen only when it is asked for
    except ValueError:
        raise InvalidInput(f"{what} is not a URL") from None
    if not url.scheme:
        raise InvalidInput(f"{what} is not a URL with http:// or https:// in front")
    if url.scheme not in ("http", "https"):
        raise Blocked(f"{what}: only http and https are fetched, not {url.scheme!r}")
    host = canonical_host(url.raw_host or "")
    if not is_host(host):
        raise InvalidInput(f"{what} has no valid host name ({host!r})")
    return url if host == url.raw_host else url.with_host(host)


def _escaped(text: str) -> str:
    """A URL with its host in ASCII, and percents in place of what no request line can hold."""
    scheme, slashes, rest = text.partition("//")
    ends = _AUTHORITY.match(rest) if slashes and _SCHEME.fullmatch(scheme) else None
    if ends is None:
        return _quoted(text)
    user, at, place = ends[0].rpartition("@")
    host, colon, port = place.partition(":")
    host = host if host.isascii() else canonical_host(host)
    authority = f"{user}{at}{host}{colon}{port}"
    behind = rest[len(ends[0]) :]
    return _quoted(f"{scheme}//{authority}{behind}")


def _quoted(text: str) -> str:
    # Headers in another encoding than UTF-8 arrive as lone surrogates, one for each byte.
    return _NOT_ASCII.sub(lambda found: quote(found[0], errors="surrogateescape"), text)


async def _answer(
    response: aiohttp.ClientResponse, rules: RequestRules, *, asked: bool
) -> Response:
    unchanged = response.status == HTTPStatus.NOT_MODIFIED and asked
    if not (200 <= response.status < 300 or unchanged):
        what = shown(str(response.url))
        error = from_http_status(response.status, what, retry_after=_asked_wait(response))
        if not error.transient:  # who is busy is left alone first
            _check_opt_out(response, rules)
        raise error
    _check_opt_out(response, rules)
    whole = _size_of_all(response)
    return Response(
        url=_named(response.url),
        status=response.status,
        content_type=_header(response, "Content-Type"),
        etag=_header(response, "ETag"),
        last_modified=_header(response, "Last-Modified"),
        body=None if unchanged else await _body(response, rules.max_bytes, whole),
    )


def _size_of_all(response: aiohttp.ClientResponse) -> int | None:
    """How many bytes a 206 says that it sends, which are all of them; None for other answers.

    206 answers who asked for a part, which we do not: it is a part all the same.
    """
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return None
    said = response.headers.get("Content-Range", "")
    part = _RANGE.fullmatch(said.strip())
    if part is None or int(part["last"]) + 1 != int(part["all"]):
        raise _not_whole(response, said or "it does not say which")
    return int(part["all"])


def _not_whole(response: aiohttp.ClientResponse, part: str) -> Network:
    return Network(
        f"{shown(str(response.url))}: the server answered 206 with a part that nobody asked for "
        f"({part})"
    )


def _check_opt_out(response: aiohttp.ClientResponse, rules: RequestRules) -> None:
    if not rules.honour_opt_out or "X-Robots-Tag" not in response.headers:
        return
    directive = opt_out(response.headers.getall("X-Robots-Tag"))
    if directive is not None:
        raise Blocked(
            f"{shown(str(response.url))}: the server answered X-Robots-Tag: {directive}, and so "
            "its bytes are not kept (PIPELINE_FETCH_HONOUR_OPT_OUT)"
        )


async def _body(response: aiohttp.ClientResponse, max_bytes: int, whole: int | None) -> Body:
    declared = response.content_length
    if declared is not None and declared > max_bytes:
        raise _too_large(response, f"is declared as {declared} bytes,", max_bytes)
    encoding = ", ".join(response.headers.getall("Content-Encoding", ()))
    inflating = inflaters(encoding, shown(str(response.url)))
    collected, received = Collected(), 0
    try:
        async for chunk in response.content.iter_any():
            received += len(chunk)
            if received > max_bytes:  # also where it inflates to nothing
                raise _too_large(response, "is", max_bytes)
            for piece in undone(chunk, inflating):
                if collected.size + len(piece) > max_bytes:
                    raise _too_large(response, "is", max_bytes)
                collected.add(piece)
        for each in inflating:
            each.end()
        if whole not in (None, received):
            raise _not_whole(response, f"{received} bytes of {whole}")
        if not collected.size:
            raise InvalidInput(
                f"{shown(str(response.url))}: the server answered {response.status} with an empty "
                "body"
            )
        return collected.taken()
    finally:
        collected.drop()


def _too_large(response: aiohttp.ClientResponse, how: str, max_bytes: int) -> TooLarge:
    limit = f"over the limit of {max_bytes} bytes (PIPELINE_FETCH_MAX_BYTES)"
    return TooLarge(f"{shown(str(response.url))}: the body {how} {limit}")


def _header(response: aiohttp.ClientResponse, name: str) -> str | None:
    value = response.headers.get(name)
    # Raw bytes arrive as lone surrogates, which no table can hold.
    return None if value is None else value.encode("utf-8", "replace").decode("utf-8")


def _asked_wait(response: aiohttp.ClientResponse) -> timedelta | None:
    return parse_retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))


def _translated(error: aiohttp.ClientError | OSError, what: str) -> RowError:
    # By number: the refusals of several addresses arrive merged into one plain OSError.
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.EACCES:
        return Blocked(f"{what}: {error.os_error.strerror}")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
        return Network(
            f"{what}: the server's certificate does not verify ({why}); nobody but the server can "
            "mend that, and so it is asked again tomorrow",
            retry_after=BAD_CERTIFICATE_WAIT,
        )
    if isinstance(error, aiohttp.InvalidURL):
        return InvalidInput(f"{what} is not a URL that can be fetched")
    if isinstance(error, aiohttp.ClientResponseError):
        return InvalidInput(f"{what}: the answer is not valid HTTP ({error.message})")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Network(f"{what}: the host name cannot be resolved ({error.os_error})")
    return Network(f"{what}: {type(error).__name__}: {error}")
