"""An S3 server of the tests' own, on loopback: moto's, which knows conditional writes."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline_assets.resources import Resources
from pipeline_assets.store.s3_storage import S3Storage, bucket
from pipeline_assets.store.s3_urls import S3Url
from pipeline_assets.store.storage import LocalStorage, Storage

if TYPE_CHECKING:
    from pipeline_assets.sample.shop import Shop
    from pipeline_assets_tests.conftest import Clock

BUCKET = "pipeline-assets-tests"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_REGION": "us-east-1",
}


@dataclass(frozen=True)
class S3Server:
    """A running server with one bucket; `root` gives an empty place in it."""

    endpoint: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint}

    def root(self) -> S3Url:
        """A new prefix."""
        return S3Url(BUCKET, f"test-{next(self._numbers)}")


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """The server, for the whole session; its address is in the environment for as long."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - a second that few tests need

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    started = S3Server(f"http://{host}:{port}")
    before = {name: os.environ.get(name) for name in started.environment}
    os.environ.update(started.environment)
    try:
        create_bucket(started.endpoint)
        yield started
    finally:
        server.stop()
        bucket.cache_clear()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def create_bucket(endpoint: str, name: str = BUCKET) -> None:
    """Make a bucket."""
    import boto3  # type: ignore[import-untyped]  # noqa: PLC0415 - comes with moto

    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=name)


@contextmanager
def in_a_bucket(
    server: S3Server, folder: Path, clock: "Clock", shop: "Shop | None" = None, **settings: object
) -> Iterator[Resources]:
    """Resources whose data root is a new prefix; what needs a folder has one in `folder`."""
    from pipeline_assets_tests.conftest import open_resources  # noqa: PLC0415 - imports this module

    opened = open_resources(
        folder,
        clock,
        shop,
        **{
            "data": server.root(),
            "state_url": f"sqlite:///{folder / 'state.db'}",
            "cache_dir": folder / "cache",
            **settings,
        },
    )
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty place for bytes: once a folder, once a prefix of a bucket."""
    if request.param == "local":
        return LocalStorage(tmp_path / "data")
    server: S3Server = request.getfixturevalue("s3")
    return S3Storage(server.root(), tmp_path / "scratch")
