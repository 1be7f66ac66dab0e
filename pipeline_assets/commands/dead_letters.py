"""`dead-letters list | requeue | discard`: rows that trying again cannot help, until told so."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from pipeline_assets.core.names import DEAD_LETTERS, ITEMS
from pipeline_assets.core.plan import Verdict
from pipeline_assets.core.status import Status
from pipeline_assets.engine.inputs import KEYS, read_ids
from pipeline_assets.errors import ErrorKind, SettingsError
from pipeline_assets.monitoring.slices import show_all_rows
from pipeline_assets.resources import Resources
from pipeline_assets.stages import stage_tables
from pipeline_assets.state.decisions import DeadRow
from pipeline_assets.store.tables import Tables
from pipeline_assets.upkeep.lost_state import recover

if TYPE_CHECKING:
    from pipeline_assets.core.rows import RowId

DONE = {Verdict.REQUEUE: "requeued", Verdict.DISCARD: "discarded"}
NOW_COLUMNS = ("status", "retryable", "key", "updated_at")

# A slice of an older program has neither key nor first_seen. It was made before the decisions that
# are laid over it, so these say themselves whether they still stand, by the rules of the plan.
QUERY = """
    WITH letters AS (
        FROM slices
        UNION ALL BY NAME
        SELECT NULL::VARCHAR AS key, NULL::TIMESTAMPTZ AS first_seen WHERE false
    ), listed AS (
        SELECT letters.hour, letters.item_id, letters.stage, letters.role, error_kind, error,
               attempts, cost_usd, coalesce(first_seen, last_seen) AS first_seen, last_seen,
               verdict AS decision, made_at AS decided_at, why,
               CASE verdict
                 WHEN 'requeue' THEN seen >= last_seen
                 WHEN 'discard' THEN coalesce(split_part(key, '.', 1) = input, true)
               END AS stands
        FROM letters LEFT JOIN decided
          ON letters.hour = decided.hour AND letters.stage = decided.stage
         AND letters.item_id = decided.item_id AND letters.role IS NOT DISTINCT FROM decided.role
        WHERE ($reason IS NULL OR error_kind = $reason)
          AND ($hour IS NULL OR letters.hour = $hour)
          AND ($stage IS NULL OR letters.stage = $stage)
          AND (len($items) = 0 OR list_contains($items, letters.item_id))
    )
    SELECT * FROM listed
    ORDER BY coalesce(decision = 'discard' AND stands, false), hour DESC, item_id, stage, role
    LIMIT $limit
"""


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters are meant. What is None, or empty, narrows nothing."""

    reason: str | None = None
    stage: str | None = None
    hour: str | None = None
    items: tuple[str, ...] = ()


EVERYTHING = LetterFilter()


def dead_letters(
    resources: Resources, wanted: LetterFilter, limit: int | None = None
) -> list[dict[str, Any]]:
    """The dead letters with what people decided about them, newest hour first.

    Those that are discarded come last; `stands` says whether a decision still does. Raises
    `SettingsError` for a reason or a stage that does not exist.
    """
    _check("reason", wanted.reason, list(ErrorKind))
    _check("stage", wanted.stage, stage_tables(resources.settings))
    recover(resources)  # or what was decided before the database was lost would not be known
    bound = {
        "reason": wanted.reason,
        "hour": wanted.hour,
        "stage": wanted.stage,
        "items": list(wanted.items),
        "limit": limit,
    }
    with resources.tables.connect() as connection:
        if not show_all_rows(resources, DEAD_LETTERS, connection):
            return []
        connection.register("decided", resources.decisions.all(wanted.hour))
        found = connection.execute(QUERY, bound)
        columns = [column[0] for column in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def decide(
    resources: Resources, verdict: Verdict, wanted: LetterFilter, why: str
) -> dict[str, Any]:
    """Requeue or discard the dead letters that are meant; what came of it, and what comes next."""
    matching = dead_letters(resources, wanted)
    letters = [row for row in matching if verdict is Verdict.DISCARD or row["stage"] != ITEMS]
    rows = list(_as_they_stand(resources.tables, letters))
    resources.decisions.decide(rows, verdict, why)
    exceptions = {
        "of these decided about otherwise before": sum(
            bool(row["stands"]) and row["decision"] != verdict for row in letters
        ),
        "left as they are, since a run has worked on them": len(letters) - len(rows),
        f"left as they are, since they are mended in the feed ({ITEMS})": (
            len(matching) - len(letters)
        ),
    }
    hours = sorted({row.hour for row in rows})
    return {
        "verdict": verdict.value,
        "rows": len(rows),
        "hours": hours,
        "said": [
            f"dead letters {DONE[verdict]}: {len(rows)}",
            *(f"{what}: {count}" for what, count in exceptions.items() if count),
            *_next(verdict, hours),
        ],
    }


def _check(field: str, value: str | None, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise SettingsError(field, value, f"one of {', '.join(allowed)}")


def _as_they_stand(tables: Tables, letters: Sequence[dict[str, Any]]) -> Iterator[DeadRow]:
    """The rows of the letters in their own tables, where they are dead letters still."""
    wanted: dict[tuple[str, str], set[RowId]] = defaultdict(set)
    for letter in letters:
        row_id = tuple(filter(None, (letter["item_id"], letter["role"])))
        wanted[letter["hour"], letter["stage"]].add(row_id)
    for (hour, stage), ids in wanted.items():
        keys = [name for name in KEYS if name in tables.schema(stage, hour).names]
        table = tables.read(stage, hour, [*keys, *NOW_COLUMNS])
        dead = pc.and_not(pc.equal(table["status"], Status.FAILED), table["retryable"])
        table = table.filter(dead)
        for row_id, row in zip(read_ids(table), table.to_pylist(), strict=True):
            if row_id in ids:
                yield DeadRow(hour, stage, row_id, row["key"], row["updated_at"])


def _next(verdict: Verdict, hours: Sequence[str]) -> Iterator[str]:
    if not hours:
        return
    if verdict is Verdict.DISCARD:
        yield (
            "no run works on them until their input changes; "
            "`pipeline-assets dead-letters requeue` takes it back"
        )
        return
    span = f"--hour {hours[0]}" if len(hours) == 1 else f"--from {hours[0]} --to {hours[-1]}"
    yield f"the next run of these hours works on them: pipeline-assets run {span}"
