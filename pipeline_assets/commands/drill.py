"""`drill`: what forcing the fallbacks came to, and what that says of their factors."""

from typing import Any

from pipeline_assets.drill.forcing import last_drill
from pipeline_assets.drill.judging import Drilled, advice
from pipeline_assets.resources import Resources

SHOWN_DIGITS = 3


def results(resources: Resources) -> list[dict[str, Any]]:
    """The last drill: what each fallback made of how many rows, how fast, and how alike."""
    return [
        {
            "stage": each.stage,
            "rung": each.rung,
            "rows": each.rows,
            "made": each.made,
            "errors": dict(each.errors),
            "ms_p50": _rounded(each.ms_p50),
            "ms_p95": _rounded(each.ms_p95),
            "compared": each.compared,
            "agreement": _rounded(each.agreement),
            "factor": each.factor,
            "supported": each.supported,
        }
        for each in last_drill(resources.tables)
    ]


def factors(resources: Resources) -> list[dict[str, Any]]:
    """The factor of each fallback beside the one that the last drill supports."""
    return [_factor(each) for each in last_drill(resources.tables)]


def _factor(each: Drilled) -> dict[str, Any]:
    return {
        "stage": each.stage,
        "rung": each.rung,
        "factor": each.factor,
        "supported": each.supported,
        "advice": advice(each),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, SHOWN_DIGITS)
