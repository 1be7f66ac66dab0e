"""What pixeltable computes for each row; it takes functions only from a module with a name."""

import pixeltable as pxt  # type: ignore[import-not-found] # of the peer's environment

FAILS_EVERY = 10


@pxt.udf  # type: ignore[untyped-decorator] # as above
def label(number: int) -> str:
    """Fail for 10 % of the numbers; do next to nothing for the others."""
    if number % FAILS_EVERY == 0:
        raise ValueError(f"{number} cannot be labelled")
    return f"label {number}"
