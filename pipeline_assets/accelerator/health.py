"""Whether the accelerator may be trusted with work: (state, probe, now) → state.

One bad probe is enough to distrust it; only several good ones in a row bring the trust back, so
that a device that comes and goes does not send every waiting row to its end and back.

Times are seconds on one clock, the database's.
"""

from dataclasses import dataclass, replace

HEALTHY_PROBES = 3
"""A minute and a half at the sensor's pace: longer than a driver takes to reset a device."""


@dataclass(frozen=True, slots=True)
class HealthState:
    """Healthy or not, since when, and why not.

    `epoch` counts the recoveries: it names a time of good health, in which each piece of waiting
    work is asked for once. `streak` is the number of good probes in a row. `since` is 0 until the
    first change: who was never seen ill is healthy from the beginning.
    """

    healthy: bool = True
    epoch: int = 0
    since: float = 0.0
    streak: int = 0
    reason: str | None = None

    @property
    def name(self) -> str:
        """What tells this stretch of health or illness from every other one of a data root."""
        return f"{'healthy' if self.healthy else 'unhealthy'}, epoch {self.epoch}"

    @property
    def recovered(self) -> bool:
        """Whether it is healthy after an illness."""
        return self.healthy and self.epoch > 0


NEVER_PROBED = HealthState()


def observe(
    state: HealthState, probe_ok: bool, reason: str | None, now: float, k: int
) -> HealthState:
    """What a probe makes of the state; `reason` is what was wrong with a bad one."""
    if not probe_ok:
        since = now if state.healthy else state.since
        return HealthState(False, state.epoch, since, 0, reason)
    streak = state.streak + 1
    if state.healthy or streak < k:
        return replace(state, streak=streak)
    return HealthState(True, state.epoch + 1, now, streak, None)
