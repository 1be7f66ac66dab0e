"""What a server asks of those who would learn from its answers, in `X-Robots-Tag`."""

import re
from collections.abc import Iterable
from typing import Final

OUR_NAME: Final = "pipeline-assets"
OPT_OUTS: Final = frozenset({"noai", "noimageai"})
_AGENT: Final = re.compile(r"\s*([a-z0-9_*.-]+)\s*:\s*(.*)", re.DOTALL)
_WITH_A_VALUE: Final = ("unavailable_after", "max-")
"""Directives that are written with a colon, as an agent's name is."""


def opt_out(headers: Iterable[str]) -> str | None:
    """The directive that keeps us out: said to all, or to our name. None where there is none.

    Each header is a list of directives; one that begins with an agent's name holds for that agent.
    """
    for header in headers:
        agent = ""
        for part in header.lower().split(","):
            named = _AGENT.fullmatch(part)
            if named and not named[1].startswith(_WITH_A_VALUE):
                agent, part = named[1], named[2]  # noqa: PLW2901 - what follows the name
            if part.strip() in OPT_OUTS and agent in ("", "*", OUR_NAME):
                return part.strip()
    return None
