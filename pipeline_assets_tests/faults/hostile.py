"""Every way in which we have seen, or can think of, a server going wrong, and what a row then says.

`MAX_BYTES` is the limit under which the table was made. What is in `SLOW` never comes to an end:
it is asked for under a deadline of `SOON_S`, and everything else without one that matters, so that
a slow machine changes no row.
"""

import gzip
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline_assets.errors import ErrorKind
from pipeline_assets_tests.faults.server import Fault, Repeated, Then, answer, raw, sound
from pipeline_assets_tests.lengths import HANG_S

SOON_S: Final = 1.0
MAX_BYTES: Final = 1_000_000
TEN_GB: Final = 10_000_000_000
BODY: Final = b"x" * 20_000
PIECE: Final = b"x" * 65_536
ENDLESS: Final = Repeated(PIECE)
HEAD: Final = b"HTTP/1.1 200 OK\r\n"
GZIP: Final = "Content-Encoding: gzip"
GZIP_HEAD: Final = gzip.compress(b"")[:10]
EMPTY_BLOCK: Final = b"\0\0\0\xff\xff"
CHUNKED: Final = "Transfer-Encoding: chunked"
SMUGGLED: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"


@dataclass(frozen=True, slots=True)
class Expected:
    """The `error_kind` of what a fault gives; None where it is harmless, and is to be ignored."""

    fault: Fault
    kind: ErrorKind | None


def ok(fault: Fault) -> Expected:
    """Ignored."""
    return Expected(fault, None)


def gzip_bomb(inflated: int) -> Repeated:
    """The pieces of a gzip file that is a thousandth of what it becomes."""
    megabyte = 1 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # Flushed so that it stands alone: one block then serves for each of ten thousand.
    block = packer.compress(bytes(megabyte)) + packer.flush(zlib.Z_FULL_FLUSH)
    return Repeated(block, -(-inflated // megabyte), first=GZIP_HEAD)


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def at_once(sent: Callable[[], Iterable[bytes]], then: Then = Then.CLOSE) -> Fault:
    """The whole answer in one piece, as one packet."""
    return Fault(sent=lambda: [b"".join(sent())], then=then)


def _to(location: str, status: str = "302 Found") -> Fault:
    return Fault(sent=sound(b"", f"Location: {location}", "Connection: close", status=status))


def _of(kind: ErrorKind, **faults: Fault) -> dict[str, Expected]:
    return {name.replace("_", "-"): Expected(fault, kind) for name, fault in faults.items()}


HARMLESS: Final = {
    "sound": ok(Fault(sent=sound(BODY), then=Then.KEEP)),
    "closes-without-a-word": ok(Fault(sent=sound(BODY))),
    "late": ok(Fault(sent=sound(BODY), latency_s=0.1)),
    "narrow": ok(Fault(sent=sound(BODY), bytes_per_s=len(BODY) / 0.1)),
    "slow-close": ok(Fault(sent=sound(BODY), then=Then.HANG)),
    "reset-behind-the-body": ok(Fault(sent=sound(BODY), then=Then.RESET)),
    "no-length": ok(Fault(sent=answer([BODY]))),
    "chunked": ok(Fault(sent=answer([_chunk(BODY), b"0\r\n\r\n"], CHUNKED))),
    "gzip": ok(Fault(sent=sound(gzip.compress(BODY), GZIP))),
    "gzip-twice": ok(
        Fault(sent=sound(gzip.compress(gzip.compress(BODY)), "Content-Encoding: gzip, gzip"))
    ),
    "gzip-twice-in-two-headers": ok(
        Fault(sent=sound(gzip.compress(gzip.compress(BODY)), GZIP, "Content-Encoding: gzip"))
    ),
    "gzip-behind-another-header": ok(
        Fault(sent=sound(gzip.compress(BODY), "Content-Encoding: identity", GZIP))
    ),
    "charset-for-an-encoding": ok(Fault(sent=sound(BODY, "Content-Encoding: UTF-8"))),
    "long-header": ok(Fault(sent=sound(BODY, "Content-Security-Policy: " + "a.example " * 900))),
    "two-hundred-headers": ok(
        Fault(sent=sound(BODY, *[f"X-{n}: {'y' * 200}" for n in range(200)]))
    ),
    "all-of-it-as-a-part": ok(
        Fault(
            sent=sound(
                BODY, f"Content-Range: bytes 0-{len(BODY) - 1}/{len(BODY)}", status="206 Partial"
            )
        )
    ),
    "length-too-short": ok(Fault(sent=answer([BODY, SMUGGLED], length=len(BODY)))),
    "continue-first": ok(
        Fault(sent=raw(b"HTTP/1.1 100 Continue\r\n\r\n", *sound(BODY)())),
    ),
}

SLOW: Final = _of(
    ErrorKind.TIMEOUT,
    latency=Fault(sent=sound(BODY), latency_s=60),
    bandwidth=Fault(sent=sound(BODY), bytes_per_s=50),
    no_answer=Fault(sent=raw(), then=Then.HANG),
    stops_in_the_head=Fault(sent=sound(BODY), limit_bytes=20, then=Then.HANG),
    stops_in_the_body=Fault(sent=sound(BODY), limit_bytes=1000, then=Then.HANG),
    slow_loris_head=Fault(sent=raw(HEAD, *[b"X: y\r\n"] * 100), bytes_per_s=50),
    slow_loris_body=Fault(sent=answer(Repeated(b"x"), length=1000), bytes_per_s=50),
    slow_loris_chunks=Fault(sent=answer(Repeated(_chunk(b"x")), CHUNKED), bytes_per_s=50),
    no_length_and_no_close=Fault(sent=answer([BODY]), then=Then.HANG),
    chunks_without_end=Fault(sent=answer([_chunk(BODY)], CHUNKED), then=Then.HANG),
    gzip_of_nothing=Fault(
        sent=answer(Repeated(EMPTY_BLOCK, first=GZIP_HEAD), GZIP), bytes_per_s=5000
    ),
    continues_for_ever=Fault(
        sent=lambda: Repeated(b"HTTP/1.1 100 Continue\r\n\r\n"), bytes_per_s=20_000
    ),
    length_too_long=Fault(sent=answer([BODY], length=len(BODY) + 1), then=Then.HANG),
    # Long behind a head that was sound: aiohttp's parser does not tell the reader, who waits.
    chunks_that_prove_none=Fault(sent=answer([_chunk(b"x" * 100), BODY], CHUNKED), bytes_per_s=200),
)

BROKEN: Final = _of(
    ErrorKind.NETWORK,
    closed_at_once=Fault(sent=raw()),
    reset_at_once=Fault(sent=raw(), then=Then.RESET),
    closed_in_the_head=Fault(sent=sound(BODY), limit_bytes=20),
    reset_in_the_head=Fault(sent=sound(BODY), limit_bytes=20, then=Then.RESET),
    truncated=Fault(sent=sound(BODY), limit_bytes=10_000),
    reset_in_the_body=Fault(sent=sound(BODY), limit_bytes=10_000, then=Then.RESET),
    ends_before_its_length=Fault(sent=answer([BODY], length=len(BODY) + 1)),
    truncated_chunk=Fault(sent=answer([_chunk(BODY)[:-10]], CHUNKED)),
    truncated_gzip=Fault(sent=sound(gzip.compress(BODY)[:-12], GZIP)),
    a_part_of_it=Fault(
        sent=sound(BODY[:300], f"Content-Range: bytes 0-299/{len(BODY)}", status="206 Partial")
    ),
    a_part_that_is_said_to_be_all=Fault(
        sent=sound(
            BODY[:300], f"Content-Range: bytes 0-{len(BODY) - 1}/{len(BODY)}", status="206 Partial"
        )
    ),
    a_part_of_who_knows_what=Fault(sent=sound(BODY, status="206 Partial Content")),
    no_last_chunk=Fault(sent=answer([_chunk(BODY)], CHUNKED)),
)

LARGE: Final = _of(
    ErrorKind.TOO_LARGE,
    endless=Fault(sent=answer(ENDLESS)),
    endless_chunks=Fault(sent=answer(Repeated(_chunk(PIECE)), CHUNKED)),
    ten_gb=Fault(sent=answer(Repeated(PIECE, TEN_GB // len(PIECE)), length=TEN_GB)),
    ten_gb_undeclared=Fault(sent=answer(Repeated(PIECE, TEN_GB // len(PIECE)))),
    declared_but_never_sent=Fault(sent=answer([], length=TEN_GB), then=Then.HANG),
    gzip_bomb=Fault(sent=answer(gzip_bomb(TEN_GB), GZIP)),
    members_of_nothing=Fault(sent=answer(Repeated(gzip.compress(b"") * 1000), GZIP)),
    said_to_be_gone=Fault(sent=sound(b"too large", status="413 Payload Too Large")),
)

NO_USE: Final = _of(
    ErrorKind.INVALID_INPUT,
    empty=Fault(sent=sound(b"")),
    no_content=Fault(sent=raw(b"HTTP/1.1 204 No Content\r\n\r\n")),
    not_modified_unasked=Fault(sent=raw(b"HTTP/1.1 304 Not Modified\r\n\r\n")),
    another_protocol=Fault(sent=raw(b"SSH-2.0-OpenSSH_9.6\r\n")),
    no_protocol=Fault(sent=raw(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n")),
    without_a_head=Fault(sent=raw(b"<html>hello</html>\r\n\r\n")),
    version_from_nowhere=Fault(sent=raw(b"HTTP/9.9 200 OK\r\nContent-Length: 1\r\n\r\nx")),
    status_of_letters=Fault(sent=raw(b"HTTP/1.1 abc OK\r\nContent-Length: 1\r\n\r\nx")),
    status_beyond_any=Fault(sent=raw(b"HTTP/1.1 99999 OK\r\nContent-Length: 1\r\n\r\nx")),
    header_without_a_name=Fault(sent=raw(HEAD, b": x\r\n\r\n")),
    header_with_a_null=Fault(sent=raw(HEAD, b"X: a\0b\r\nContent-Length: 1\r\n\r\nx")),
    two_lengths=Fault(sent=answer([BODY], "Content-Length: 5", length=9)),
    negative_length=Fault(sent=answer([BODY], length=-5)),
    length_of_letters=Fault(sent=answer([BODY], "Content-Length: many")),
    chunks_that_are_none=at_once(answer([BODY], CHUNKED)),
    chunk_of_a_negative_size=at_once(answer([b"-5\r\n", BODY], CHUNKED)),
    chunk_larger_than_any=at_once(answer([b"f" * 40 + b"\r\n", BODY], CHUNKED)),
    chunk_longer_than_its_size=at_once(answer([b"5\r\n", BODY], CHUNKED)),
    length_and_chunks=Fault(sent=answer([_chunk(b"x")], CHUNKED, length=9)),
    huge_header=Fault(sent=answer([], "X: " + "x" * 1_000_000, length=0)),
    huge_reason=Fault(sent=answer([], status="200 " + "x" * 1_000_000, length=0)),
    many_headers=Fault(sent=answer([], *["X: y"] * 100_000, length=0)),
    endless_headers=Fault(sent=lambda: iter(Repeated(b"X: " + b"y" * 100 + b"\r\n"))),
    encoding_that_it_is_not=Fault(sent=sound(BODY, GZIP)),
    encoded_once_and_not_twice=Fault(
        sent=sound(gzip.compress(BODY), "Content-Encoding: gzip, gzip")
    ),
    damaged_gzip=Fault(sent=sound(gzip.compress(BODY)[:-8] + b"\0" * 8, GZIP)),
    redirect_to_itself=_to("/redirect-to-itself"),
    redirects_in_a_ring=_to("redirects-in-a-ring?again", "307 Temporary Redirect"),
    redirect_to_nowhere=Fault(sent=sound(b"", status="301 Moved Permanently")),
    redirect_to_no_url=_to("http://[::1"),
)

REFUSED: Final = {
    **_of(
        ErrorKind.BLOCKED,
        redirect_to_metadata=_to("http://169.254.169.254/latest/"),
        redirect_to_a_file=_to("file:///etc/passwd"),
    ),
    **_of(
        ErrorKind.FORBIDDEN,
        login_wanted=Fault(sent=sound(b"no", status="401 Unauthorized")),
        turned_away=Fault(sent=sound(b"no", status="403 Forbidden")),
    ),
    **_of(
        ErrorKind.NOT_FOUND,
        nothing_there=Fault(sent=sound(b"no", status="404 Not Found")),
        error_page_without_end=Fault(sent=answer(ENDLESS, status="404 Not Found")),
    ),
    **_of(
        ErrorKind.UNSUPPORTED,
        encoding_that_nobody_asked_for=Fault(sent=sound(BODY, "Content-Encoding: br")),
    ),
    **_of(
        ErrorKind.RATE_LIMITED,
        too_many=Fault(sent=sound(b"", "Retry-After: 3", status="429 Too Many Requests")),
    ),
    **_of(
        ErrorKind.OVERLOADED,
        too_busy=Fault(sent=sound(b"", "Retry-After: 3", status="503 Service Unavailable")),
        broken_down=Fault(sent=sound(b"", status="500 Internal Server Error")),
    ),
}

TABLE: Final[Mapping[str, Expected]] = {
    **HARMLESS,
    **SLOW,
    **BROKEN,
    **LARGE,
    **NO_USE,
    **REFUSED,
}
"""By name, which is the path."""

ASKS_FOR_TIME: Final = ("too-many", "too-busy")
"""Who is asked next of their host has to wait for real."""
HANGS_BEHIND: Final = ("slow-close",)
"""Whoever is asked next on the same connection has no answer."""
FAULTS: Final = {name: expected.fault for name, expected in TABLE.items()}


def deadline_s(name: str) -> float:
    """The deadline under which a fault is asked for, in seconds."""
    return SOON_S if name in SLOW else HANG_S
