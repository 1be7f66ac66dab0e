"""The drill's schedule: when, and what it asks for."""

from datetime import UTC, datetime

import dagster as dg

from pipeline_assets.core.names import FALLBACK_DRILL
from pipeline_assets.definitions import defs


def test_it_drills_on_sunday_mornings() -> None:
    """A tick asks for one run, of no hour."""
    schedule = defs.resolve_schedule_def("weekly_drill")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 4 * * 0", "UTC")
    sunday = datetime(2026, 3, 1, 4, 15, tzinfo=UTC)
    assert sunday.strftime("%A") == "Sunday"
    context = dg.build_schedule_context(
        scheduled_execution_time=sunday, repository_def=defs.get_repository_def()
    )
    (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert (schedule.job_name, request.partition_key) == ("drill", None)


def test_the_job_is_the_drill_with_its_check() -> None:
    """And no other job has it."""
    layer = defs.resolve_job_def("drill").asset_layer
    assert {key.to_user_string() for key in layer.selected_asset_keys} == {FALLBACK_DRILL}
    assert {key.name for key in layer.asset_graph.asset_check_keys} == {"fallbacks_work"}
    hour = defs.resolve_job_def("hour").asset_layer
    assert dg.AssetKey(FALLBACK_DRILL) not in hour.selected_asset_keys
