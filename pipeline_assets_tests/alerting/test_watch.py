"""What runs and checks leave standing, and what is the accelerator's doing."""

from dataclasses import replace

from pipeline_assets.alerting.rules import Alert
from pipeline_assets.alerting.watch import (
    HEALED_WITHIN_S,
    STANDS_S,
    EndedRun,
    Evaluation,
    OutageCause,
    OutageWatch,
    after_causes,
    after_checks,
    after_runs,
    conditions,
    without_old,
)

DOWN = OutageCause("The accelerator is not there.", 100)
HOUR, OTHER = "2026-03-02-06", "2026-03-02-07"


def run(at: float, *, ok: bool = False, job: str = "hour", hour: str | None = HOUR) -> EndedRun:
    """A run at its end."""
    return EndedRun(f"run-{at:g}", job, hour, ok, at, "" if ok else "items: no feed")


def said(at: float, *, ok: bool = False, check: str = "quality", hour: str = HOUR) -> Evaluation:
    """What a check said."""
    return Evaluation("enriched_items", check, hour, ok, grave=False, at=at, said="not so: good")


def keys(watch: OutageWatch, *causes: OutageCause) -> list[str]:
    """What stands."""
    return [alert.key for alert in conditions(watch, causes)]


def degraded(watch: OutageWatch, *causes: OutageCause) -> Alert:
    """The one condition of an accelerator at fault."""
    return next(each for each in conditions(watch, causes) if each.key == "degraded:accelerator")


def test_a_failed_run_stands_until_one_of_its_job_and_hour_succeeds() -> None:
    """One condition, however often it is tried."""
    watch = after_runs(OutageWatch(), [run(1), run(2), run(3)])
    [alert] = conditions(watch, [])
    assert (alert.key, alert.since) == (f"run:hour/{HOUR}", 1)
    assert "Run run-3 failed: items: no feed" in alert.happened
    assert f"`pipeline-assets run --hour {HOUR}`" in alert.todo
    assert keys(after_runs(watch, [run(4, ok=True, hour=OTHER)])) == [alert.key]
    assert keys(after_runs(watch, [run(4, ok=True)])) == []


def test_a_run_of_the_whole_hour_makes_up_for_any_other_of_that_hour() -> None:
    """Also one from the asset's page; a part of the hour does not."""
    watch = after_runs(OutageWatch(), [run(1, job="heal"), run(1)])
    assert len(keys(watch)) == 2
    assert keys(after_runs(watch, [run(2, ok=True, job="heal")])) == [f"run:hour/{HOUR}"]
    assert keys(after_runs(watch, [run(2, ok=True, job="__ASSET_JOB")])) == []


def test_runs_that_are_seen_twice_leave_the_same_standing() -> None:
    """A look begins a little before the last one ended."""
    seen = [run(1), run(2, ok=True), run(3, hour=OTHER)]
    once = after_runs(OutageWatch(), seen)
    assert after_runs(once, seen[1:]) == once
    assert keys(once) == [f"run:hour/{OTHER}"]


def test_a_failed_run_that_nobody_runs_again_is_dropped_after_a_week() -> None:
    """It is no news to anybody."""
    watch = after_runs(OutageWatch(), [run(0)])
    assert without_old(watch, STANDS_S - 1) == watch
    assert keys(without_old(watch, STANDS_S)) == []


def test_a_failed_check_stands_until_it_passes_for_the_same_hour() -> None:
    """Whatever it is called."""
    watch = after_checks(OutageWatch(), [said(1), said(2, check="drift"), said(3, hour=OTHER)])
    assert len(keys(watch)) == 3
    watch = after_checks(watch, [said(4, ok=True), said(5, ok=True, check="drift")])
    assert keys(watch) == [f"check:enriched_items.quality/{OTHER}"]


def test_low_quality_is_the_accelerators_doing_while_it_is_at_fault() -> None:
    """One condition, from the first cause until the last hour is healed."""
    watch = after_causes(OutageWatch(), [DOWN], 110)
    watch = after_checks(watch, [said(120), said(130, hour=OTHER)])
    assert keys(watch, DOWN) == ["degraded:accelerator"]
    assert "2 hours are under their quality" in degraded(watch, DOWN).happened
    watch = after_causes(watch, [], 200)
    assert keys(watch) == ["degraded:accelerator"]
    assert "what it left is being healed" in degraded(watch).happened
    watch = after_causes(after_checks(watch, [said(210, ok=True)]), [], 210)
    assert keys(watch) == ["degraded:accelerator"]
    watch = after_causes(after_checks(watch, [said(220, ok=True, hour=OTHER)]), [], 220)
    assert keys(watch) == []


def test_low_quality_of_before_and_other_checks_stand_for_themselves() -> None:
    """An outage hides nothing that it did not do."""
    watch = after_checks(OutageWatch(), [said(50)])
    watch = after_causes(watch, [DOWN], 110)
    grave = replace(said(125, hour=OTHER), grave=True)
    watch = after_checks(watch, [said(120, check="drift"), grave])
    assert sorted(keys(watch, DOWN)) == [
        f"check:enriched_items.drift/{HOUR}",
        f"check:enriched_items.quality/{HOUR}",
        f"check:enriched_items.quality/{OTHER}",
        "degraded:accelerator",
    ]


def test_what_does_not_heal_in_time_stands_for_itself() -> None:
    """The next outage is a condition of its own then, and is not hidden by the last one."""
    watch = after_checks(after_causes(OutageWatch(), [DOWN], 110), [said(120)])
    watch = after_causes(watch, [], 110 + HEALED_WITHIN_S - 1)
    assert keys(watch) == ["degraded:accelerator"]
    watch = after_causes(watch, [], 110 + HEALED_WITHIN_S)
    assert keys(watch) == [f"check:enriched_items.quality/{HOUR}"]


def test_what_stands_outlives_the_process() -> None:
    """As JSON, whole."""
    watch = after_checks(
        after_runs(after_causes(OutageWatch(), [DOWN], 110), [run(1)]), [said(120)]
    )
    assert OutageWatch.loaded(watch.stored()) == watch


def test_an_hour_with_several_tables_under_their_quality_is_one_hour() -> None:
    """What is counted are hours, not checks."""
    watch = after_causes(OutageWatch(), [DOWN], 100)
    both = [said(110), replace(said(110), asset="image_labels")]
    assert "1 hours are under their quality" in degraded(after_checks(watch, both), DOWN).happened
