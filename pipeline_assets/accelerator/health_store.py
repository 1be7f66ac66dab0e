"""The accelerator's health in the state database: one opinion for all daemons, on its clock."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from pipeline_assets.accelerator.accelerator import DeviceHealth
from pipeline_assets.accelerator.health import HEALTHY_PROBES, NEVER_PROBED, HealthState, observe
from pipeline_assets.state.database import State, facts

HEALTH = "accelerator.health"


@dataclass(frozen=True, slots=True)
class EccCount:
    """How many uncorrectable memory errors a GPU was last seen with."""

    uuid: str
    errors: int


@dataclass(frozen=True, slots=True)
class HealthMemory:
    """What is kept of all probes; `probed_at` is 0 before the first."""

    state: HealthState = NEVER_PROBED
    probed_at: float = 0.0
    ecc: EccCount | None = None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe found, and what it made of the state."""

    before: HealthState
    after: HealthState
    found: DeviceHealth


class HealthStore:
    """Takes each probe into account once, however many probe at the same time."""

    def __init__(self, state: State, healthy_probes: int = HEALTHY_PROBES) -> None:
        self._state, self.healthy_probes = state, healthy_probes

    def current(self) -> HealthState:
        """The state, as the probes up to now have left it."""
        return self.memory().state

    def memory(self) -> HealthMemory:
        """The state, and when it was last looked at."""
        return _loaded(self._state.fact(HEALTH))

    def probe(self, look: Callable[[], DeviceHealth]) -> ProbeResult:
        """Look at the accelerator, and store what that makes of its state."""
        found = look()  # before the transaction: a device that hangs must not hold the database
        with self._state.transaction() as connection:
            before = self._locked(connection)
            now = self._state.now(connection)
            reason = found.reason or _new_ecc_errors(before.ecc, found)
            after = observe(before.state, reason is None, reason, now, self.healthy_probes)
            memory = HealthMemory(after, now, _ecc(found) or before.ecc)
            connection.execute(
                sa.update(facts).where(facts.c.name == HEALTH).values(value=asdict(memory))
            )
        return ProbeResult(before.state, after, found)

    def _locked(self, connection: sa.Connection) -> HealthMemory:
        """The memory, which nobody else changes before the transaction ends."""
        self._state.add_missing(connection, facts, name=HEALTH, value=asdict(HealthMemory()))
        query = sa.select(facts.c.value).where(facts.c.name == HEALTH).with_for_update()
        return _loaded(connection.execute(query).scalar_one())


def _loaded(stored: Any) -> HealthMemory:
    if stored is None:
        return HealthMemory()
    ecc = stored["ecc"]
    return HealthMemory(
        HealthState(**stored["state"]),
        stored["probed_at"],
        None if ecc is None else EccCount(**ecc),
    )


def _ecc(found: DeviceHealth) -> EccCount | None:
    if found.uuid is None or found.ecc_uncorrected is None:
        return None
    return EccCount(found.uuid, found.ecc_uncorrected)


def _new_ecc_errors(before: EccCount | None, found: DeviceHealth) -> str | None:
    """Errors that came since the last probe; those from before the first are no news."""
    now = _ecc(found)
    if before is None or now is None or now.uuid != before.uuid or now.errors <= before.errors:
        return None
    return (
        f"{now.errors - before.errors} new uncorrectable memory errors (ECC) on {now.uuid}; "
        "`nvidia-smi -q -d ECC` says where. The device is trusted again after enough good probes"
    )
