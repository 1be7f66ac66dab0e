"""Opening the resources inside a run, so that loading the definitions imports no adapter."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pipeline_assets.resources import Resources


def opened() -> "AbstractContextManager[Resources]":
    """The environment's resources, closed at the end of the `with` block."""
    from pipeline_assets.resources import opened as open_now  # noqa: PLC0415

    return open_now()
