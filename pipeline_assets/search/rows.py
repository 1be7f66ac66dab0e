"""From a table of `enriched_items` to entries of the index."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline_assets.core.contract import TIMESTAMP
from pipeline_assets.errors import ContractError
from pipeline_assets.search.records import Entry

PLAIN_COLUMNS = (
    "item_id", "quality", "status", "kind", "label", "label_confidence", "space", "modality",
    "image_url", "document_url", "name", "title", "description", "text",
)  # fmt: skip
SOURCE_COLUMNS = ("kind", "name", "description", "image_url", "document_url")

NO_EVENT_TIME = -(2**62)
"""An item without a time is older than every item that has one."""

FLOAT32_DIGITS = 6
"""A float32 carries 6 decimal digits for certain: 0.72 comes out as 0.72, not 0.7200000286."""


def entries_of(table: pa.Table) -> dict[str, Entry]:
    """The entries of `table` by item; of an item that is there twice, the last.

    Raises `ContractError` for an embedding without space, modality or dimensions.
    """
    times = table["event_time"].cast(TIMESTAMP).cast(pa.int64()).to_pylist()
    rows = table.select(PLAIN_COLUMNS).to_pylist()
    vectors = _vectors(table["embedding"])
    return {
        row["item_id"]: _entry(row, NO_EVENT_TIME if time is None else time, vector)
        for row, time, vector in zip(rows, times, vectors, strict=True)
    }


def _vectors(column: pa.ChunkedArray) -> Iterator[bytes | None]:
    for chunk in column.cast(pa.list_(pa.float32())).chunks:
        values = chunk.values.to_numpy(zero_copy_only=False)
        offsets = chunk.offsets.to_pylist()
        for position, valid in enumerate(chunk.is_valid().to_pylist()):
            start, end = offsets[position], offsets[position + 1]
            yield values[start:end].tobytes() if valid else None


def _entry(row: dict[str, Any], event_us: int, vector: bytes | None) -> Entry:
    if vector is None:
        row["space"] = row["modality"] = None
    else:
        _check_vector(row, vector)
    for name in ("quality", "label_confidence"):
        if row[name] is not None:
            row[name] = round(row[name], FLOAT32_DIGITS)
    return Entry(
        **row,
        event_us=event_us,
        vector=vector,
        digest=_digest((event_us, *row.values()), vector or b""),
        twin=_digest(tuple(row[name] for name in SOURCE_COLUMNS)),
    )


def _check_vector(row: dict[str, Any], vector: bytes) -> None:
    item, space, modality = row["item_id"], row["space"], row["modality"]
    if not (vector and space and modality):
        raise ContractError(
            "search_index",
            "an embedding has a space, a modality and at least one dimension",
            f"item {item!r} has space {space!r}, modality {modality!r} and "
            f"{len(vector) // 4} dimensions",
        )


def _digest(values: tuple[object, ...], more: bytes = b"") -> bytes:
    return hashlib.blake2b(repr(values).encode() + more, digest_size=16).digest()
