"""What a rung may give: whatever the table could not hold is refused before it gets there."""

from collections.abc import Sequence

from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import ConstraintBroken, Internal, RowError


def checked(
    stage: Stage, rung: Rung, works: Sequence[Work], outcomes: Sequence[object]
) -> Sequence[Outcome] | RowError:
    """What a rung gave for `works`, with an error in place of what no rung may give."""
    if len(outcomes) != len(works):
        return Internal(
            f"{rung.name} gave {len(outcomes)} outcomes for {len(works)} rows; "
            "a rung gives one outcome per row"
        )
    return [
        held(stage, rung, work, outcome) if isinstance(outcome, Made) else _no_value(rung, outcome)
        for work, outcome in zip(works, outcomes, strict=True)
    ]


def _no_value(rung: Rung, outcome: object) -> RowError:
    if isinstance(outcome, RowError):
        return outcome
    return Internal(f"{rung.name} gave {type(outcome).__name__}, not Made or a RowError")


def held(stage: Stage, rung: Rung, work: Work, made: Made) -> Outcome:
    """The value, unless the table could not hold it: one such row would refuse the hour."""
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
