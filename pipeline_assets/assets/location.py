"""The code location that the definitions are made for: its settings, its hours, its asset keys.

Resources are opened inside a run, so that loading the definitions imports no adapter. What ends a
step in passing has Dagster try the step again: all that a step does is durable as it goes and safe
to repeat, while a failed step would end the run for good.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import dagster as dg
from sqlalchemy.exc import DBAPIError

from pipeline_assets.core.hours import HOUR_FORMAT
from pipeline_assets.errors import LeaseHeld
from pipeline_assets.settings import Settings
from pipeline_assets.stages import strict_tables

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources

TRIES_AGAIN: Final = 2
AFTER_A_LOST_CONNECTION_S: Final = 5.0
AFTER_A_LEASE_S: Final = 1.0
"""So much longer than the lease: that of a writer which died on another host runs out by then."""


@dataclass(frozen=True)
class Location:
    """What every asset, check, sensor and job of one set of definitions has in common.

    `key_prefix` comes before the name in each asset key. Where the settings are the environment's,
    a step goes by those that this has when the step begins.
    """

    settings: Settings
    key_prefix: tuple[str, ...] = ()
    of_environment: bool = False

    @cached_property
    def hours(self) -> dg.HourlyPartitionsDefinition:
        """One partition for each closed hour, UTC, from PIPELINE_START on.

        No asset has a backfill policy, and so a backfill has a run for each hour. The policy that
        says the same, one partition per run, makes runs of a range of one hour, without the
        partition's tag: the limit of one run for each hour would not see them.
        """
        start = f"{self.settings.start:{HOUR_FORMAT}}"
        return dg.HourlyPartitionsDefinition(start_date=start, fmt=HOUR_FORMAT, timezone="UTC")

    @cached_property
    def strict(self) -> frozenset[str]:
        """The tables whose failed rows keep what depends on them pending."""
        return strict_tables(self.settings)

    def key(self, name: str) -> dg.AssetKey:
        """The asset key of a table or asset of this name."""
        return dg.AssetKey([*self.key_prefix, name])

    def keys(self, names: Iterable[str]) -> list[dg.AssetKey]:
        """The asset keys of several."""
        return [self.key(name) for name in names]

    def op(self, name: str) -> str:
        """What Dagster calls the op of an asset, which its configuration in a run goes by."""
        return "__".join([*self.key_prefix, name])

    @contextmanager
    def opened(self) -> Iterator["Resources"]:
        """The resources of the settings, closed at the end of the `with` block.

        Raises `RetryRequested` while another run writes the same table, and where the state
        database went away in the middle, as it does when it is started again.
        """
        from pipeline_assets.resources import opened  # noqa: PLC0415 - loads adapters

        try:
            with opened(None if self.of_environment else self.settings) as resources:
                yield resources
        except LeaseHeld as held:
            raise dg.RetryRequested(TRIES_AGAIN, held.seconds_left + AFTER_A_LEASE_S) from held
        except DBAPIError as lost:
            if not lost.connection_invalidated:
                raise
            raise dg.RetryRequested(TRIES_AGAIN, AFTER_A_LOST_CONNECTION_S) from lost
