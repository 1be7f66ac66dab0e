"""What one row of a feed says, and the first thing that is wrong with it. Pure, for any format."""

import html
import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

from pipeline_assets.core.fingerprint import digest
from pipeline_assets.errors import MAX_ERROR_CHARS, without_secrets
from pipeline_assets.healing.rules import Priority

REQUIRED_COLUMNS: Final = ("item_id", "name", "kind", "event_time")
OPTIONAL_COLUMNS: Final = ("description", "document_url", "image_url", "priority")
COLUMNS: Final = REQUIRED_COLUMNS + OPTIONAL_COLUMNS

KINDS: Final = ("product", "document")
PRIORITIES: Final = tuple(each.value for each in Priority)
DEFAULT_PRIORITY: Final = Priority.BATCH.value
MAX_ITEM_ID_CHARS: Final = 200
MAX_FIELD_CHARS: Final = 1 << 20
PRODUCER: Final = "feed/1"

MOST_EXACT: Final = 2**53
EARLIEST_YEAR: Final = 1900
"""What is said to have happened before has been read wrongly."""
DATE_DIGITS: Final = 8
MILLISECONDS_DIGITS: Final = 13

_EPOCH: Final = re.compile(r"(?P<whole>[0-9]{10}|[0-9]{13})(\.[0-9]+)?")
_ZONE: Final = re.compile(r"\s*(UTC|GMT|utc|gmt)$")
_HIDDEN: Final = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->")
# Names of elements alone: a text may have other words in angle brackets.
_TAGS: Final = re.compile(
    r"(?i)</?(?:a|abbr|address|article|b|big|blockquote|br|center|code|dd|div|dl|dt|em|figure"
    r"|figcaption|font|footer|h[1-6]|header|hr|i|iframe|img|ins|kbd|li|link|main|mark|meta|nav|ol|p"
    r"|picture|pre|s|section|small|source|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead"
    r"|tr|tt|u|ul|video)(?:\s[^<>]*)?/?>"
)
_SHOWN_CHARS: Final = 60
_SURROGATES: Final = re.compile("[\ud800-\udfff]")  # how undecodable bytes arrive here
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class RawRow(NamedTuple):
    """One row as its file has it; a tuple, for its speed.

    `problem` is what already went wrong in reading it. Bytes that are not UTF-8 are in `values` as
    lone surrogates.
    """

    line: int
    values: Mapping[str, object]
    problem: str | None = None


class FeedRow(NamedTuple):
    """One row of a feed; a tuple, for its speed.

    `line` of its `file` counts from 1 (in Parquet: rows). `problem` is the first thing wrong, one
    sentence with field and value, None for a good row. A field that fails its check is None
    (`priority`: the default), so that what is not None can be relied on: an `item_id` is 1 to 200
    printable characters, `kind` is one of `KINDS`.
    """

    line: int
    item_id: str | None
    name: str | None
    kind: str | None
    description: str | None
    document_url: str | None
    image_url: str | None
    event_time: datetime | None
    priority: str
    problem: str | None
    file: str

    @property
    def content(self) -> tuple[object, ...]:
        """What it says of its item, wherever it stands."""
        return (
            self.name,
            self.kind,
            self.description,
            self.document_url,
            self.image_url,
            self.event_time,
            self.priority,
        )

    @property
    def key(self) -> str:
        """The idempotency key of its item."""
        return f"{digest((self.item_id, self.content, self.problem))}.{_MAKER}"

    @property
    def place(self) -> str:
        """Where it stands, for a reader."""
        return f"line {self.line} of {self.file}"


_MAKER: Final = digest(PRODUCER)


class _Fields:
    """Reads the fields of one row and keeps the first problem met."""

    def __init__(self, raw: RawRow) -> None:
        self._values, self.problem = raw.values, raw.problem

    def complain(self, problem: str) -> None:
        if self.problem is None:
            self.problem = without_secrets(problem)[:MAX_ERROR_CHARS]

    def text(self, name: str, *, exact: bool = False) -> str | None:
        """The stripped text of a field, None where there is none.

        Undecodable parts are replaced, or with `exact`, void the field.
        """
        value = self._value(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.complain(f"{name} is {_described(value)}; it must be text")
            return None
        if len(value) > MAX_FIELD_CHARS:
            self.complain(f"{name} {_shown(value)} is longer than {MAX_FIELD_CHARS} characters")
            return None
        if value.isascii():  # most are, and this is quick
            return value.strip() or None
        clean = _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", value)
        if clean != value:
            self.complain(f"{name} {_shown(clean)} has bytes or escapes that are not UTF-8 text")
            if exact:
                return None
        return clean.strip() or None

    def _value(self, name: str) -> object:
        """A field as its file has it; what a database or pandas has for nothing is nothing."""
        value = self._values.get(name)
        return None if isinstance(value, float) and math.isnan(value) else value

    def prose(self, name: str, text: str | None) -> str | None:
        """Text that shops write as HTML: its tags are spaces, and its entities characters."""
        if text is None or not ("<" in text or "&" in text):
            return text
        read = html.unescape(_TAGS.sub(" ", _HIDDEN.sub(" ", text)))
        if read == text:
            return text
        read = " ".join(read.split())
        if not read:
            self.complain(f"{name} {_shown(text)} has no text in it")
        return read or None

    def url(self, name: str) -> str | None:
        """A URL; one without a scheme is of a page that is served over https."""
        text = self.text(name, exact=True)
        return f"https:{text}" if text is not None and text.startswith("//") else text

    def item_id(self) -> str | None:
        """The id; numbers are ids, and two Unicode forms of one text are one id."""
        value = self._value("item_id")
        if _is_whole(value):
            return f"{value:.0f}"
        item_id = self.required("item_id")
        if item_id is None:
            return None
        item_id = unicodedata.normalize("NFC", item_id)
        if len(item_id) > MAX_ITEM_ID_CHARS:
            self.complain(
                f"item_id {_shown(item_id)} is {len(item_id)} characters long; "
                f"at most {MAX_ITEM_ID_CHARS} are allowed"
            )
            return None
        if _CONTROLS.search(item_id) is not None:
            self.complain(f"item_id {_shown(item_id)} has control characters")
            return None
        return item_id

    def required(self, name: str, *, exact: bool = True) -> str | None:
        text = self.text(name, exact=exact)
        if text is None:
            self.complain(f"{name} is empty")
        return text

    def choice(self, name: str, text: str | None, allowed: tuple[str, ...]) -> str | None:
        if text is None or text in allowed:
            return text
        self.complain(f"{name} {_shown(text)} is not one of {', '.join(allowed)}")
        return None

    def time(self, name: str) -> datetime | None:
        value = self._value(name)
        # Parquet has times and dates of its own, and JSON numbers.
        if isinstance(value, date):
            text: str | None = value.isoformat()
        elif _is_whole(value):
            text = f"{value:.0f}"
        else:
            text = self.required(name)
        if text is None:
            return None
        time = _utc(text)
        if time is None:
            self.complain(f"{name} {_shown(text)} is not a time such as 2026-03-02T06:00:00Z")
        return time


def feed_row(raw: RawRow, file: str) -> FeedRow:
    """Check one row of a file, with its values under the fields' names; never raises."""
    fields = _Fields(raw)
    return FeedRow(
        line=raw.line,
        item_id=fields.item_id(),
        name=fields.prose("name", fields.required("name", exact=False)),
        kind=fields.choice("kind", fields.required("kind"), KINDS),
        event_time=fields.time("event_time"),
        priority=fields.choice("priority", fields.text("priority"), PRIORITIES) or DEFAULT_PRIORITY,
        description=fields.prose("description", fields.text("description")),
        document_url=fields.url("document_url"),
        image_url=fields.url("image_url"),
        problem=fields.problem,
        file=file,
    )


def _is_whole(value: object) -> bool:
    """Whether it is a whole number that JSON and Parquet keep exactly, also where it is a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -MOST_EXACT < value < MOST_EXACT and value == int(value)


def _utc(text: str) -> datetime | None:
    """A time in ISO 8601, with a zone or UTC, or in seconds or milliseconds since 1970."""
    try:
        epoch = _EPOCH.fullmatch(text)
        if epoch is not None:
            seconds = float(text) / (1000 if len(epoch["whole"]) == MILLISECONDS_DIGITS else 1)
            return datetime.fromtimestamp(seconds, UTC)
        if text.isdigit() and len(text) != DATE_DIGITS:
            return None  # fromisoformat takes 1712010112345 for a year and more
        time = datetime.fromisoformat(_ZONE.sub("+00:00", text))
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return time if time.year >= EARLIEST_YEAR else None


def _described(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {str(value)[:_SHOWN_CHARS]}"
    # Not shown: the text of a deeply nested value can exhaust the stack.
    return f"a {type(value).__name__}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…")
