"""The service over one finished hour."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline_assets.resources import Resources
from pipeline_assets.serve.app import application
from pipeline_assets_tests.conftest import FickleShop
from pipeline_assets_tests.serve import shelf


@pytest.fixture(scope="package")
def shown(
    finished_root: Path, tmp_path_factory: pytest.TempPathFactory, shop: FickleShop
) -> Iterator[Resources]:
    """A data root that has everything, to be read and not written."""
    data = tmp_path_factory.mktemp("served") / "data"
    resources = shelf.copied(finished_root, data, shop)
    yield resources
    resources.close()


@pytest.fixture(autouse=True)
def _away_from_the_projects_own_dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture
def client(shown: Resources) -> Iterator[TestClient]:
    """A client of the service over it."""
    with TestClient(application(shown), follow_redirects=False) as client:
        yield client
