"""Has a feature moved? Two samples of it in, a `Comparison` out; the statistics are scipy's.

Three things keep it from crying wolf. Every distance comes with a p-value, since between small
samples distances are large by chance; every p-value with a distance, since between large samples
any trifle is certain; and the p-values of an hour are adjusted together, since of many features
one looks moved by chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Counts = Mapping[str, int]

FALSE_ALARMS = 0.002
"""The share of unchanged hours in which any feature may look moved, by chance alone: 0.2 alarms are
expected of 100 such hours, and two or more in 2 of 100 such hundreds."""

MOVED_CATEGORIES = 0.07
"""The least Jensen-Shannon distance that counts. When 15 points go from one half of all to the
other, which shows least, samples of 500 measured 0.13 in the middle, and 95 of 100 over 0.09."""

MOVED_NUMBERS = 0.07
"""The least Kolmogorov-Smirnov distance that counts. Samples of 500 measured 0.15 and more for half
a standard deviation, 0.074 and more for lengths that grow by 30 % and spread over decades."""

MIN_EXPECTED = 5.0
"""Rarer categories are counted together: the chi-squared test is not to be trusted below."""

JENSEN_SHANNON, KOLMOGOROV_SMIRNOV = "jensen-shannon", "kolmogorov-smirnov"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a feature is from its reference: `distance` is 0 (the same) to 1.

    `psi` is the population stability index of categories; `shift` is how far numbers would have to
    be carried (Wasserstein), in standard deviations of the reference: null where that has none.
    `moved` says what moved, for people.
    """

    measure: str
    distance: float
    p_value: float
    moved: str
    psi: float | None = None
    shift: float | None = None

    @property
    def matters(self) -> bool:
        """Whether the distance is worth a word, however certain it is."""
        least = MOVED_CATEGORIES if self.measure == JENSEN_SHANNON else MOVED_NUMBERS
        return self.distance >= least


def compare_categories(now: Counts, before: Counts) -> Comparison:
    """Counts by category against those of the reference; neither is without any."""
    from scipy.spatial.distance import jensenshannon  # noqa: PLC0415 - half a second
    from scipy.stats import entropy  # noqa: PLC0415

    names = sorted({*now, *before})
    counts = np.array([[side.get(name, 0) for name in names] for side in (now, before)], float)
    shares = counts / counts.sum(axis=1, keepdims=True)
    # Half a row more everywhere: of a category that one side lacks, the index would be infinite.
    filled = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    return Comparison(
        JENSEN_SHANNON,
        float(np.nan_to_num(jensenshannon(*shares, base=2))),
        _chi_squared(counts),
        _moved_share(names, shares),
        psi=float(entropy(*filled) + entropy(*filled[::-1])),
    )


def compare_numbers(now: Numbers, before: Numbers) -> Comparison:
    """Numbers against those of the reference; neither is empty.

    The p-value is that of the test which is surer: Kolmogorov-Smirnov sees any change of shape,
    Mann-Whitney a moved middle sooner. For having asked two, it is doubled.
    """
    from scipy.stats import (  # noqa: PLC0415 - half a second
        ks_2samp,
        mannwhitneyu,
        wasserstein_distance,
    )

    shape = ks_2samp(now, before, method="asymp")
    middle = mannwhitneyu(now, before, method="asymptotic")
    spread = float(before.std())
    medians = (float(np.median(before)), float(np.median(now)))
    return Comparison(
        KOLMOGOROV_SMIRNOV,
        float(shape.statistic),
        # Where all numbers are the same there is nothing to rank.
        min(1.0, 2 * float(np.nanmin([shape.pvalue, middle.pvalue]))),
        f"median {medians[0]:.4g} → {medians[1]:.4g}",
        shift=float(wasserstein_distance(now, before)) / spread if spread else None,
    )


def adjusted(p_values: Sequence[float]) -> list[float]:
    """p-values that allow for how many there are (Benjamini and Hochberg).

    In an hour where nothing moved, any of them is below a limit as often as the limit says.
    """
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - half a second

    return [float(p) for p in false_discovery_control(p_values)] if p_values else []


def _chi_squared(counts: NDArray[np.float64]) -> float:
    from scipy.stats import chi2_contingency  # noqa: PLC0415 - half a second

    totals = counts.sum(axis=0)
    rare = totals / totals.sum() * np.min(counts.sum(axis=1)) < MIN_EXPECTED
    pooled = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    return float(chi2_contingency(pooled).pvalue) if pooled.shape[1] > 1 else 1.0


def _moved_share(names: Sequence[str], shares: NDArray[np.float64]) -> str:
    now, before = shares
    most = int(np.argmax(np.abs(now - before)))
    return f"{names[most]} {before[most]:.1%} → {now[most]:.1%}"
