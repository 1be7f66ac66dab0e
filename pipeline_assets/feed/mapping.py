"""Which column of a feed's file, or what else, gives each field of a row. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pipeline_assets.feed.rows import COLUMNS, REQUIRED_COLUMNS

MODIFIED: Final = "@modified"
"""Stands for the time of the file's last change."""

_SHOWN_COLUMNS: Final = 20
_COLUMN_IN_TEXT: Final = re.compile(r"\{([^{}]+)\}")
_PAIR: Final = re.compile(
    r"""\s*(?P<field>\w+)\s*=\s*(?P<origin>"[^"]*"|'[^']*'|[^,"'][^,]*?)\s*(?:,|$)"""
)
_QUOTES: Final = "'\""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a field's value comes from: a column, a text with columns in it, or the file's time.

    `parts` of a text are by turns as they are and the name of a column.
    """

    columns: tuple[str, ...] = ()
    parts: tuple[str, ...] | None = None

    @classmethod
    def of(cls, said: str) -> "Origin":
        """The origin that a setting says. Raises `ValueError`."""
        if said == MODIFIED:
            return cls()
        if said[:1] not in _QUOTES:
            return cls((said,))
        if len(said) < 2 or said[-1] != said[0]:
            raise ValueError(f"{said}: its quote is not closed")
        parts = tuple(_COLUMN_IN_TEXT.split(said[1:-1]))
        return cls(parts[1::2], parts)

    @property
    def plain(self) -> bool:
        """Whether it is a column."""
        return self.parts is None and bool(self.columns)

    def value(self, values: Mapping[str, object], modified: datetime) -> object:
        """The value of a field that is no column; a text has none where one of its columns has."""
        return modified if self.parts is None else self._filled(self.parts, values)

    def _filled(self, parts: tuple[str, ...], values: Mapping[str, object]) -> object:
        found = list(parts)
        for index in range(1, len(parts), 2):
            value = values.get(parts[index])
            if isinstance(value, bool) or not isinstance(value, str | int | None):
                return value  # the check of the row says what it is and should be
            text = "" if value is None else str(value).strip()
            if not text:
                return None
            found[index] = text
        return "".join(found)


@dataclass(frozen=True, slots=True)
class FeedColumns:
    """The columns of a feed, in its order: those that are read, and those that are ignored."""

    known: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping over the columns that a file has: fields taken as they are, and those made."""

    columns: frozenset[str] = frozenset()
    taken: tuple[tuple[str, str], ...] = ()
    made: tuple[tuple[str, Origin], ...] = ()

    def values(self, values: Mapping[str, object], modified: datetime) -> Mapping[str, object]:
        """The values of the file's columns as those of the row's fields."""
        found = {field: values.get(column) for field, column in self.taken}
        for field, origin in self.made:
            found[field] = origin.value(values, modified)
        return found


@dataclass(frozen=True, slots=True)
class FeedMapping:
    """What was said of fields, by field; the others are columns of their own name, where they are.

    `said` is as the setting has it: a column, a quoted text with `{column}` in it, or `@modified`.
    """

    said: Mapping[str, str]

    def over(self, names: Sequence[str]) -> Mapped:
        """The mapping over a file's columns. Raises `ValueError` for the first that is missing."""
        origins = dict(self._origins(names))
        for field in REQUIRED_COLUMNS:
            if field not in origins:
                raise ValueError(f"it has no column {field!r}; {_found(names)}")
        columns = frozenset(name for origin in origins.values() for name in origin.columns)
        for name in columns:
            if list(names).count(name) > 1:
                raise ValueError(f"the column {name!r} is there twice; remove or rename one")
        plain = {field: origin.columns[0] for field, origin in origins.items() if origin.plain}
        made = {field: origin for field, origin in origins.items() if not origin.plain}
        return Mapped(columns, tuple(plain.items()), tuple(made.items()))

    def _origins(self, names: Sequence[str]) -> Iterator[tuple[str, Origin]]:
        for field in COLUMNS:
            if field not in self.said:
                if field in names:
                    yield field, Origin((field,))
                continue
            origin = Origin.of(self.said[field])
            for name in origin.columns:
                if name not in names:
                    raise ValueError(
                        f"it has no column {name!r}, which PIPELINE_FEED_COLUMNS takes for "
                        f"{field}; {_found(names)}"
                    )
            yield field, origin

    def shown(self, names: Sequence[str]) -> FeedColumns:
        """Which of a file's columns are read. Raises `ValueError` as `over` does."""
        read = self.over(names).columns
        distinct = tuple(dict.fromkeys(names))
        return FeedColumns(
            tuple(name for name in distinct if name in read),
            tuple(name for name in distinct if name not in read),
        )


AS_THEY_ARE: Final = FeedMapping({})


def parse_pairs(text: str) -> dict[str, str]:
    """`name=Title,kind='product'` by field. Raises `ValueError`."""
    said: dict[str, str] = {}
    position = 0
    while position < len(text.rstrip().rstrip(",")):
        found = _PAIR.match(text, position)
        if found is None:
            raise ValueError(
                f"{text[position : position + 40].strip()!r}: FIELD=Column, FIELD='text with "
                f"{{Column}}' or event_time={MODIFIED}, comma-separated"
            )
        if found["field"] in said:
            raise ValueError(f"{found[0].strip(' ,')!r}: {found['field']} has an origin already")
        said[found["field"]] = found["origin"]
        position = found.end()
    return said


def check_said(said: Mapping[str, str]) -> None:
    """Raise `ValueError` for what cannot be a mapping, whatever columns a file has."""
    for field, origin in said.items():
        if field not in COLUMNS:
            raise ValueError(f"{field}={origin}: no field; one of {', '.join(COLUMNS)}")
        if origin.startswith("@") and (field, origin) != ("event_time", MODIFIED):
            raise ValueError(f"{field}={origin}: only event_time={MODIFIED} begins with @")
        if not origin.strip(_QUOTES + " "):
            raise ValueError(f"{field}={origin}: it names no column and no text")
        Origin.of(origin)


def _found(names: Sequence[str]) -> str:
    if not names:
        return "it is empty; its first line must name the columns"
    shown = ", ".join(repr(name[:40]) for name in names[:_SHOWN_COLUMNS])
    more = ", …" if len(names) > _SHOWN_COLUMNS else ""
    return (
        f"it has {shown}{more}; required are {', '.join(REQUIRED_COLUMNS)} (comma-separated, "
        "UTF-8), or other columns for them in PIPELINE_FEED_COLUMNS"
    )
