"""Settings: `PIPELINE_…` environment variables, over an optional `pipeline.toml`.

One frozen object, validated when it is built; each error names the field, the value and what is
allowed. Nothing else in the package reads the environment.
"""

import math
import os
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
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
from pipeline_assets.errors import SettingsError, without_secrets
from pipeline_assets.sample.drawing import SAMPLE_LABELS

ENV_PREFIX = "PIPELINE_"

CommaList = Annotated[tuple[str, ...], NoDecode]
StageAmounts = Annotated[Mapping[str, float], NoDecode]


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

    @field_validator("labels", "fetch_allow", "stages", mode="before")
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

    @field_validator("stage_daily_usd", mode="before")
    @classmethod
    def _stage_amounts(cls, value: object) -> object:
        if isinstance(value, str):
            value = _pairs(value)
        if isinstance(value, Mapping):
            return {stage: _amount(stage, usd) for stage, usd in value.items()}
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


def _pairs(text: str) -> dict[str, str]:
    """`a=1,b=2` as a mapping."""
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        stage, equals, amount = (piece.strip() for piece in part.partition("="))
        if not stage or not equals:
            raise ValueError(f"{part!r}: STAGE=USD pairs, comma-separated")
        if stage in pairs:
            raise ValueError(f"{part!r}: {stage} has an amount already")
        pairs[stage] = amount
    return pairs


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
