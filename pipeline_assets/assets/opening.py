"""Opening the resources inside a run, so that loading the definitions imports no adapter.

What ends a step in passing has Dagster try the step again: all that a step does is durable as it
goes and safe to repeat, while a failed step would end the run for good.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg
from sqlalchemy.exc import DBAPIError

from pipeline_assets.errors import LeaseHeld

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources

TRIES_AGAIN = 2
AFTER_A_LOST_CONNECTION_S = 5.0
AFTER_A_LEASE_S = 1.0
"""So much longer than the lease: that of a writer which died on another host runs out by then."""


@contextmanager
def opened() -> Iterator["Resources"]:
    """The environment's resources, closed at the end of the `with` block.

    Raises `RetryRequested` while another run writes the same table, and where the state database
    went away in the middle, as it does when it is started again.
    """
    from pipeline_assets.resources import opened as open_now  # noqa: PLC0415

    try:
        with open_now() as resources:
            yield resources
    except LeaseHeld as held:
        raise dg.RetryRequested(TRIES_AGAIN, held.seconds_left + AFTER_A_LEASE_S) from held
    except DBAPIError as lost:
        if not lost.connection_invalidated:
            raise
        raise dg.RetryRequested(TRIES_AGAIN, AFTER_A_LOST_CONNECTION_S) from lost
