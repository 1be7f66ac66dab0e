"""What a rung may give: whatever the table could not hold is refused before it gets there."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import ConstraintBroken, Internal, RowError

SHARES = (pa.field("quality", pa.float32()), pa.field("confidence", pa.float32()))


@dataclass(frozen=True, slots=True)
class Uncountable:
    """Of a call with more or fewer outcomes than rows: nobody can tell whose they are."""

    error: Internal


def checked(
    stage: Stage, rung: Rung, works: Sequence[Work], outcomes: Sequence[object]
) -> Sequence[Outcome] | Uncountable:
    """What a rung gave for `works`, with an error in place of what no rung may give."""
    given = len(outcomes) if isinstance(outcomes, Sequence) else type(outcomes).__name__
    if given != len(works):
        said = f"{rung.name} gave {given} outcomes for {len(works)} rows"
        return Uncountable(Internal(f"{said}; a rung gives one outcome per row"))
    return held(stage, rung, works, outcomes)


def held(
    stage: Stage, rung: Rung, works: Sequence[Work], outcomes: Sequence[object]
) -> list[Outcome]:
    """Outcomes without what the table could not hold: one such row would refuse the hour."""
    sound = [
        _sound(stage, rung, work, outcome)
        if isinstance(outcome, Made)
        else _no_value(rung, outcome)
        for work, outcome in zip(works, outcomes, strict=True)
    ]
    made = [outcome for outcome in sound if isinstance(outcome, Made)]
    if _misfit(stage, made) is None:
        return sound
    return [_fitting(stage, rung, each) if isinstance(each, Made) else each for each in sound]


def _no_value(rung: Rung, outcome: object) -> RowError:
    if isinstance(outcome, RowError):
        return outcome
    return Internal(f"{rung.name} gave {type(outcome).__name__}, not Made or a RowError")


def _sound(stage: Stage, rung: Rung, work: Work, made: Made) -> Outcome:
    """The value, unless it breaks the contract."""
    if len(made.values) != len(stage.values):
        return Internal(
            f"{rung.name} made {len(made.values)} values; the table has {len(stage.values)} "
            "columns for them"
        )
    for share in (made.quality, made.confidence):
        if share is not None and not 0 <= share <= 1:
            return Internal(f"{rung.name} gave a quality or confidence of {share}, not 0..1")
    for position in stage.required_at:
        if made.values[position] is None:
            return Internal(f"{rung.name} made no {stage.values[position].name}, which is required")
    broken = stage.disagreement(rung, made.values, work)
    return made if broken is None else ConstraintBroken(broken)


def _fitting(stage: Stage, rung: Rung, made: Made) -> Outcome:
    misfit = _misfit(stage, [made])
    return made if misfit is None else Internal(f"{rung.name} made {misfit}")


def _misfit(stage: Stage, made: Sequence[Made]) -> str | None:
    """What is of another type than its column, or text that no encoding has."""
    if not made:
        return None
    columns = [*zip(*(each.values for each in made), strict=True)]
    columns += [tuple(each.quality for each in made), tuple(each.confidence for each in made)]
    for field, column in zip((*stage.values, *SHARES), columns, strict=True):
        try:
            pa.array(column, field.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            return f"a {field.name} that is no {field.type}: {type(error).__name__}: {error}"
    return None
