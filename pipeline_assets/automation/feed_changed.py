"""The cause to ask for closed hours whose feed has rows that their table has not."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.automation.asking import Cause, Look
from pipeline_assets.core.hours import hour_name
from pipeline_assets.errors import NoFeed
from pipeline_assets.healing.rules import Request, RequestLimits, WantedHour

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources
    from pipeline_assets.settings import Settings

PATIENCE_S = 5.0
"""How long a tick waits for a changed feed to be read: some 300,000 rows. A larger one is met by a
later tick; one after the other is what the daemon does with ticks, so a longer wait delays all."""

AFTER_THE_HOUR = timedelta(minutes=15)
"""The schedule asks for an hour first; its run has ten minutes to begin."""

MOST_TRIES = 3
AGAIN_AFTER_S = 3600.0
"""Whoever mends what made a run fail has an hour until it is asked for again."""


class FeedChanged(Cause):
    """Late, corrected and never built items; a run of the whole hour works on these alone."""

    name = "feed_changed"
    description = "Closed hours whose feed has late, corrected or never built items."
    every_s = 60
    key = "feed_changed"
    epoch_is = "version of its feed"
    nothing = "no closed hour waits"

    def order(self, hour: WantedHour) -> tuple[float | str, ...]:
        """Newest first: the digits of an hour's name, counted down."""
        return tuple(-int(part) for part in hour.hour.split("-"))

    def look(self, resources: "Resources", cursor: str | None) -> Look:
        """Read the feed where it has changed; the cursor is the version that was read last."""
        from pipeline_assets.ingest.changes import compared  # noqa: PLC0415 - loads adapters

        if not resources.settings.feed:
            return Look("no feed is set (PIPELINE_FEED)", cursor or "", held_back=True)
        try:
            seen = resources.feed.peek()
        except NoFeed as error:
            return Look(error.reason, cursor or "", held_back=True)
        if seen is not None and seen == cursor:
            return Look("the feed is as it was", cursor)
        found = compared(resources.settings, PATIENCE_S)
        if found is None:
            return Look("the feed has changed and is being read", cursor or "")
        said = (
            f"the feed has {found.rows} rows in {found.hours} hours, "
            f"{found.changed} of them with new or changed rows"
            + (f"; {found.unread} files cannot be read" if found.unread else "")
        )
        # A file that cannot be read now may be read later, although its time does not change.
        return Look(said, "" if found.unread else found.version)

    def wanted(self, resources: "Resources") -> Sequence[WantedHour]:
        """Those that are closed, and that the schedule had its turn with."""
        closed = hour_name(resources.clock() - AFTER_THE_HOUR)
        return [
            WantedHour(hour.hour, hour.epoch, hour.rows)
            for hour in resources.feed_hours.with_news(before=closed)
        ]

    def is_wanted(self, resources: "Resources", hour: WantedHour) -> bool:
        """The schedule may have built it meanwhile."""
        from pipeline_assets.ingest.changes import still_has_news  # noqa: PLC0415 - likewise

        return still_has_news(resources, hour.hour)

    def limits(self, settings: "Settings") -> RequestLimits:
        """An hour whose runs fail is given up until its feed changes once more."""
        return RequestLimits(
            settings.feed_per_tick, settings.feed_in_flight, MOST_TRIES, AGAIN_AFTER_S
        )

    def outcome(
        self, resources: "Resources", request: Request, runs: Sequence[dg.DagsterRun]
    ) -> tuple[int, int]:
        """A run that succeeded has left nothing to do."""
        if not any(run.is_success for run in runs):
            return request.rows, 0
        resources.feed_hours.built(request.hour, request.epoch)
        return 0, 0


FEED_CHANGED = FeedChanged()
