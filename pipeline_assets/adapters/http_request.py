"""One request over aiohttp, with every connection checked on its socket; failures as `RowError`.

aiohttp costs 0.3 s to import, so this module is imported when the first request is made.
"""

import errno
import socket
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from pipeline_assets.adapters.addresses import AddressRules, canonical_host, is_host, shown
from pipeline_assets.adapters.retry_after import parse_retry_after
from pipeline_assets.errors import (
    Blocked,
    InvalidInput,
    Network,
    RowError,
    TooLarge,
    from_http_status,
)

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

Resolve = Callable[[str], Sequence[str]]

USER_AGENT: Final = f"pipeline-assets/{version('pipeline-assets')}"
MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

# The name under which the running task connects: a socket knows only its address, and an allowed
# host name must not open its address for other names.
_host: ContextVar[str] = ContextVar("_host", default="")


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of 200 to 299 with a body. `url` is the final one, without user part."""

    url: str
    status: int
    content_type: str | None
    etag: str | None
    last_modified: str | None
    body: bytes


class _Refused(OSError):
    """Raised in place of a socket; an `OSError`, so that a host's other addresses are tried."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EACCES, reason)


class Requests:
    """A session that connects only to what `rules` allow. Make it inside the running loop.

    At most `per_host` connections to one host are open at a time; `max_bytes` bounds a body;
    `resolve` takes a name to its addresses, the system's resolver where it is None.
    """

    def __init__(
        self, rules: AddressRules, *, per_host: int, max_bytes: int, resolve: Resolve | None
    ) -> None:
        self._max_bytes = max_bytes
        connector = aiohttp.TCPConnector(
            limit=0,  # the fetcher bounds what is in flight, before a resource's deadline starts
            limit_per_host=per_host,
            socket_factory=partial(_checked_socket, rules),
            resolver=None if resolve is None else _Resolver(resolve),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            timeout=aiohttp.ClientTimeout(total=None),  # the fetcher's deadline is the only one
            trust_env=False,
            middlewares=(_connection_errors,),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def get(self, url: str) -> Answer:
        """Fetch `url`, following at most five redirects; each hop goes through the same rules.

        Raises `RowError`; has no deadline of its own. A body over the limit, as declared or after
        decompression, is `TooLarge` and is not read further; an empty one is `InvalidInput`.
        """
        hop = _target(url, url)
        for _ in range(MAX_REDIRECTS + 1):
            _host.set(hop.raw_host or "")
            what = shown(str(hop))
            try:
                async with self._session.get(hop, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None:
                        return await _answer(response, what, self._max_bytes)
            except (aiohttp.ClientError, OSError) as error:
                raise _translated(error, what) from None
            hop = _target(location, url, base=hop)
        raise InvalidInput(f"{shown(url)}: more than {MAX_REDIRECTS} redirects")


def _checked_socket(rules: AddressRules, info: "AddrInfoType") -> socket.socket:
    family, kind, proto, _, sockaddr = info
    reason = rules.refusal(_host.get(), str(sockaddr[0]), int(sockaddr[1]))
    if reason is not None:
        raise _Refused(reason)
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
        url = URL(text) if base is None else base.join(URL(text))
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


async def _answer(response: aiohttp.ClientResponse, what: str, max_bytes: int) -> Answer:
    if not 200 <= response.status < 300:
        raise from_http_status(response.status, what, retry_after=_asked_wait(response))
    body = await _body(response, what, max_bytes)
    if not body:
        raise InvalidInput(f"{what}: the server answered {response.status} with an empty body")
    return Answer(
        url=str(response.url.with_user(None)),
        status=response.status,
        content_type=_header(response, "Content-Type"),
        etag=_header(response, "ETag"),
        last_modified=_header(response, "Last-Modified"),
        body=body,
    )


async def _body(response: aiohttp.ClientResponse, what: str, max_bytes: int) -> bytes:
    limit = f"over the limit of {max_bytes} bytes (PIPELINE_FETCH_MAX_BYTES)"
    if response.content_length is not None and response.content_length > max_bytes:
        raise TooLarge(f"{what}: the body is declared as {response.content_length} bytes, {limit}")
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            raise TooLarge(f"{what}: the body is {limit}")
        chunks.append(chunk)
    return b"".join(chunks)


def _header(response: aiohttp.ClientResponse, name: str) -> str | None:
    value = response.headers.get(name)
    # Raw bytes arrive as lone surrogates, which no table can hold.
    return None if value is None else value.encode("utf-8", "replace").decode("utf-8")


def _asked_wait(response: aiohttp.ClientResponse) -> timedelta | None:
    return parse_retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))


async def _connection_errors(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Translate here, inside aiohttp: it would repeat a GET on its own, unseen by the chain."""
    try:
        return await handler(request)
    except (aiohttp.ClientError, OSError) as error:
        raise _translated(error, shown(str(request.url))) from None


def _translated(error: aiohttp.ClientError | OSError, what: str) -> RowError:
    # By number: the refusals of several addresses arrive merged into one plain OSError.
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.EACCES:
        return Blocked(f"{what}: {error.os_error.strerror}")
    if isinstance(error, aiohttp.InvalidURL):
        return InvalidInput(f"{what} is not a URL that can be fetched")
    if isinstance(error, aiohttp.ClientPayloadError) and isinstance(
        error.__cause__, ContentEncodingError
    ):
        return InvalidInput(f"{what}: the body is not in the encoding that its header names")
    if isinstance(error, aiohttp.ClientResponseError):
        return InvalidInput(f"{what}: the answer is not valid HTTP ({error.message})")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Network(f"{what}: the host name cannot be resolved ({error.os_error})")
    return Network(f"{what}: {type(error).__name__}: {error}")
