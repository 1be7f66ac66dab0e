"""Settings: `PIPELINE_…` environment variables, over an optional `pipeline.toml`.

One frozen object, validated when it is built; each error names the field, the value and what is
allowed. Nothing else in the package reads the environment.
"""

import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

import sqlalchemy as sa
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pipeline_assets.accelerator.health import HEALTHY_PROBES
from pipeline_assets.alerting.notifier import parse_notifiers
from pipeline_assets.errors import SettingsError, keep_secret, without_secrets
from pipeline_assets.feed.mapping import check_said, parse_pairs
from pipeline_assets.fetch.addresses import canonical_host, parse_allow
from pipeline_assets.fetch.gcra import Rate
from pipeline_assets.healing.rules import OBJECTIVES, Priority
from pipeline_assets.logs import LogFormat
from pipeline_assets.sample.drawing import SAMPLE_LABELS
from pipeline_assets.store.s3_urls import S3Url

ENV_PREFIX = "PIPELINE_"

CommaList = Annotated[tuple[str, ...], NoDecode]
StageAmounts = Annotated[Mapping[str, float], NoDecode]
Objectives = Annotated[Mapping[Priority, timedelta], NoDecode]
Shares = Annotated[Mapping[str, float], NoDecode]
HostRates = Annotated[Mapping[str, float], NoDecode]
FeedOrigins = Annotated[Mapping[str, str], NoDecode]

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
DURATION = re.compile(r"(\d{1,6})([smhd])")


class Settings(BaseSettings):
    """What a user can set. Every field is `PIPELINE_<FIELD>` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, toml_file="pipeline.toml", frozen=True, extra="forbid"
    )

    data: Annotated[Path | S3Url, NoDecode] = Field(
        Path("data"), description="the data root: a folder, or s3://bucket/prefix"
    )
    state_url: str = Field(
        "",
        validate_default=True,
        description="SQLAlchemy URL of the state database; empty: SQLite under the data root",
    )
    cache_dir: Path = Field(
        Path("~/.cache/pipeline-assets"),
        description="with PIPELINE_DATA on s3://, the folder for what needs one on this machine: "
        "the search index, locks, bytes on their way. All of it is made again where it is missing",
    )
    dagster_storage_url: str = Field(
        "", description="PostgreSQL URL of Dagster's storage; empty: SQLite under the data root"
    )
    feed: str = Field(
        "",
        description="the feed of items: a CSV, JSONL or Parquet file, a folder of such, a glob, "
        "s3://bucket/prefix or https://…",
    )
    feed_columns: FeedOrigins = Field(
        {},
        description="which of its columns are what: item_id=Handle,name=Title,kind='product',"
        "document_url='https://shop.example/products/{Handle}',event_time=@modified",
    )
    feed_merge: bool = Field(
        False, description="rows of one item right after one another are one, as of variants"
    )
    feed_refresh: timedelta = Field(
        timedelta(minutes=10), description="how often a feed behind a URL is asked for: 10m, 1h"
    )
    feed_max_bytes: int = Field(10_000_000_000, ge=1, description="of a feed behind a URL")
    start: datetime = Field(
        datetime(2026, 1, 1, tzinfo=UTC), description="the first hour that has a partition (UTC)"
    )
    accelerator: Literal["auto", "cuda", "cpu"] = "auto"
    healthy_probes: int = Field(
        HEALTHY_PROBES,
        ge=1,
        le=1000,
        description="good probes in a row before an accelerator that was ill is trusted again",
    )
    primary_model: str = Field("sample-primary", min_length=1)
    fallback_model: str = Field("sample-fallback", min_length=1)
    labels: CommaList = Field(SAMPLE_LABELS, description="zero-shot labels, comma-separated")
    fetch_allow: CommaList = Field(
        (), description="private hosts, host:port pairs or networks that may be fetched"
    )
    fetch_s3: Annotated[tuple[S3Url, ...], NoDecode] = Field(
        (), description="prefixes below which s3:// addresses of items may be read: s3://bucket/a/"
    )
    engine: Literal["local"] = "local"
    workers: int | None = Field(
        None,
        ge=0,
        le=256,
        description="worker processes; 0: none, all work is done in the process of the run, and a "
        "call that hangs is ended by nobody; unset: one for each core that this process may "
        "use, if there is 1 GB for each",
    )
    stages: CommaList = Field(
        (), description="modules with a STAGE of one's own each, comma-separated"
    )

    fetch_concurrency: int = Field(
        32, ge=1, le=1024, description="requests in flight, of all workers of a run together"
    )
    fetch_per_host: int = Field(8, ge=1, le=1024, description="of which go to one host at most")
    fetch_rate: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="requests a second to one host, of all processes together; unset: no limit",
    )
    fetch_host_rate: HostRates = Field(
        {}, description="for single hosts: shop.example=50,slow.example=0.5"
    )
    fetch_timeout_s: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="per resource, redirects and all, from when its turn comes; a quarter of it "
        "for connecting, half of it for a server that sends nothing",
    )
    fetch_max_bytes: int = Field(
        50_000_000, ge=1, le=8_000_000_000, description="per resource, declared or decompressed"
    )
    fetch_contact: str = Field(
        "",
        pattern=r"^[!-'*-~]*$",
        description="a URL or mail address for the User-Agent: who asks, and where to complain",
    )
    fetch_honour_opt_out: bool = Field(
        True, description="X-Robots-Tag: noai or noimageai is forbidden, and its bytes not kept"
    )
    max_pixels: int = Field(50_000_000, ge=1, description="per picture, before decoding")
    parse_timeout_s: float = Field(
        10.0, ge=1, le=3600, description="CPU time for parsing a document"
    )
    parse_memory_bytes: int = Field(
        1_000_000_000, ge=300_000_000, description="of a process that parses documents"
    )
    cache_max_bytes: int = Field(
        1_000_000_000, ge=0, description="of results kept by key, the oldest go first; 0: none"
    )
    keep_copies: timedelta = Field(
        timedelta(days=30),
        description="how long the last copy of a URL is kept that no row refers to: 30d, 12h",
    )
    keep_work: timedelta = Field(
        timedelta(days=7),
        description="how long finished micro-batches of an interrupted run wait for the next one",
    )
    keep_superseded: timedelta | None = Field(
        None,
        description="how long rows of an item are kept once a later hour has a newer one; as long "
        "as the feed has them, a run of their hour makes them again; unset: for ever",
    )
    quality_threshold: float = Field(0.8, ge=0, le=1)
    daily_usd: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="what all stages together may spend in a UTC day; unset: no cap",
    )
    stage_daily_usd: StageAmounts = Field(
        {}, description="what single stages may: image_labels=5,embeddings=2.5"
    )
    heal_per_tick: int = Field(4, ge=1, le=1000, description="hours a sensor asks for at once")
    heal_in_flight: int = Field(4, ge=1, le=1000, description="hours it has asked for at a time")
    heal_tries: int = Field(
        3, ge=1, le=100, description="requests for an hour in vain, until health comes anew"
    )
    objectives: Objectives = Field(
        dict(OBJECTIVES),
        description="how soon items should be healed, from when the accelerator is healthy: "
        "interactive=30s,batch=10m,background=6h",
    )
    feed_per_tick: int = Field(
        10, ge=1, le=1000, description="hours with a changed feed that are asked for at once"
    )
    feed_in_flight: int = Field(20, ge=1, le=1000, description="such hours at a time")
    notify: CommaList = Field(
        ("log",),
        description="who is told what goes wrong: log, https://… (a webhook), "
        "smtp://[user:password@]host[:port]/to@example.com[?from=…]",
    )
    alerts_per_tick: int = Field(
        5, ge=1, le=1000, description="messages at once; what is more is summed up in one"
    )
    fresh_within: timedelta = Field(
        timedelta(hours=36), description="how old the newest hour may be: 36h, 2d"
    )
    log_format: LogFormat = Field(
        LogFormat.TEXT,
        description="how commands, code servers and runs write their log: text, or json",
    )
    quality_limits: Shares = Field(
        {},
        description="what tables should reach, by asset: enriched_items.mean=0.9,"
        "image_labels.ok=0.95,fetched.internal=0.01",
    )
    drift_reference: Annotated[Path | S3Url | None, NoDecode] = Field(
        None,
        description="a Parquet file, or a folder of them, here or at s3://…, with columns of "
        "item_features, that each hour is compared with, such as the model's training data; unset: "
        "the day before the hour",
    )
    drill_items: int = Field(
        100, ge=1, le=100_000, description="rows of each stage on which fallbacks are drilled"
    )
    drill_errors: float = Field(
        0.05, ge=0, le=1, description="share of them of which a fallback may make no value"
    )
    drill_agreement: Shares = Field(
        {},
        description="how far single fallbacks have to agree with the primary: "
        "image_labels.cpu_clip=0.7,image_labels.rules=0.6",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then `pipeline.toml`."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @field_validator("labels", "fetch_allow", "stages", "notify", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < 2:
            raise ValueError("at least two different labels, comma-separated")
        return value

    @field_validator("fetch_allow")
    @classmethod
    def _allow(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for entry in value:
                parse_allow(entry)
        except SettingsError as error:
            raise ValueError(f"{error.value!r}: {error.allowed}") from None
        return value

    @field_validator("fetch_s3", mode="before")
    @classmethod
    def _prefixes(cls, value: object) -> object:
        if isinstance(value, str):
            parts = (part.strip() for part in value.split(","))
            return tuple(S3Url.parse(part) for part in parts if part)
        return value

    @field_validator("fetch_host_rate", mode="before")
    @classmethod
    def _host_rates(cls, value: object) -> object:
        if isinstance(value, str):
            value = _pairs(value, "HOST=RATE", "a rate")
        if isinstance(value, Mapping):
            return {canonical_host(host): _rate(host, rate) for host, rate in value.items()}
        return value

    @field_validator("notify")
    @classmethod
    def _notify(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_notifiers(value)
        return value

    @field_validator("feed_columns", mode="before")
    @classmethod
    def _feed_columns(cls, value: object) -> object:
        return parse_pairs(value) if isinstance(value, str) else value

    @field_validator("feed_columns")
    @classmethod
    def _origins(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        check_said(value)
        return value

    @field_validator(
        "fresh_within",
        "feed_refresh",
        "keep_copies",
        "keep_work",
        "keep_superseded",
        mode="before",
    )
    @classmethod
    def _fresh_within(cls, value: object) -> object:
        return _duration(value) if isinstance(value, str) else value

    @field_validator("fresh_within")
    @classmethod
    def _longer_than_an_hour(cls, value: timedelta) -> timedelta:
        if value <= timedelta(hours=1):
            raise ValueError("longer than 1h: an hour is that old when it has just closed")
        return value

    @field_validator("feed_refresh")
    @classmethod
    def _not_all_the_time(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=10):
            raise ValueError("10s or longer")
        return value

    @field_validator(
        "stage_daily_usd", "objectives", "drill_agreement", "quality_limits", mode="before"
    )
    @classmethod
    def _by_name(cls, value: object, info: ValidationInfo) -> object:
        named = NAMED_VALUES[str(info.field_name)]
        if isinstance(value, str):
            value = _pairs(value, named.shape, named.what)
        if isinstance(value, Mapping):
            return {**named.unless_said, **{name: named.read(name, value[name]) for name in value}}
        return value

    @field_validator("start")
    @classmethod
    def _start(cls, value: datetime) -> datetime:
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        if value != value.replace(minute=0, second=0, microsecond=0):
            raise ValueError("a full hour in UTC, such as 2026-03-02T06:00:00Z")
        return value

    @field_validator("data", mode="before")
    @classmethod
    def _where(cls, value: object) -> object:
        if value == "":
            raise ValueError("a folder; unset it for the default, data")
        if isinstance(value, str) and "://" in value:  # as a path it would be a folder named "s3:"
            return S3Url.parse(value)
        return value

    @field_validator("drift_reference", mode="before")
    @classmethod
    def _reference(cls, value: object) -> object:
        return S3Url.parse(value) if isinstance(value, str) and "://" in value else value

    @field_validator("data")
    @classmethod
    def _folder(cls, value: Path | S3Url) -> Path | S3Url:
        if isinstance(value, Path) and value.exists() and not value.is_dir():
            raise ValueError("it is a file; it must be a folder")
        return value

    @field_validator("state_url")
    @classmethod
    def _shared_state(cls, value: str, given: ValidationInfo) -> str:
        if not value and isinstance(given.data.get("data"), S3Url):
            raise ValueError(
                "a SQLAlchemy URL: with PIPELINE_DATA on s3:// the state database has no folder, "
                "and is shared by all hosts; postgresql+psycopg2://user:password@host/database"
            )
        return value

    @property
    def folder(self) -> Path:
        """The data root's folder, or the one that a bucket's prefix has on this machine."""
        if isinstance(self.data, Path):
            return self.data
        return self.cache_dir.expanduser() / self.data.bucket / self.data.key

    @property
    def secrets(self) -> frozenset[str]:
        """What no line, row, page or message may show."""
        return frozenset(
            secret for name in SECRETIVE for secret in secrets_of(name, getattr(self, name))
        )

    @property
    def database_url(self) -> str | sa.URL:
        """The SQLAlchemy URL of the state database; as text, a path could have a ? or % in it."""
        path = str((self.folder / "state.db").absolute())
        return self.state_url or sa.URL.create("sqlite", database=path)


def _pairs(text: str, shape: str, what: str) -> dict[str, str]:
    """`a=1,b=2` as a mapping."""
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or not equals:
            raise ValueError(f"{part!r}: {shape} pairs, comma-separated")
        if name in pairs:
            raise ValueError(f"{part!r}: {name} has {what} already")
        pairs[name] = value
    return pairs


def _duration(text: str) -> timedelta:
    found = DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r}: a whole number and a unit of s, m, h or d: 30s, 10m")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _objective(name: object, time: object) -> timedelta:
    if name not in tuple(Priority):
        raise ValueError(f"{name}: one of {', '.join(Priority)}")
    if not isinstance(time, timedelta):
        time = _duration(str(time))
    if time <= timedelta(0):
        raise ValueError(f"{name}={time}: longer than 0 s")
    return time


def _share(rung: object, share: object) -> float:
    try:
        found = float(str(share))
    except ValueError:
        found = math.nan
    if not 0 <= found <= 1:
        raise ValueError(f"{rung}={share}: a share from 0 to 1")
    return found


def _rate(host: object, rate: object) -> float:
    try:
        return Rate(float(str(rate))).per_s
    except ValueError:
        raise ValueError(f"{host}={rate}: requests a second, more than 0") from None


def _amount(stage: object, usd: object) -> float:
    try:
        amount = float(str(usd))
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise ValueError(f"{stage}={usd}: an amount of 0 USD or more")
    return amount


@dataclass(frozen=True, slots=True)
class NamedValues:
    """A setting of NAME=VALUE pairs: its shape, what a value is, and how one is read."""

    shape: str
    what: str
    read: Callable[[object, object], object]
    unless_said: Mapping[Priority, timedelta] = field(default_factory=dict)


NAMED_VALUES = {
    "stage_daily_usd": NamedValues("STAGE=USD", "an amount", _amount),
    "objectives": NamedValues("CLASS=TIME", "a time", _objective, OBJECTIVES),
    "drill_agreement": NamedValues("STAGE.RUNG=SHARE", "a share", _share),
    "quality_limits": NamedValues("ASSET.LIMIT=SHARE", "a share", _share),
}


def secrets_of(field: str, value: object) -> Iterator[str]:
    """What of a setting's value is nobody's business: passwords, and where a webhook leads."""
    if field not in SECRETIVE:
        return
    entries = str(value).split(",") if isinstance(value, str) else value
    for entry in [value] if field != NOTIFY else entries if isinstance(entries, Iterable) else ():
        url = str(entry).strip()
        for userinfo in (USERINFO.match(url), USERINFO_TO_THE_LAST.match(url)):
            if userinfo is not None:
                password = userinfo[1].partition(":")[2]
                yield from (password, unquote(password), quote(password, safe=""))
        if field == NOTIFY:
            tail = url.partition("://")[2].partition("/")[2]
            yield tail
            yield from (part for part in re.split("[/?#&=]", tail) if TOKEN.search(part))


NOTIFY = "notify"
SECRETIVE = (NOTIFY, "state_url", "dagster_storage_url", "feed")
"""The settings that may have a secret in them."""
TOKEN = re.compile(r"\d|.{16}")
"""What no word is that messages may have."""
USERINFO = re.compile(r"[^:/@]*://([^@]*)@")
USERINFO_TO_THE_LAST = re.compile(r"[^:/@]*://(.*)@")
"""A password may have an @ that nobody has escaped, and so may what is behind it."""


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none, as a typo would."""
    known = {f"{ENV_PREFIX}{field.upper()}" for field in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)


def load_settings(**overrides: Any) -> Settings:
    """The settings from `overrides`, the environment and `pipeline.toml`, in that order.

    Raises `SettingsError` for the first field that is wrong.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        keep_secret(secrets_of(str(first["loc"][0]) if first["loc"] else "", first["input"]))
        field = ENV_PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        allowed = without_secrets(first["msg"]).removeprefix("Value error, ")
        raise SettingsError(field, first["input"], allowed) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        file = str(Settings.model_config["toml_file"])
        raise SettingsError(file, Path(file).absolute(), f"TOML in UTF-8; {error}") from None
    keep_secret(settings.secrets)
    return settings
