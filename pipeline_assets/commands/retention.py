"""`retention`: what is old enough goes, or is only looked at."""

from typing import Any

from pipeline_assets.resources import Resources
from pipeline_assets.upkeep.retention import Retained, figures, retain


def run(resources: Resources, *, dry_run: bool) -> dict[str, Any]:
    """What went, or would go."""
    done = retain(resources, dry_run=dry_run)
    return {**figures(done), "said": _said(done, dry_run=dry_run)}


def _said(done: Retained, *, dry_run: bool) -> list[str]:
    packs = done.packs
    rows = ", ".join(f"{table} {count}" for table, count in sorted(done.superseded.items()))
    return [
        "nothing is changed, since this is a dry run; it would be:" if dry_run else "let go:",
        f"superseded rows (PIPELINE_KEEP_SUPERSEDED): {rows or 'none'}",
        (
            f"finished rows of interrupted runs (PIPELINE_KEEP_WORK): {done.work_rows}, "
            f"{done.work_bytes} bytes; they are worked on anew when their hours are run"
        ),
        f"copies of URLs that no row refers to (PIPELINE_KEEP_COPIES): {packs.copies}",
        (
            f"packs: {len(packs.removed)} removed, {len(packs.rewritten)} rewritten without what "
            f"is unused, {packs.freed_bytes} bytes"
        ),
        *(f"damaged, and left as it is: {pack}" for pack in packs.unreadable),
        *(f"waits for the next time: {why}" for why in done.waits),
    ]
