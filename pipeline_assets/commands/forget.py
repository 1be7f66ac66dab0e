"""`forget`: items and URLs out of everything, with a proof, and kept out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline_assets.resources import Resources
from pipeline_assets.upkeep.forgetting import Erased, forget, found, wanted

NOT_OURS = (
    "not touched: the feed itself, backups, earlier versions of a bucket's objects, Dagster's own "
    "database (what it shows of a run has sample rows), what logs and alerts have said, and the "
    "search indexes of other hosts (`pipeline-assets index rebuild` there)"
)


def look(resources: Resources, names: Sequence[str]) -> str:
    """What would go, in one line, for whoever is asked."""
    return _listed(found(resources, wanted(names))) or "nothing yet"


def run(resources: Resources, names: Sequence[str]) -> dict[str, Any]:
    """Forget them; what went, what is left, and what comes next."""
    erased = forget(resources, wanted(names))
    return {**asdict(erased), "said": _said(erased)}


def _said(erased: Erased) -> list[str]:
    said = [
        f"removed: {_listed(erased.removed) or 'nothing'}",
        f"left, everything being read again: {_listed(erased.left) or 'nothing'}",
        "kept out from now on, whatever the feed has",
    ]
    if erased.left:
        said.append("a run may have been at work on it: run the same command again")
    if erased.hours:
        span = f"--from {erased.hours[0]} --to {erased.hours[-1]}"
        said.append(
            "the next run of these hours makes their figures anew, and what a forgotten URL had "
            f"been used for: pipeline-assets run {span}"
        )
    return [*said, NOT_OURS]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))
