"""The contract's columns, and the structural rules that every published table keeps."""

from collections.abc import Sequence
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.status import Status
from pipeline_assets.errors import ContractError, ErrorKind

SCHEMA_VERSION = 1
SCHEMA_VERSION_KEY = b"pipeline_assets.schema_version"

TIMESTAMP = pa.timestamp("us", tz="UTC")


def list_of(kind: pa.DataType) -> pa.DataType:
    """A list type as Parquet gives it back: what is read then equals what was declared."""
    return pa.list_(pa.field("element", kind))


CONTRACT: tuple[pa.Field, ...] = (
    pa.field("status", pa.string(), nullable=False),
    pa.field("rung", pa.string()),
    pa.field("fallback_used", pa.string()),
    pa.field("confidence", pa.float32()),
    pa.field("quality", pa.float32()),
    pa.field("error_kind", pa.string()),
    pa.field("error", pa.string()),
    pa.field("retryable", pa.bool_(), nullable=False),
    pa.field("retry_at", TIMESTAMP),
    pa.field("attempts", pa.int16(), nullable=False),
    pa.field("cost_usd", pa.float64(), nullable=False),
    pa.field("key", pa.string()),
    pa.field("producer", pa.string()),
    pa.field("duration_ms", pa.float32()),
    pa.field("run_id", pa.string()),
    pa.field("updated_at", TIMESTAMP),
)
MEANINGS = {
    "item_id": "the item's id in the feed",
    "role": "what the resource is to its item: document or image",
    "status": "pending, failed, not-applicable, skipped or ok; explains every null value",
    "rung": "the rung that made the value; null unless ok",
    "fallback_used": "the rung again where it is not the primary",
    "confidence": "0..1; 0 where skipped; null where nothing is claimed",
    "quality": "this row's factor, 0..1; null while pending",
    "error_kind": "why there is no value, or why no better rung made it",
    "error": "what went wrong, in one sentence",
    "retryable": "whether trying again can help",
    "retry_at": "not to be tried before",
    "attempts": "over all runs, since the input last changed",
    "cost_usd": "over all runs",
    "key": "idempotency key: digest of the input, digest of the maker",
    "producer": "the model or tool, with its version",
    "duration_ms": "time in the rungs, shared among the rows of a batch",
    "run_id": "the run that last wrote the row",
    "updated_at": "when the row was last written",
}
"""What the columns that every stage table shares mean, in a few words."""

CONTRACT_NAMES: tuple[str, ...] = tuple(field.name for field in CONTRACT)

ITEM_KEY = (pa.field("item_id", pa.string(), nullable=False),)
RESOURCE_KEY = (*ITEM_KEY, pa.field("role", pa.string(), nullable=False))


def stage_schema(key: Sequence[pa.Field], values: Sequence[pa.Field]) -> pa.Schema:
    """The schema of a stage table: key, the stage's own values, then the contract's columns."""
    return pa.schema(
        [*key, *values, *CONTRACT],
        metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
    )


@cache
def _array(values: tuple[str, ...]) -> pa.Array:
    """Names as an array, made once, and not on import: making any loads pandas where it is."""
    return pa.array(values, pa.string())


_STATUSES, _ERROR_KINDS = tuple(Status), tuple(ErrorKind)
_UNMADE = (Status.FAILED, Status.SKIPPED)


def broken_rules(table: pa.Table, required: Sequence[str] = ()) -> list[tuple[str, pa.Array]]:
    """The structural rules that rows of `table` break: (rule, mask of the offending rows).

    `required` are the value columns that an `ok` row always has.
    """
    status = table["status"]
    ok, pending = pc.equal(status, Status.OK), pc.equal(status, Status.PENDING)
    explained = ("rung", "fallback_used", "quality", "error_kind", "error", *required)
    missing = {name: pc.is_null(table[name]) for name in explained}
    out_of_range = _outside_unit(table["quality"])
    rules = [
        ("status is not one of the five", pc.invert(pc.is_in(status, _array(_STATUSES)))),
        (
            "error_kind is not in the taxonomy",
            pc.and_(
                pc.invert(missing["error_kind"]),
                pc.invert(pc.is_in(table["error_kind"], _array(_ERROR_KINDS))),
            ),
        ),
        ("rung is set exactly on ok rows", pc.equal(ok, missing["rung"])),
        (
            "fallback_used only on ok rows",
            pc.and_(pc.invert(ok), pc.invert(missing["fallback_used"])),
        ),
        ("quality is null exactly on pending rows", pc.xor(pending, missing["quality"])),
        ("quality is outside 0..1", out_of_range),
        ("confidence is outside 0..1", _outside_unit(table["confidence"])),
        (
            "failed and skipped rows say why",
            pc.and_(
                pc.is_in(status, _array(_UNMADE)),
                pc.or_(missing["error_kind"], missing["error"]),
            ),
        ),
        (
            "a fallback says why no better rung made it",
            pc.and_(pc.invert(missing["fallback_used"]), missing["error_kind"]),
        ),
        *((f"{name} is null on an ok row", pc.and_(ok, missing[name])) for name in required),
    ]
    return [(rule, mask) for rule, mask in rules if pc.any(mask).as_py()]


def _outside_unit(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which values are not in 0..1; NaN, which is neither less nor greater, is not."""
    inside = pc.and_(pc.greater_equal(column, 0), pc.less_equal(column, 1))
    return pc.fill_null(pc.invert(inside), False)


def check_contract(name: str, table: pa.Table, required: Sequence[str] = ()) -> None:
    """Raise `ContractError` for the first structural rule that a row of `table` breaks."""
    for rule, mask in broken_rules(table, required):
        row = table.filter(mask).slice(0, 1).to_pylist()[0]
        shown = {k: v for k, v in row.items() if k in ("item_id", "role", *CONTRACT_NAMES)}
        raise ContractError(name, rule, f"for example {shown}")
