"""Everything that stages are given of the outside: adapters, each made when it is needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from pipeline_assets.adapters.accelerator import Accelerator
from pipeline_assets.adapters.alerts import AlertBook
from pipeline_assets.adapters.blobs import Blobs
from pipeline_assets.adapters.breakers import BreakerStore
from pipeline_assets.adapters.budgets import Budgets
from pipeline_assets.adapters.cache import ResultCache
from pipeline_assets.adapters.clip import SHIPPED_MODELS, ClipModel, load_clip
from pipeline_assets.adapters.copies import Copies
from pipeline_assets.adapters.decisions import Decisions
from pipeline_assets.adapters.features import Features
from pipeline_assets.adapters.feed_hours import FeedHours
from pipeline_assets.adapters.files import hash_file
from pipeline_assets.adapters.heal_requests import HealRequests
from pipeline_assets.adapters.health import HealthStore
from pipeline_assets.adapters.hours import Hours
from pipeline_assets.adapters.http import HttpFetcher
from pipeline_assets.adapters.leases import Leases
from pipeline_assets.adapters.notifier import Notifier, parse_notifiers
from pipeline_assets.adapters.state import State
from pipeline_assets.adapters.tables import Tables
from pipeline_assets.core.sizes import BatchSizes
from pipeline_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from pipeline_assets.search.index import SearchIndex

PRIMARY, FALLBACK = "PIPELINE_PRIMARY_MODEL", "PIPELINE_FALLBACK_MODEL"


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


_loading = Lock()


def load_model(name: str, device: str, setting: str) -> ClipModel:
    """A model is loaded once for the life of the process, however many hours and threads use it."""
    with _loading:
        return _load_model(name, device, setting)


@lru_cache(maxsize=4)
def _load_model(name: str, device: str, setting: str) -> ClipModel:
    return load_clip(name, device, setting=setting)


@lru_cache(maxsize=1)
def _sizes() -> BatchSizes:
    """The batch sizes that worked, for the life of the process."""
    return BatchSizes()


@dataclass(frozen=True)
class Resources:
    """The adapters of one data root. Nothing is opened or loaded before it is asked for."""

    settings: Settings
    clock: Callable[[], datetime] = utc_now

    @property
    def data(self) -> Path:
        """The data root."""
        return self.settings.data

    @property
    def work(self) -> Path:
        """Where work in progress is kept."""
        return self.data / "work"

    @cached_property
    def tables(self) -> Tables:
        """The published tables."""
        return Tables(self.data / "tables")

    @cached_property
    def blobs(self) -> Blobs:
        """The packs of fetched bytes."""
        return Blobs(self.data / "blobs")

    @cached_property
    def state(self) -> State:
        """The state database."""
        return State(self.settings.database_url)

    @cached_property
    def breakers(self) -> BreakerStore:
        """The circuit breakers."""
        return BreakerStore(self.state)

    @cached_property
    def budgets(self) -> Budgets:
        """The spend caps, the retry tokens and the pause switch."""
        return Budgets(
            self.state,
            daily_usd=self.settings.daily_usd,
            stage_daily_usd=self.settings.stage_daily_usd,
        )

    @cached_property
    def leases(self) -> Leases:
        """The leases on asset and hour."""
        return Leases(self.state, self.work / "locks")

    @cached_property
    def copies(self) -> Copies:
        """Where the last good copy of a URL lies."""
        return Copies(self.state)

    @cached_property
    def decisions(self) -> Decisions:
        """What people decided about dead letters."""
        return Decisions(self.state, self.tables, self.work / "locks")

    @cached_property
    def hours(self) -> Hours:
        """The index of the hours."""
        return Hours(self.state, self.tables)

    @cached_property
    def heal_requests(self) -> HealRequests:
        """What was asked for to heal."""
        return HealRequests(self.state)

    @cached_property
    def feed_hours(self) -> FeedHours:
        """What is known of the feed's hours."""
        return FeedHours(self.state)

    @cached_property
    def alerts(self) -> AlertBook:
        """What stands and was said."""
        return AlertBook(self.state)

    @cached_property
    def notifiers(self) -> list[Notifier]:
        """Who is told."""
        return parse_notifiers(self.settings.notify)

    @cached_property
    def cache(self) -> ResultCache:
        """Results kept by key."""
        return ResultCache(self.state, self.settings.cache_max_bytes)

    @cached_property
    def accelerator(self) -> Accelerator:
        """The primary model's device."""
        return Accelerator(self.state, self.settings.accelerator)

    @cached_property
    def health(self) -> HealthStore:
        """What the probes of the accelerator have come to."""
        return HealthStore(self.state, self.settings.healthy_probes)

    @cached_property
    def fetcher(self) -> HttpFetcher:
        """The HTTP client."""
        return HttpFetcher(
            allow=self.settings.fetch_allow,
            concurrency=self.settings.fetch_concurrency,
            timeout_s=self.settings.fetch_timeout_s,
            max_bytes=self.settings.fetch_max_bytes,
        )

    @cached_property
    def primary(self) -> Features:
        """The primary model, on the accelerator."""
        name = self.settings.primary_model
        return Features(
            model=lambda: load_model(name, self.accelerator.device(), PRIMARY),
            producer=self._producer(name, PRIMARY),
            cache=self.cache,
            run=self.accelerator.run,
        )

    @cached_property
    def fallback(self) -> Features:
        """The fallback model, always on the CPU."""
        name = self.settings.fallback_model
        return Features(
            model=lambda: load_model(name, "cpu", FALLBACK),
            producer=self._producer(name, FALLBACK),
            cache=self.cache,
        )

    @cached_property
    def sizes(self) -> BatchSizes:
        """The batch sizes that worked."""
        return _sizes()

    @cached_property
    def search(self) -> "SearchIndex":
        """The search index."""
        from pipeline_assets.search.index import SearchIndex  # noqa: PLC0415 - FAISS

        return SearchIndex(self.data / "search")

    def close(self) -> None:
        """Close what was opened."""
        for name in ("fetcher", "state"):
            opened = self.__dict__.get(name)
            if opened is not None:
                opened.close()

    def _producer(self, name: str, setting: str) -> str:
        """The model's id, remembered for its files, so that planning need not load a model."""
        files = _signature(name)
        fact = f"clip:{name}:{files}"
        known = self.state.fact(fact)
        if known is None:
            known = load_model(name, "cpu", setting).id
            self.state.remember(fact, known)
        return str(known)


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[Resources]:
    """The resources of the settings, by default the environment's, closed at the end."""
    resources = Resources(settings or load_settings())
    try:
        yield resources
    finally:
        resources.close()


def _signature(name: str) -> str:
    """What tells the files of a local model from others; a published name stands for itself."""
    folder = SHIPPED_MODELS.get(name)
    if folder is None and name.startswith("local-dir:"):
        folder = Path(name.removeprefix("local-dir:"))
    if folder is None or not folder.is_dir():
        return ""
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*.pt")])
    return "+".join(hash_file(path)[:16] for path in weights)
