"""Settings: `PIPELINE_…` environment variables, over an optional `pipeline.toml`.

One frozen object, validated when it is built; each error names the field, the value and what is
allowed. Nothing else in the package reads the environment.
"""

import math
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pipeline_assets.adapters.addresses import parse_allow
from pipeline_assets.adapters.notifier import parse_notifiers
from pipeline_assets.core.healing import OBJECTIVES, Priority
from pipeline_assets.core.health import HEALTHY_PROBES
from pipeline_assets.errors import SettingsError, without_secrets
from pipeline_assets.sample.drawing import SAMPLE_LABELS

ENV_PREFIX = "PIPELINE_"

CommaList = Annotated[tuple[str, ...], NoDecode]
StageAmounts = Annotated[Mapping[str, float], NoDecode]
Objectives = Annotated[Mapping[Priority, timedelta], NoDecode]
Shares = Annotated[Mapping[str, float], NoDecode]

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
DURATION = re.compile(r"(\d{1,6})([smhd])")


class Settings(BaseSettings):
    """What a user can set. Every field is `PIPELINE_<FIELD>` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, toml_file="pipeline.toml", frozen=True, extra="forbid"
    )

    data: Path = Field(Path("data"), description="the data root, a folder")
    state_url: str = Field(
        "", description="SQLAlchemy URL of the state database; empty: SQLite under the data root"
    )
    dagster_storage_url: str = Field(
        "", description="PostgreSQL URL of Dagster's storage; empty: SQLite under the data root"
    )
    feed: str = Field("", description="the feed of items: a CSV, JSONL or Parquet file")
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
    engine: Literal["local"] = "local"
    workers: int | None = Field(
        None,
        ge=0,
        le=256,
        description="worker processes; 0: none, all work is done in the process of the run; "
        "unset: one for each core",
    )
    stages: CommaList = Field(
        (), description="modules with a STAGE of one's own each, comma-separated"
    )

    fetch_concurrency: int = Field(32, ge=1, le=1024)
    fetch_timeout_s: float = Field(20.0, gt=0, le=3600, description="per resource, in all")
    fetch_max_bytes: int = Field(50_000_000, ge=1, description="per resource")
    max_pixels: int = Field(50_000_000, ge=1, description="per picture, before decoding")
    cache_max_bytes: int = Field(
        1_000_000_000, ge=0, description="of results kept by key, the oldest go first; 0: none"
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

    @field_validator("notify")
    @classmethod
    def _notify(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_notifiers(value)
        return value

    @field_validator("fresh_within", mode="before")
    @classmethod
    def _fresh_within(cls, value: object) -> object:
        return _duration(value) if isinstance(value, str) else value

    @field_validator("fresh_within")
    @classmethod
    def _longer_than_an_hour(cls, value: timedelta) -> timedelta:
        if value <= timedelta(hours=1):
            raise ValueError("longer than 1h: an hour is that old when it has just closed")
        return value

    @field_validator("stage_daily_usd", mode="before")
    @classmethod
    def _stage_amounts(cls, value: object) -> object:
        if isinstance(value, str):
            value = _pairs(value, "STAGE=USD", "an amount")
        if isinstance(value, Mapping):
            return {stage: _amount(stage, usd) for stage, usd in value.items()}
        return value

    @field_validator("objectives", mode="before")
    @classmethod
    def _objectives(cls, value: object) -> object:
        if isinstance(value, str):
            value = _pairs(value, "CLASS=TIME", "a time")
        if isinstance(value, Mapping):
            return {**OBJECTIVES, **dict(_objective(name, time) for name, time in value.items())}
        return value

    @field_validator("drill_agreement", mode="before")
    @classmethod
    def _shares(cls, value: object) -> object:
        if isinstance(value, str):
            value = _pairs(value, "STAGE.RUNG=SHARE", "a share")
        if isinstance(value, Mapping):
            return {rung: _share(rung, share) for rung, share in value.items()}
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
    def _local(cls, value: object) -> object:
        if value == "":
            raise ValueError("a folder; unset it for the default, data")
        if isinstance(value, str) and "://" in value:  # as a path it would be a folder named "s3:"
            raise ValueError("a folder on this machine; other storage is not supported yet")
        return value

    @field_validator("data")
    @classmethod
    def _folder(cls, value: Path) -> Path:
        if value.exists() and not value.is_dir():
            raise ValueError("it is a file; it must be a folder")
        return value

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the state database."""
        return self.state_url or f"sqlite:///{(self.data / 'state.db').absolute()}"


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


def _objective(name: object, time: object) -> tuple[Priority, timedelta]:
    if name not in tuple(Priority):
        raise ValueError(f"{name}: one of {', '.join(Priority)}")
    if not isinstance(time, timedelta):
        time = _duration(str(time))
    if time <= timedelta(0):
        raise ValueError(f"{name}={time}: longer than 0 s")
    return Priority(str(name)), time


def _share(rung: object, share: object) -> float:
    try:
        found = float(str(share))
    except ValueError:
        found = math.nan
    if not 0 <= found <= 1:
        raise ValueError(f"{rung}={share}: a share from 0 to 1")
    return found


def _amount(stage: object, usd: object) -> float:
    try:
        amount = float(str(usd))
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise ValueError(f"{stage}={usd}: an amount of 0 USD or more")
    return amount


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none, as a typo would."""
    known = {f"{ENV_PREFIX}{field.upper()}" for field in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)


def load_settings(**overrides: Any) -> Settings:
    """The settings from `overrides`, the environment and `pipeline.toml`, in that order.

    Raises `SettingsError` for the first field that is wrong.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        field = ENV_PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        allowed = without_secrets(first["msg"]).removeprefix("Value error, ")
        raise SettingsError(field, first["input"], allowed) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        file = str(Settings.model_config["toml_file"])
        raise SettingsError(file, Path(file).absolute(), f"TOML in UTF-8; {error}") from None
