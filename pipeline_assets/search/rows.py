"""From a table of `enriched_items` to entries of the index."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.core.contract import TIMESTAMP
from pipeline_assets.core.status import Status
from pipeline_assets.errors import ContractError
from pipeline_assets.search.records import Entry
from pipeline_assets.search.words import name_key, words_of

PLAIN_COLUMNS = (
    "item_id", "quality", "status", "kind", "label", "label_confidence", "space", "modality",
    "image_url", "document_url", "name", "title", "description", "text", "quality_factors",
)  # fmt: skip
SOURCE_COLUMNS = ("kind", "name", "description", "image_url", "document_url")

NO_EVENT_TIME = -(2**62)
"""An item without a time is older than every item that has one."""

NOT_OK = frozenset(status.value for status in Status) - {Status.OK.value}

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
    """Float32 in native byte order; None for a vector that holds what is not a number."""
    for chunk in column.cast(pa.list_(pa.float32())).chunks:
        values = chunk.values.to_numpy(zero_copy_only=False)
        offsets = chunk.offsets.to_pylist()
        for position, valid in enumerate(chunk.is_valid().to_pylist()):
            vector = values[offsets[position] : offsets[position + 1]]
            yield vector.tobytes() if valid and np.isfinite(vector).all() else None


def _entry(row: dict[str, Any], event_us: int, vector: bytes | None) -> Entry:
    if vector is None:
        row["space"] = row["modality"] = None
    else:
        _check_vector(row, vector)
    for name in ("quality", "label_confidence"):
        row[name] = _rounded(row[name])
    factors = [_factor(factor) for factor in row.pop("quality_factors") or ()]
    stages = stages_text({factor["stage"]: _status(factor) for factor in factors})
    row |= {"factors": json.dumps(factors), "stages": stages}
    row["name_key"] = name_key(words_of(row["name"] or ""))
    place = row["space"], row["modality"]
    return Entry(
        **row,
        event_us=event_us,
        vector=vector,
        digest=_digest((event_us, *row.values())),
        vector_digest=None if vector is None else _digest(place, vector),
        twin=_digest(tuple(row[name] for name in SOURCE_COLUMNS)),
    )


def stages_text(statuses: Mapping[str, str]) -> str:
    """Stages and their statuses as a text that is searched for one of them: `;stage=status;`."""
    return "".join(f";{stage}={status};" for stage, status in statuses.items())


def _factor(factor: dict[str, Any]) -> dict[str, Any]:
    return factor | {"factor": _rounded(factor["factor"])}


def _status(factor: Mapping[str, Any]) -> str:
    """A stage that has a value names its rung, any other its status."""
    named = str(factor["rung_or_status"])
    return named if named in NOT_OK else Status.OK.value


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, FLOAT32_DIGITS)


def _check_vector(row: dict[str, Any], vector: bytes) -> None:
    item, space, modality = row["item_id"], row["space"], row["modality"]
    if not (vector and space and modality):
        raise ContractError(
            "search_index",
            "an embedding has a space, a modality and at least one dimension",
            f"item {item!r} has space {space!r}, modality {modality!r} and "
            f"{len(vector) // 4} dimensions",
        )


def _digest(values: Sequence[object], more: bytes = b"") -> bytes:
    return hashlib.blake2b(repr(values).encode() + more, digest_size=16).digest()
