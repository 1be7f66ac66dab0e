"""Filters: which current items may be found at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline_assets.core.quality import COMPARED_DIGITS
from pipeline_assets.core.status import Status
from pipeline_assets.search.rows import stages_text

# A condition on `entry`, for queries that bind what `Filters.values` gives.
PASSES = """(
    (:kind IS NULL OR entry.kind = :kind)
    AND (:label IS NULL OR entry.label = :label COLLATE NOCASE)
    AND (:first_hour IS NULL OR entry.hour >= :first_hour)
    AND (:last_hour IS NULL OR entry.hour <= :last_hour)
    AND (:min_quality IS NULL OR round(entry.quality, :digits) >= :min_quality)
    AND (:stages IS NULL OR NOT EXISTS (
        SELECT 1 FROM json_each(:stages) AS wanted WHERE instr(entry.stages, wanted.value) = 0
    ))
)"""


@dataclass(frozen=True, slots=True)
class Filters:
    """What hits must be; None and nothing mean any.

    Hours are names, both inclusive. An item whose quality is not known yet has not `min_quality`,
    not even 0. `stages` gives the status that a stage must have.
    """

    kind: str | None = None
    label: str | None = None
    first_hour: str | None = None
    last_hour: str | None = None
    min_quality: float | None = None
    stages: Mapping[str, Status] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """What `PASSES` binds."""
        stages = [stages_text({stage: status}) for stage, status in self.stages.items()]
        quality = self.min_quality
        return {
            "kind": self.kind,
            "label": self.label,
            "first_hour": self.first_hour,
            "last_hour": self.last_hour,
            "min_quality": None if quality is None else round(quality, COMPARED_DIGITS),
            "digits": COMPARED_DIGITS,
            "stages": json.dumps(stages) if stages else None,
        }


EVERYTHING = Filters()
