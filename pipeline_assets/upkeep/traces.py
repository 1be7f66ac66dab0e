"""What tells of a forgotten item or URL, in rows of any table: found by its columns, not its name.

So a table that a later version or a stage of one's own adds is searched like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.errors import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ITEM_ID, ROLE = "item_id", "role"
SENTENCES = ("error", "problem")
"""Columns in which people are told what went wrong, and often where."""

Resource = tuple[str, str, str]
"""(hour, item, role): what a URL is to an item; the role is "" for the item as a whole."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What to look for. `resources` name one of the `urls`, `sources` are URLs of the `items`."""

    items: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()
    resources: frozenset[Resource] = frozenset()
    sources: frozenset[str] = frozenset()

    def __or__(self, other: Traces) -> Traces:
        return Traces(
            self.items | other.items,
            self.urls | other.urls,
            self.resources | other.resources,
            self.sources | other.sources,
        )

    def of(self, hour: str, rows: pa.Table) -> Traces:
        """What rows of an hour add: more places, and more sources."""
        telling = rows.select([name for name in rows.column_names if is_telling(name)])
        resources = telling.filter(_any(rows, list(_mentions(rows, self.urls)))).to_pylist()
        items = telling.filter(_any(rows, [_is_in(rows, self.items)])).to_pylist()
        return Traces(
            resources=frozenset(each for row in resources for each in self._named(hour, row)),
            sources=frozenset(url for row in items for url in _urls(row)),
        )

    def _named(self, hour: str, row: dict[str, Any]) -> Iterator[Resource]:
        if row.get(ITEM_ID) is None:
            return
        yield hour, row[ITEM_ID], row.get(ROLE) or ""
        for name, value in row.items():
            if name.endswith("_url") and value in self.urls:
                yield hour, row[ITEM_ID], name.removesuffix("_url")

    def found_in(self, hour: str, rows: pa.Table) -> pa.ChunkedArray:
        """Which rows of an hour tell of it, or were made of what does."""
        return _any(
            rows,
            [
                _is_in(rows, self.items),
                *_mentions(rows, self.urls),
                _made_of(rows, {each[1:] for each in self.resources if each[0] == hour}),
            ],
        )


def is_telling(column: str) -> bool:
    """Whether a column may say which item or URL a row is about."""
    return column in (ITEM_ID, ROLE, *SENTENCES) or _is_url(column)


def without(rows: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    """The rows but those; the same where there are none of them."""
    return rows.filter(pc.invert(mask)) if pc.any(mask).as_py() else rows


def without_urls(rows: pa.Table, urls: frozenset[str]) -> pa.Table:
    """All rows, URLs in them being null, and sentences without them."""
    for at, field in enumerate(rows.schema):
        old = rows.column(at)
        if _is_url(field.name):
            mask = pc.is_in(old, pa.array(sorted(urls), pa.string()))
            new = pc.if_else(mask, pa.scalar(None, field.type), old)
        elif field.name in SENTENCES:
            new = reduce(lambda text, url: pc.replace_substring(text, url, "…"), _said(urls), old)
        else:
            continue
        if not new.equals(old):
            rows = rows.set_column(at, field, new)
    return rows


def named_urls(rows: pa.Table, urls: frozenset[str]) -> set[str]:
    """Which of these URLs are named."""
    columns = (rows[name] for name in rows.column_names if _is_url(name))
    return {url for column in columns for url in column.to_pylist() if url in urls}


def _is_url(column: str) -> bool:
    return column == "url" or column.endswith("_url")


def _urls(row: dict[str, Any]) -> Iterator[str]:
    return (value for name, value in row.items() if _is_url(name) and value is not None)


def _said(urls: frozenset[str]) -> list[str]:
    """URLs as sentences have them, the longest first."""
    return sorted({*urls, *map(without_secrets, urls)}, key=len, reverse=True)


def _mentions(rows: pa.Table, urls: frozenset[str]) -> Iterator[pa.ChunkedArray]:
    if not urls:
        return
    for name in rows.column_names:
        if _is_url(name):
            yield pc.is_in(rows[name], pa.array(sorted(urls), pa.string()))
        elif name in SENTENCES:
            yield from (pc.match_substring(rows[name], url) for url in _said(urls))


def _is_in(rows: pa.Table, items: frozenset[str]) -> pa.ChunkedArray:
    if ITEM_ID not in rows.column_names:
        return _none(rows)
    return pc.is_in(rows[ITEM_ID], pa.array(sorted(items), pa.string()))


def _made_of(rows: pa.Table, resources: set[tuple[str, str]]) -> pa.ChunkedArray:
    """The rows of these resources, and those of their items as a whole."""
    if not resources or ITEM_ID not in rows.column_names:
        return _none(rows)
    of_items = _is_in(rows, frozenset(item for item, _role in resources))
    if ROLE not in rows.column_names:
        return of_items
    names = pc.binary_join_element_wise(rows[ITEM_ID], rows[ROLE], "\0")
    known = pa.array(sorted("\0".join(each) for each in resources), pa.string())
    return pc.and_(of_items, pc.or_(pc.is_null(rows[ROLE]), pc.is_in(names, known)))


def _none(rows: pa.Table) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([False] * rows.num_rows, pa.bool_())])


def _any(rows: pa.Table, masks: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    found = _none(rows)
    for mask in masks:
        found = pc.or_(found, pc.fill_null(mask, False))
    return found
