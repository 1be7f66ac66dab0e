"""What the rows of a table should reach: defaults by asset, and over them what settings say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline_assets.core.names import ENRICHED
from pipeline_assets.errors import SettingsError

SETTING = "PIPELINE_QUALITY_LIMITS"


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """Shares and qualities, 0..1; None: it does not matter.

    `mean` and `p10` are of the qualities that are known, `share` is how many of them reach
    PIPELINE_QUALITY_THRESHOLD. `ok` is how many rows of those with something to do have a value,
    `internal` how many rows at most may have met an unclassified exception.
    """

    mean: float | None = None
    p10: float | None = None
    share: float | None = None
    ok: float | None = 0.8
    internal: float = 0.0

    def rules(self, threshold: float) -> dict[str, str]:
        """What is asked of qualities and values, in words by limit; of what does not matter, none.

        `internal` is not among them: it has a check of its own.
        """
        said = {
            "share": f"at least {100 * (self.share or 0):g}% of the rows reach {threshold}",
            "mean": f"the mean is at least {self.mean}",
            "p10": f"the tenth percentile is at least {self.p10}",
            "ok": f"at least {100 * (self.ok or 0):g}% of the rows are ok",
        }
        return {limit: text for limit, text in said.items() if getattr(self, limit) is not None}


def default_limits(asset: str, threshold: float) -> QualityLimits:
    """A stage should make values; how good they are is judged once, of whole items."""
    if asset == ENRICHED:
        return QualityLimits(mean=threshold, p10=0.5, share=0.8)
    return QualityLimits()


def limits_by_asset(
    assets: Sequence[str], threshold: float, chosen: Mapping[str, float]
) -> dict[str, QualityLimits]:
    """The limits of each asset; `chosen` are `asset.limit` pairs that go over the defaults.

    Raises `SettingsError` for an asset or a limit that there is none of.
    """
    limits = {asset: default_limits(asset, threshold) for asset in assets}
    for name, value in chosen.items():
        asset, _, limit = name.partition(".")
        if asset not in limits or limit not in QualityLimits.__slots__:
            raise SettingsError(
                SETTING,
                name,
                f"ASSET.LIMIT, with one of {', '.join(assets)} and one of "
                f"{', '.join(QualityLimits.__slots__)}",
            )
        limits[asset] = replace(limits[asset], **{limit: value})
    return limits
