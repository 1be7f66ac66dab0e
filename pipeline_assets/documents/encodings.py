"""How a page's bytes are read: by their mark, what they are, what they declare, or a guess."""

import codecs
import re
from typing import Final

MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
DECLARED_WITHIN: Final = 4096
"""Browsers look at the first 1,024 bytes; some pages have more before their declaration."""
SLIPS: Final = 0.1
"""So much of what is not ASCII may be unreadable before the encoding is held for another."""
GUESSED_BYTES: Final = 64_000
GUESSED_FROM: Final = 64
"""A sample is enough to guess from; from a few letters beyond ASCII nothing can be told."""
LAST_RESORT: Final = "cp1252"

_CHARSET = re.compile(
    rb"""(?i)<meta[^>]+charset\s*+=\s*+["']?\s*+([\w.:-]+)|^\s*+<\?xml[^>]+encoding\s*+=\s*+["']([\w.:-]+)"""
)

_BEYOND_ASCII = bytes(range(128, 256))
_NO_CHARSETS = frozenset({"utf-7", "punycode", "idna", "unicode-escape", "raw-unicode-escape"})
"""Codecs that no browser knows; in some of them tags can be hidden."""
_STATEFUL = ("iso2022", "hz")
"""Written in ASCII bytes alone, so that they would be taken for UTF-8."""
_AS_BROWSERS_DO = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "tis-620": "cp874",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
}
"""Who declares the one has the other, which holds more."""
_GUESSES = [
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("iso8859_2", "iso8859_5", "iso8859_7", "koi8_r", "koi8_u", "cp874"),
    *("cp932", "euc_jp", "cp949", "gb18030", "big5"),
]


def text_of(data: bytes) -> tuple[str, str]:
    """The text that the bytes stand for, and the encoding that they were read in. Never fails."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data.removeprefix(mark).decode(encoding, "replace"), encoding
    declared = _declared(data)
    if declared is not None and declared.startswith(_STATEFUL):
        return data.decode(declared, "replace"), declared
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    if declared is not None:
        text = data.decode(declared, "replace")
        if _is_believable(text):
            return text, declared
    guessed = _guessed(data)
    return data.decode(guessed, "replace"), guessed


def _declared(data: bytes) -> str | None:
    found = _CHARSET.search(data[:DECLARED_WITHIN])
    if found is None:
        return None
    try:
        codec = codecs.lookup((found[1] or found[2]).decode("ascii"))
        b"-".decode(codec.name)  # some codecs are no encodings of text, or read nothing
    except (LookupError, UnicodeError):
        return None
    if codec.name in _NO_CHARSETS or codec.name.startswith("utf-16"):
        return None
    return _AS_BROWSERS_DO.get(codec.name, codec.name)


def _is_believable(text: str) -> bool:
    """Whether what could not be read are slips, and not the sign of another encoding."""
    beyond = len(text) - len(text.encode("ascii", "ignore"))
    return text.count("\ufffd") <= SLIPS * beyond


def _guessed(data: bytes) -> str:
    sample = data[:GUESSED_BYTES]
    if len(data) > GUESSED_BYTES:
        sample = sample[: max(sample.rfind(b"<"), sample.rfind(b"\n"))]
    if len(sample) - len(sample.translate(None, _BEYOND_ASCII)) < GUESSED_FROM:
        return LAST_RESORT
    import charset_normalizer  # noqa: PLC0415 - only where it is needed

    best = charset_normalizer.from_bytes(sample, cp_isolation=_GUESSES).best()
    return LAST_RESORT if best is None else codecs.lookup(best.encoding).name
