"""Settings: from the environment over `pipeline.toml`, validated when they are built."""

import os
import pickle
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline_assets.errors import SettingsError, without_secrets
from pipeline_assets.healing.rules import OBJECTIVES, Priority
from pipeline_assets.sample.drawing import SAMPLE_LABELS
from pipeline_assets.settings import ENV_PREFIX, Settings, load_settings
from pipeline_assets.store.s3_urls import S3Url

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to be in, and no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


def test_nothing_has_to_be_set() -> None:
    """The defaults serve one machine, with the sample's models and labels."""
    settings = load_settings()
    assert settings.data == Path("data")
    assert str(settings.database_url) == f"sqlite:///{Path.cwd() / 'data' / 'state.db'}"
    assert settings.labels == SAMPLE_LABELS
    assert (settings.accelerator, settings.engine) == ("auto", "local")
    assert (settings.fetch_allow, settings.quality_threshold) == ((), 0.8)
    assert settings.start == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("data", "elsewhere", Path("elsewhere")),
        ("state_url", "postgresql+psycopg2://db/x", "postgresql+psycopg2://db/x"),
        ("feed", "https://shop/feed.csv", "https://shop/feed.csv"),
        ("feed_columns", "", {}),
        ("feed_columns", "name=Body (HTML),kind='a,b'", {"name": "Body (HTML)", "kind": "'a,b'"}),
        ("feed_merge", "true", True),
        ("feed_refresh", "1h", timedelta(hours=1)),
        ("start", "2026-03-02T06:00:00Z", datetime(2026, 3, 2, 6, tzinfo=UTC)),
        ("start", "2026-03-02T06:00:00", datetime(2026, 3, 2, 6, tzinfo=UTC)),  # UTC, always
        ("start", "2026-03-02T06:00:00+02:00", datetime(2026, 3, 2, 4, tzinfo=UTC)),
        ("start", "2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
        ("accelerator", "cuda", "cuda"),
        ("primary_model", "local-dir:/models/a", "local-dir:/models/a"),
        ("labels", "chair,table", ("chair", "table")),
        ("labels", " chair , red table ,, ", ("chair", "red table")),
        ("fetch_allow", "", ()),
        ("fetch_allow", "127.0.0.1:8000, 10.0.0.0/8", ("127.0.0.1:8000", "10.0.0.0/8")),
        ("fetch_concurrency", "1", 1),
        ("fetch_concurrency", "1024", 1024),
        ("fetch_timeout_s", "0.5", 0.5),
        ("fetch_rate", "0.5", 0.5),
        ("fetch_host_rate", "Shop.example.=50, 0x7f.1=2", {"shop.example": 50.0, "127.0.0.1": 2.0}),
        ("fetch_contact", "mailto:bot@example.org", "mailto:bot@example.org"),
        ("fetch_honour_opt_out", "false", False),
        ("quality_threshold", "0", 0.0),
        ("quality_threshold", "1", 1.0),
        ("daily_usd", "12.5", 12.5),
        ("daily_usd", "0", 0.0),  # zero means zero
        ("stage_daily_usd", "", {}),
        (
            "stage_daily_usd",
            "image_labels=5,embeddings=2.5",
            {"image_labels": 5, "embeddings": 2.5},
        ),
        ("stage_daily_usd", " image_labels = 0 ,, ", {"image_labels": 0.0}),
        ("objectives", "", dict(OBJECTIVES)),
        (
            "objectives",
            "interactive=5s, batch=90m,background=2d",
            {"interactive": timedelta(0, 5), "batch": timedelta(0, 5400), "background": 2 * DAY},
        ),
        ("objectives", "batch=1h", {**OBJECTIVES, Priority.BATCH: timedelta(hours=1)}),
        ("drill_items", "1", 1),
        ("drill_errors", "0", 0.0),
        ("drill_agreement", "", {}),
        ("drill_agreement", " a.b = 0.7 ,c.d=1", {"a.b": 0.7, "c.d": 1.0}),
        ("quality_limits", "enriched_items.mean=0.9", {"enriched_items.mean": 0.9}),
    ],
)
def test_every_field_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, field: str, text: str, value: object
) -> None:
    """As `PIPELINE_<FIELD>`; lists are comma-separated."""
    monkeypatch.setenv(ENV_PREFIX + field.upper(), text)
    assert getattr(load_settings(), field) == value


def test_a_time_with_an_offset_is_kept_in_utc() -> None:
    """Hours are named in UTC."""
    east = timezone(timedelta(hours=5))
    assert load_settings(start=datetime(2026, 3, 2, 6, tzinfo=east)).start.tzinfo is UTC


@pytest.mark.parametrize(
    ("field", "text", "allowed"),
    [
        ("start", "yesterday", "datetime"),
        ("start", "2026-03-02T06:30:00Z", "a full hour in UTC"),
        ("start", "2026-03-02T06:00:00+05:30", "a full hour in UTC"),
        ("accelerator", "tpu", "'auto', 'cuda' or 'cpu'"),
        ("accelerator", "", "'auto', 'cuda' or 'cpu'"),
        ("engine", "ray", "'local'"),
        ("primary_model", "", "at least 1 character"),
        ("fallback_model", "", "at least 1 character"),
        ("labels", "chair", "at least two different labels"),
        ("labels", "chair,chair", "at least two different labels"),
        ("labels", " , ", "at least two different labels"),
        ("fetch_allow", "a host", "a host, a host:port or a network"),
        ("fetch_allow", "shop:0", "the port is 1 to 65535"),
        ("fetch_allow", "ok.example,shop:65536", "the port is 1 to 65535"),
        ("fetch_concurrency", "0", "greater than or equal to 1"),
        ("fetch_concurrency", "1025", "less than or equal to 1024"),
        ("fetch_concurrency", "many", "integer"),
        ("fetch_concurrency", "1.5", "integer"),
        ("fetch_timeout_s", "0", "greater than 0"),
        ("fetch_rate", "0", "greater than 0"),
        ("fetch_host_rate", "h=0", "h=0: requests a second, more than 0"),
        ("fetch_host_rate", "h=many", "h=many: requests a second, more than 0"),
        ("fetch_host_rate", "h", "HOST=RATE pairs"),
        ("fetch_contact", "me\r\nX-Evil: 1", "pattern"),
        ("fetch_timeout_s", "3601", "less than or equal to 3600"),
        ("fetch_timeout_s", "nan", "less than or equal to 3600"),
        ("fetch_max_bytes", "0", "greater than or equal to 1"),
        ("max_pixels", "-1", "greater than or equal to 1"),
        ("cache_max_bytes", "-1", "greater than or equal to 0"),
        ("quality_threshold", "-0.1", "greater than or equal to 0"),
        ("quality_threshold", "1.1", "less than or equal to 1"),
        ("quality_threshold", "high", "number"),
        ("daily_usd", "-0.01", "greater than or equal to 0"),
        ("daily_usd", "nan", "finite number"),
        ("daily_usd", "inf", "finite number"),
        ("daily_usd", "", "number"),
        ("stage_daily_usd", "image_labels", "'image_labels': STAGE=USD pairs"),
        ("stage_daily_usd", "a=1,=5", "'=5': STAGE=USD pairs"),
        ("stage_daily_usd", "a=1,b=-2", "b=-2: an amount of 0 USD or more"),
        ("stage_daily_usd", "a=nan", "a=nan: an amount"),
        ("stage_daily_usd", "a=inf", "a=inf: an amount"),
        ("stage_daily_usd", "a=", "a=: an amount"),
        ("stage_daily_usd", "a=1=2", "a=1=2: an amount"),
        ("stage_daily_usd", "a=five", "a=five: an amount"),
        ("stage_daily_usd", "a=1,a=2", "'a=2': a has an amount already"),
        ("drill_items", "0", "greater than or equal to 1"),
        ("drill_errors", "1.1", "less than or equal to 1"),
        ("drill_agreement", "a.b", "'a.b': STAGE.RUNG=SHARE pairs"),
        ("quality_limits", "a.b", "'a.b': ASSET.LIMIT=SHARE pairs"),
        ("drill_agreement", "a.b=1,a.b=0", "'a.b=0': a.b has a share already"),
        ("drill_agreement", "a.b=1.1", "a.b=1.1: a share from 0 to 1"),
        ("drill_agreement", "a.b=nan", "a.b=nan: a share from 0 to 1"),
        ("drill_agreement", "a.b=most", "a.b=most: a share from 0 to 1"),
        ("objectives", "batch", "'batch': CLASS=TIME pairs"),
        ("objectives", "batch=1h,batch=2h", "'batch=2h': batch has a time already"),
        ("objectives", "urgent=1s", "urgent: one of interactive, batch, background"),
        ("objectives", "batch=10", "'10': a whole number and a unit"),
        ("objectives", "batch=1.5h", "'1.5h': a whole number and a unit"),
        ("objectives", "batch=-1h", "'-1h': a whole number and a unit"),
        ("objectives", "batch=0s", "longer than 0 s"),
        ("heal_per_tick", "0", "greater than or equal to 1"),
        ("heal_in_flight", "0", "greater than or equal to 1"),
        ("heal_tries", "0", "greater than or equal to 1"),
        ("feed_columns", "titel=Title", "titel=Title: no field; one of item_id, name"),
        ("feed_columns", "name", "'name': FIELD=Column"),
        ("feed_columns", "name=@now", "only event_time=@modified"),
        ("feed_refresh", "9s", "10s or longer"),
        ("feed_max_bytes", "0", "greater than or equal to 1"),
        ("data", "gs://bucket/data", "s3://bucket/prefix"),
        ("data", "s3://bucket/../data", "no part of the path empty, . or .."),
        ("fetch_s3", "s3://bucket/a,https://x", "s3://bucket/prefix"),
    ],
)
def test_a_wrong_value_stops_the_start_and_names_the_field(
    monkeypatch: pytest.MonkeyPatch, field: str, text: str, allowed: str
) -> None:
    """The field as it is set, the value that was found, and what is allowed."""
    monkeypatch.setenv(ENV_PREFIX + field.upper(), text)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert refused.value.field == ENV_PREFIX + field.upper()
    assert str(refused.value).startswith(f"{ENV_PREFIX}{field.upper()}={text!r} is not usable: ")
    assert allowed in str(refused.value)


def test_a_data_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """By its own name; the other settings, passwords among them, are not shown."""
    file = tmp_path / "data.parquet"
    file.write_bytes(b"")
    with pytest.raises(SettingsError) as refused:
        load_settings(data=file, state_url="postgresql+psycopg2://u:secret@db/x")
    assert refused.value.field == "PIPELINE_DATA"
    assert str(file) in str(refused.value)
    assert "must be a folder" in str(refused.value)
    assert "postgresql" not in str(refused.value)


SECRETS = [
    ("state_url", "postgresql+psycopg2://user:SEC/RET@host/db", ["SEC/RET"]),
    ("state_url", "postgresql+psycopg2://user:SEC%2FRET@host/db", ["SEC/RET", "SEC%2FRET"]),
    ("state_url", "postgresql+psycopg2://user:SEC@RET@host/db", ["SEC@RET"]),
    ("dagster_storage_url", "postgresql+psycopg2://user:100%SECRET@host/db", ["100%SECRET"]),
    ("feed", "https://ann:SECRET#1@shop/feed.csv", ["SECRET#1"]),
    ("notify", "https://hooks.example/services/T0ABC/B0DEF/x9y8z7", ["x9y8z7", "T0ABC/B0DEF"]),
    ("notify", "log,smtp://me:SECRET@mail.example/ops@example.com", ["SECRET"]),
]


@pytest.mark.parametrize(("field", "value", "secrets"), SECRETS)
def test_nobody_hears_of_the_secrets_of_settings(
    field: str, value: str, secrets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are written, and whatever quotes them: a library's error, say."""
    monkeypatch.setenv(f"PIPELINE_{field.upper()}", value)
    with suppress(SettingsError):
        load_settings()
    text = without_secrets("".join(f"could not reach host ({secret}). " for secret in secrets))
    assert not [secret for secret in secrets if secret in text]
    assert "could not reach host" in text


def test_a_secret_in_a_wrong_value_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only enough of it to find it."""
    monkeypatch.setenv("PIPELINE_FETCH_ALLOW", "http://ann:secret@shop/")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert "secret" not in str(refused.value)
    assert "http://shop/" in str(refused.value)


def test_an_unknown_setting_of_the_program_is_refused() -> None:
    """A slip of the pen in a keyword."""
    with pytest.raises(SettingsError, match="PIPELINE_LABEL="):
        load_settings(label="chair,table")


def toml(text: str) -> None:
    """Write `pipeline.toml` into the folder we are in."""
    Path("pipeline.toml").write_text(text, encoding="utf-8")


def test_a_file_sets_what_the_environment_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments over the environment, the environment over `pipeline.toml`."""
    toml('accelerator = "cuda"\nfetch_concurrency = 8\nmax_pixels = 9\n')
    monkeypatch.setenv("PIPELINE_FETCH_CONCURRENCY", "16")
    monkeypatch.setenv("PIPELINE_MAX_PIXELS", "16")
    settings = load_settings(max_pixels=25)
    assert (settings.accelerator, settings.fetch_concurrency, settings.max_pixels) == (
        "cuda",
        16,
        25,
    )


@pytest.mark.parametrize("labels", ['"chair, table"', '["chair", "table"]'])
def test_a_list_in_the_file_may_be_a_list(labels: str) -> None:
    """Or text with commas, as in the environment."""
    toml(f"labels = {labels}\n")
    assert load_settings().labels == ("chair", "table")


@pytest.mark.parametrize("caps", ['"a=1, b=2.5"', "{a = 1, b = 2.5}"])
def test_amounts_in_the_file_may_be_a_table(caps: str) -> None:
    """Or text, as in the environment."""
    toml(f"stage_daily_usd = {caps}\n")
    assert load_settings().stage_daily_usd == {"a": 1.0, "b": 2.5}


def test_settings_reach_worker_processes() -> None:
    """Whole, the objectives too."""
    settings = load_settings()
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - ours


def test_nothing_is_capped_until_it_is_asked_for() -> None:
    """No cap is not a cap of 0."""
    assert (load_settings().daily_usd, load_settings().stage_daily_usd) == (None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stage_daily_usd = {a = -1}\n", "PIPELINE_STAGE_DAILY_USD=.*a=-1: an amount"),
        ("objectives = {batch = 5}\n", "PIPELINE_OBJECTIVES=.*'5': a whole number"),
        ("stage_daily_usd = 5\n", "PIPELINE_STAGE_DAILY_USD='5'.*valid dictionary"),
        ("labels = 3\n", "PIPELINE_LABELS=.*valid tuple"),
        ('labels = ["chair", 3]\n', "PIPELINE_LABELS.*valid string"),
        ('colour = "red"\n', "PIPELINE_COLOUR='red'.*not permitted"),
        ("start = 2026-03-02T06:30:00Z\n", "PIPELINE_START.*a full hour"),
        ("labels = [\n", "pipeline.toml"),
        ("\x00", "pipeline.toml"),
    ],
)
def test_a_wrong_file_stops_the_start_as_well(text: str, message: str) -> None:
    """Naming the field, or the file where it cannot be read."""
    toml(text)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_a_file_that_is_no_text_stops_the_start() -> None:
    """TOML is UTF-8."""
    Path("pipeline.toml").write_bytes(b'feed = "\xff"\n')
    with pytest.raises(SettingsError, match=r"pipeline\.toml"):
        load_settings()


@pytest.mark.parametrize("field", Settings.model_fields)
def test_settings_are_frozen(field: str) -> None:
    """What a run began with, it ends with."""
    settings = load_settings()
    value: Any = getattr(settings, field)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, field, value)


def test_a_data_root_in_a_bucket_needs_a_state_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no folder for one; what needs a folder has one on this machine."""
    monkeypatch.setenv("PIPELINE_DATA", "s3://bucket/some/prefix/")
    with pytest.raises(SettingsError, match="is shared by all hosts") as refused:
        load_settings()
    assert refused.value.field == "PIPELINE_STATE_URL"
    settings = load_settings(state_url="sqlite:////x/y.db", cache_dir="/cache")
    assert settings.data == S3Url("bucket", "some/prefix")
    assert settings.folder == Path("/cache/bucket/some/prefix")
    home = load_settings(state_url="sqlite:////x/y.db").folder
    assert home == Path.home() / ".cache/pipeline-assets/bucket/some/prefix"


def test_a_data_root_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that looks like a number, too."""
    monkeypatch.setenv("PIPELINE_DATA", "2026")
    assert load_settings().data == load_settings().folder == Path("2026")


def test_prefixes_of_sources_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With commas, the last slash or not."""
    monkeypatch.setenv("PIPELINE_FETCH_S3", "s3://a-bucket/x/, s3://b-bucket,")
    assert load_settings().fetch_s3 == (S3Url("a-bucket", "x"), S3Url("b-bucket"))


def test_a_database_of_its_own_is_used_as_it_is_given() -> None:
    """Else SQLite under the data root, by its full path."""
    assert load_settings(state_url="sqlite:////x/y.db").database_url == "sqlite:////x/y.db"
    assert str(load_settings(data="here").database_url).endswith("/here/state.db")
