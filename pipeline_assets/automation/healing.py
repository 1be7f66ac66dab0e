"""Healing by itself: a job that touches what may be better now, and two causes to ask for it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg

from pipeline_assets.assets.location import Location
from pipeline_assets.automation.asking import Cause, Look
from pipeline_assets.automation.schedules import hourly_assets
from pipeline_assets.checks.freshness import freshness_key
from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.names import ITEMS
from pipeline_assets.healing.hours import WaitsFor
from pipeline_assets.healing.rules import Request, RequestLimits, WantedHour
from pipeline_assets.stages import all_stages
from pipeline_assets.store.rung_calls import read_calls

if TYPE_CHECKING:
    from pipeline_assets.automation.dagster_internals import AssetJob
    from pipeline_assets.resources import Resources
    from pipeline_assets.settings import Settings


def heal_job(location: Location) -> "AssetJob":
    """An hour from `fetched` on; its feed is not read again."""
    names = [name for name in hourly_assets(location.settings) if name != ITEMS]
    return dg.define_asset_job(
        "heal",
        selection=dg.AssetSelection.assets(*location.keys(names))
        - dg.AssetSelection.checks(freshness_key(location)),
        executor_def=dg.in_process_executor,
        description="The rows of an hour that may be better now, and what follows from them.",
    )


class _Improvable(Cause):
    """Rows that may be better now."""

    nothing = "nothing improvable"
    waits_for: ClassVar[WaitsFor]

    def look(self, resources: "Resources", cursor: str | None) -> Look:  # noqa: ARG002 - no memory
        """Hours that were built before there was an index of them are put into it on the way."""
        from pipeline_assets.monitoring.known_hours import (  # noqa: PLC0415 - loads DuckDB
            learn_hours,
        )

        learn_hours(resources)
        return Look()

    def wanted(self, resources: "Resources") -> Sequence[WantedHour]:
        """As the index of the hours has them."""
        since = hour_name(resources.settings.start)
        return resources.hours.wanted(self.waits_for, since, self.epoch(resources))

    def epoch(self, resources: "Resources") -> int:  # noqa: ARG002 - there is but one
        """In which time each hour's tries are counted."""
        return 0

    def outcome(
        self, resources: "Resources", request: Request, runs: Sequence[dg.DagsterRun]
    ) -> tuple[int, int]:
        """What the index says by now."""
        left = resources.hours.improvable(self.waits_for, request.hour)
        return left, self.given(resources, request.hour, [run.run_id for run in runs])

    def given(self, resources: "Resources", hour: str, run_ids: Sequence[str]) -> int:  # noqa: ARG002
        """Which rung a row waits for is the row's own affair."""
        return 0

    def run_config(self, location: Location) -> dict[str, Any]:
        """What is current is left alone."""
        options = {"config": {"only_improvable": True}}
        stages = all_stages(location.settings)
        return {"ops": {location.op(stage.name): options for stage in stages}}


class Heal(_Improvable):
    """Rows that the accelerator could make better."""

    name = "heal_low_quality_partitions"
    description = (
        "When the accelerator is healthy: the worst hours with rows that it could make better."
    )
    every_s = 30
    key = "heal"
    epoch_is = "stretch of good health"
    waits_for = WaitsFor.ACCELERATOR

    def look(self, resources: "Resources", cursor: str | None) -> Look:
        """Nothing is asked for while a request would be in vain."""
        super().look(resources, cursor)
        why = _held_back(resources)
        return Look(said=why, held_back=why is not None)

    def epoch(self, resources: "Resources") -> int:
        """Of the accelerator's health."""
        return resources.health.current().epoch

    def limits(self, settings: "Settings") -> RequestLimits:
        """A few tries in each stretch of good health."""
        return RequestLimits(settings.heal_per_tick, settings.heal_in_flight, settings.heal_tries)

    def given(self, resources: "Resources", hour: str, run_ids: Sequence[str]) -> int:
        """How many rows the runs gave to accelerated rungs, or found kept results of."""
        accelerated = {
            (stage.name, rung.name)
            for stage in all_stages(resources.settings)
            for rung in stage.rungs
            if rung.accelerated
        }
        return sum(
            call["rows"] + call["recalled"]
            for call in read_calls(resources.tables, hour).to_pylist()
            if call["run_id"] in run_ids and (call["stage"], call["rung"]) in accelerated
        )


class Retry(_Improvable):
    """Rows that failed in passing."""

    name = "retry_due"
    description = (
        "Hours with rows that failed in passing and may be tried again, the most urgent first."
    )
    every_s = 60
    key = "retry"
    epoch_is = "time"
    waits_for = WaitsFor.ANOTHER_TRY

    def limits(self, settings: "Settings") -> RequestLimits:
        """A row says itself when it is tried again, and how often."""
        return RequestLimits(settings.heal_per_tick, settings.heal_in_flight, tries=None)


HEAL, RETRY = Heal(), Retry()


def _held_back(resources: "Resources") -> str | None:
    """Why nothing is asked for at all."""
    health = resources.health.current()
    if not health.healthy:
        since = datetime.fromtimestamp(health.since, UTC)
        return f"the accelerator is not healthy since {since:%Y-%m-%dT%H:%M:%SZ}: {health.reason}"
    if refusing := list(_refusing(resources)):
        return f"the accelerator is healthy, but no call is let through to {', '.join(refusing)}"
    return None


def _refusing(resources: "Resources") -> Iterator[str]:
    """The accelerated rungs whose breaker waits: a request would be in vain."""
    for stage in all_stages(resources.settings):
        gate = resources.breakers.gate(stage.breaker)
        names = [f"{stage.name}.{rung.name}" for rung in stage.rungs if rung.accelerated]
        yield from (name for name in names if not gate.available(name))
