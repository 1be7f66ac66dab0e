"""The ways in which the sample shop misbehaves, each asked for by its name in the address."""

import re
import struct
import zlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

_PREFIX: Final = "/fault/"
_NAME: Final = re.compile(r"(?P<kind>.+?)(?:x(?P<times>\d+))?")
_STATUSES: Final = {"403": 403, "404": 404, "410": 410, "429": 429, "503": 503}
_DEFAULT_TIMES: Final = {"429": 1, "503": 2}  # these two pass by themselves, as in real shops
_NEEDS_IMAGE: Final = frozenset({"truncated-jpeg", "html-as-jpeg", "huge-image"})
FAULTS: Final[tuple[str, ...]] = (*_STATUSES, "slow-body", *sorted(_NEEDS_IMAGE), "empty-body")

_KEPT_SHARE: Final = 0.6  # of a truncated picture
_HUGE_SIDE_PX: Final = 30_000
_HUGE_ROWS_SENT: Final = 8
_APOLOGY: Final = (
    b"<!doctype html><html><body><h1>Please verify that you are human</h1></body></html>"
)


@dataclass(frozen=True, slots=True)
class ShopFault:
    """A kind of misbehaviour and for how many requests of an address it lasts; None: for ever."""

    kind: str
    times: int | None

    @property
    def needs_image(self) -> bool:
        """Whether the fault makes sense for pictures only."""
        return self.kind in _NEEDS_IMAGE


@dataclass(frozen=True, slots=True)
class Reply:
    """What the shop answers; `slow` sends the body in small pieces with pauses."""

    status: int
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()
    slow: bool = False


def parse_fault(name: str) -> ShopFault:
    """Read a fault's name, such as "404" or "503x3" (the first three requests only).

    Raises ValueError where the kind is unknown.
    """
    match = _NAME.fullmatch(name)
    if match is None or match["kind"] not in FAULTS:
        raise ValueError(f"fault: {name!r} is unknown: use one of {', '.join(FAULTS)}, or with xN")
    times = int(match["times"]) if match["times"] else _DEFAULT_TIMES.get(match["kind"])
    return ShopFault(match["kind"], times)


def with_fault(path: str, name: str) -> str:
    """Give the address under which a path misbehaves."""
    return f"{_PREFIX}{name}{path}"


def split_fault(path: str) -> tuple[ShopFault | None, str]:
    """Take the fault, if any, off a request's path; raises ValueError like `parse_fault`."""
    if not path.startswith(_PREFIX):
        return None, path
    name, _, rest = path.removeprefix(_PREFIX).partition("/")
    return parse_fault(name), f"/{rest}"


def spoil(good: Reply, fault: ShopFault, retry_after_s: int) -> Reply:
    """Give the faulty answer in place of a good one."""
    if fault.kind in _STATUSES:
        waits = (("Retry-After", str(retry_after_s)),) if fault.kind == "429" else ()
        text = f"{fault.kind}, as asked for\n".encode()
        return Reply(_STATUSES[fault.kind], text, "text/plain", waits)
    if fault.kind == "slow-body":
        return replace(good, slow=True)
    if fault.kind == "truncated-jpeg":
        return replace(good, body=good.body[: int(len(good.body) * _KEPT_SHARE)])
    if fault.kind == "html-as-jpeg":
        return Reply(200, _APOLOGY, "image/jpeg")
    if fault.kind == "huge-image":
        return Reply(200, huge_png(), "image/png")
    return replace(good, body=b"")


@cache
def huge_png() -> bytes:
    """Make a PNG of a few KB that claims 30,000 pixels a side: 2.7 GB once decoded.

    Its header is all that a decoder needs to allocate the memory; only the first rows follow.
    """
    header = struct.pack(">IIBBBBB", _HUGE_SIDE_PX, _HUGE_SIDE_PX, 8, 2, 0, 0, 0)
    row = b"\0" + bytes(3 * _HUGE_SIDE_PX)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * _HUGE_ROWS_SENT)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum
