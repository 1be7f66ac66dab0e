"""Everything that stages are given of the outside: adapters, each made when it is needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from pipeline_assets.accelerator.accelerator import Accelerator
from pipeline_assets.accelerator.health_store import HealthStore
from pipeline_assets.alerting.book import AlertBook
from pipeline_assets.alerting.notifier import Notifier, parse_notifiers
from pipeline_assets.core.sizes import BatchSizes
from pipeline_assets.documents.parsers import Parsers, shared_parsers
from pipeline_assets.errors import keep_secret
from pipeline_assets.feed.download import DownloadRules, Downloads
from pipeline_assets.feed.feed import Feed
from pipeline_assets.feed.hours import FeedHours
from pipeline_assets.feed.landing import Landings
from pipeline_assets.feed.mapping import FeedMapping
from pipeline_assets.feed.reading import Reading
from pipeline_assets.fetch.fetcher import PROCESSES, HttpFetcher
from pipeline_assets.fetch.rates import HostRates
from pipeline_assets.fetch.s3_source import S3Source
from pipeline_assets.fetch.sources import Sources
from pipeline_assets.healing.hours import HourIndex
from pipeline_assets.healing.requests import HourRequests
from pipeline_assets.models.clip import SHIPPED_MODELS, ClipModel, load_clip
from pipeline_assets.models.earlier_models import EarlierModels, Named
from pipeline_assets.models.features import Features
from pipeline_assets.settings import Settings, load_settings
from pipeline_assets.state.breakers import BreakerStore
from pipeline_assets.state.budgets import Budgets
from pipeline_assets.state.cache import ResultCache
from pipeline_assets.state.copies import Copies
from pipeline_assets.state.database import State
from pipeline_assets.state.decisions import Decisions
from pipeline_assets.state.forgotten_list import ForgottenList
from pipeline_assets.state.leases import Leases
from pipeline_assets.state.settled import SettledTables
from pipeline_assets.store.blobs import Blobs
from pipeline_assets.store.files import hash_file
from pipeline_assets.store.processes import default_workers
from pipeline_assets.store.s3_storage import S3Storage
from pipeline_assets.store.storage import LocalStorage, Storage
from pipeline_assets.store.tables import Tables

if TYPE_CHECKING:
    from pipeline_assets.search.index import SearchIndex

PRIMARY, FALLBACK = "PIPELINE_PRIMARY_MODEL", "PIPELINE_FALLBACK_MODEL"
MODEL_FACT = "clip:"
"""What the facts begin with that say which model, by name and files, has which id."""
HTTP_RUNG = "fetched.http"
"""Whose breakers, one for each host, open where a host asks to be left alone."""


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


def _load_earlier(name: str) -> ClipModel:
    with _loading:
        return load_clip(name, "cpu", setting=PRIMARY)


@lru_cache(maxsize=1)
def _sizes() -> BatchSizes:
    """The batch sizes that worked, for the life of the process."""
    return BatchSizes()


@dataclass(frozen=True)
class Resources:
    """The adapters of one data root. Nothing is opened or loaded before it is asked for."""

    settings: Settings
    clock: Callable[[], datetime] = utc_now

    def __post_init__(self) -> None:
        keep_secret(self.settings.secrets)  # a worker is given its settings, and loads none

    @property
    def data(self) -> Path:
        """The folder of the data root; of one in object storage, its folder on this machine."""
        return self.settings.folder

    @property
    def work(self) -> Path:
        """Where work in progress is kept on this machine: the locks, at least."""
        return self.data / "work"

    @cached_property
    def storage(self) -> Storage:
        """Where tables, packs and shards lie."""
        root = self.settings.data
        return LocalStorage(root) if isinstance(root, Path) else S3Storage(root, self.data)

    @cached_property
    def shards(self) -> Storage:
        """Where finished micro-batches are kept."""
        return self.storage.below("work")

    @cached_property
    def tables(self) -> Tables:
        """The published tables."""
        return Tables(self.storage.below("tables"))

    @cached_property
    def blobs(self) -> Blobs:
        """The packs of fetched bytes."""
        return Blobs(self.storage.below("blobs"))

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
    def settled(self) -> SettledTables:
        """The tables that have nothing left to do."""
        return SettledTables(self.state)

    @cached_property
    def copies(self) -> Copies:
        """Where the last good copy of a URL lies."""
        return Copies(self.state)

    @cached_property
    def decisions(self) -> Decisions:
        """What people decided about dead letters."""
        return Decisions(self.state, self.tables, self.work / "locks")

    @cached_property
    def forgotten(self) -> ForgottenList:
        """What is kept out."""
        return ForgottenList(self.tables, self.leases)

    @cached_property
    def hours(self) -> HourIndex:
        """The index of the hours."""
        return HourIndex(self.state, self.tables)

    def hour_requests(self, cause: str) -> HourRequests:
        """What was asked for, by one cause."""
        return HourRequests(self.state, cause)

    @cached_property
    def downloads(self) -> Downloads:
        """The copies of a feed behind a URL."""
        settings = self.settings
        rules = DownloadRules(
            allow=settings.fetch_allow,
            timeout_s=settings.fetch_timeout_s,
            max_bytes=settings.feed_max_bytes,
            fresh_for=settings.feed_refresh,
            contact=settings.fetch_contact,
        )
        return Downloads(self.work / "feed", self.state, rules)

    @cached_property
    def feed(self) -> Feed:
        """The feed."""
        settings = self.settings
        reading = Reading(FeedMapping(settings.feed_columns), settings.feed_merge)
        landings = Landings(self.state, self.shards, self.work)
        lock = self.work / "locks" / "feed.lock"
        return Feed(settings.feed, reading, landings, self.downloads, self.forgotten, lock)

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
    def fetcher(self) -> Sources:
        """What fetches the bytes behind URLs."""
        return Sources(
            self.web,
            S3Source(
                self.settings.fetch_s3,
                concurrency=self.settings.fetch_concurrency,
                timeout_s=self.settings.fetch_timeout_s,
                max_bytes=self.settings.fetch_max_bytes,
            ),
        )

    @cached_property
    def web(self) -> HttpFetcher:
        """The HTTP client, with this process's share of what a run may have in flight."""
        settings = self.settings
        workers = default_workers() if settings.workers is None else settings.workers
        share = max(1, min(workers, PROCESSES))
        return HttpFetcher(
            allow=settings.fetch_allow,
            concurrency=max(1, settings.fetch_concurrency // share),
            per_host=max(1, settings.fetch_per_host // share),
            timeout_s=settings.fetch_timeout_s,
            max_bytes=settings.fetch_max_bytes,
            rates=HostRates(
                self.state,
                self.breakers,
                HTTP_RUNG,
                settings.fetch_rate,
                settings.fetch_host_rate,
            ),
            contact=settings.fetch_contact,
            honour_opt_out=settings.fetch_honour_opt_out,
        )

    @cached_property
    def parsers(self) -> Parsers:
        """The processes that parse documents."""
        return shared_parsers(self.settings.parse_timeout_s, self.settings.parse_memory_bytes)

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

    def model_of(self, space: str) -> Features | None:
        """The model that embeds for a space: one that is set, or was where its rows were made.

        So that what an earlier model embedded is found until it is embedded anew. None where no
        model of that space is known or to be had any more.
        """
        for features in (self.primary, self.fallback):
            if features.producer == space:
                return features
        known = self.state.facts_under(MODEL_FACT).items()
        facts = (fact.rpartition(":") for fact, producer in known if producer == space)
        names = tuple(Named(name, files) for name, _, files in facts)
        model = self.earlier_models.of(space, names)
        return None if model is None else Features(lambda: model, space, self.cache)

    @cached_property
    def earlier_models(self) -> EarlierModels:
        """The models that no setting names any more, on the CPU."""
        return EarlierModels(_load_earlier, _signature, self.clock)

    @cached_property
    def sizes(self) -> BatchSizes:
        """The batch sizes that worked."""
        return _sizes()

    @cached_property
    def search(self) -> "SearchIndex":
        """The search index."""
        from pipeline_assets.search.index import SearchIndex  # noqa: PLC0415 - FAISS

        index = SearchIndex(self.data / "search")
        if isinstance(self.tables.storage, S3Storage):
            from pipeline_assets.search.follow import follow  # noqa: PLC0415 - likewise

            follow(index, self.data / "search", self.tables.storage)
        return index

    def close(self) -> None:
        """Close what was opened."""
        for name in ("search", "fetcher", "state"):
            opened = self.__dict__.get(name)
            if opened is not None:
                opened.close()

    def _producer(self, name: str, setting: str) -> str:
        """The model's id, remembered for its files, so that planning need not load a model."""
        files = _signature(name)
        fact = f"{MODEL_FACT}{name}:{files}"
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
