"""The accelerator's health in real state databases, with a clock that is moved by hand."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from pipeline_assets.accelerator.accelerator import DeviceHealth
from pipeline_assets.accelerator.health import NEVER_PROBED, HealthState
from pipeline_assets.accelerator.health_store import HealthStore
from pipeline_assets.state.database import State
from pipeline_assets_tests.conftest import Clock

WELL = DeviceHealth("cpu", "CPU", healthy=True, reason=None)
ILL = DeviceHealth("cpu", "", healthy=False, reason="Unavailable: not there")
DAEMONS, PROBES_EACH = 4, 10


@pytest.fixture
def state(database_url: str, clock: Clock) -> Iterator[State]:
    """A state database on the test's clock."""
    opened = State(database_url, clock=clock.seconds)
    yield opened
    opened.close()


@pytest.fixture
def store(state: State) -> HealthStore:
    """The health in that database."""
    return HealthStore(state)


def gpu(errors: int | None, uuid: str | None = "GPU-1") -> DeviceHealth:
    """A GPU whose kernel came out right."""
    return replace(WELL, device="cuda", uuid=uuid, ecc_uncorrected=errors)


def probed(store: HealthStore, *found: DeviceHealth) -> list[bool]:
    """Whether it is healthy after each probe."""
    return [store.probe(lambda each=each: each).after.healthy for each in found]  # type: ignore[misc]


def test_before_the_first_probe_it_is_healthy(store: HealthStore) -> None:
    """Nobody waits for a sensor that was never switched on."""
    assert store.current() == NEVER_PROBED
    assert store.memory().probed_at == 0.0


def test_a_probe_gives_the_state_before_and_after_and_what_it_found(
    store: HealthStore, clock: Clock
) -> None:
    """Stored at the time of the database's clock."""
    probe = store.probe(lambda: ILL)
    ill = HealthState(False, 0, clock.seconds(), 0, ILL.reason)
    assert (probe.before, probe.after, probe.found) == (NEVER_PROBED, ill, ILL)
    assert store.current() == ill
    clock.advance(30)
    assert store.probe(lambda: WELL).before == ill
    assert store.memory().probed_at == clock.seconds()
    assert store.current().since == clock.seconds() - 30


def test_every_process_has_the_same_opinion(state: State, store: HealthStore) -> None:
    """Good probes of several daemons in a row make it healthy."""
    elsewhere = HealthStore(state)
    probed(store, ILL, WELL)
    probed(elsewhere, WELL)
    assert not elsewhere.current().healthy
    probed(store, WELL)
    assert elsewhere.current() == replace(store.current(), healthy=True, epoch=1, streak=3)


def test_how_many_good_probes_it_takes_can_be_set(state: State) -> None:
    """PIPELINE_HEALTHY_PROBES."""
    assert probed(HealthStore(state, 1), ILL, WELL) == [False, True]
    assert probed(HealthStore(state, 4), ILL, WELL, WELL, WELL, WELL) == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("errors", "healthy"),
    [
        ((0, 0), True),
        ((7, 7), True),  # from before the first probe
        ((0, 1), False),
        ((None, 3), True),
        ((3, None, 3), True),
        ((3, None, 4), False),  # they came while nobody could count
        ((9, 0, 0), True),  # the driver was loaded anew
        ((9, 0, 1), False),
    ],
)
def test_new_uncorrectable_memory_errors_are_unhealthy(
    store: HealthStore, errors: tuple[int | None, ...], healthy: bool
) -> None:
    """Even if the kernel came out right."""
    assert probed(store, *map(gpu, errors))[-1] is healthy
    assert healthy or "1 new uncorrectable" in (store.current().reason or "")


def test_memory_errors_are_counted_for_each_gpu(store: HealthStore) -> None:
    """Another card's old errors are not this one's new ones."""
    assert probed(store, gpu(0), gpu(5, "GPU-2"), gpu(6, "GPU-2")) == [True, True, False]


def test_after_memory_errors_good_probes_bring_the_trust_back(store: HealthStore) -> None:
    """The count stands; only more of them would be news."""
    assert probed(store, gpu(0), gpu(1), gpu(1), gpu(1), gpu(1)) == [True, *[False] * 3, True]


def test_no_probe_is_lost_where_many_daemons_probe_at_once(
    database_url: str, store: HealthStore
) -> None:
    """Each one counts once."""
    begin = Barrier(DAEMONS)

    def daemon(_number: int) -> None:
        own = State(database_url)
        mine = HealthStore(own)
        begin.wait()
        for _ in range(PROBES_EACH):
            mine.probe(lambda: WELL)
        own.close()

    with ThreadPoolExecutor(DAEMONS) as daemons:
        list(daemons.map(daemon, range(DAEMONS)))
    assert store.current() == HealthState(streak=DAEMONS * PROBES_EACH)


def test_a_look_that_takes_long_keeps_nobody_from_the_database(state: State) -> None:
    """What was stored meanwhile counts as well."""
    store = HealthStore(state)

    def slow() -> DeviceHealth:
        HealthStore(state).probe(lambda: ILL)
        return WELL

    looks: Callable[[], DeviceHealth] = slow
    probe = store.probe(looks)
    assert (probe.before.healthy, probe.after.streak) == (False, 1)
