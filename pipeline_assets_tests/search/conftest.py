"""An index in an empty folder."""

from pathlib import Path

import pytest

from pipeline_assets.search import SearchIndex


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "search"


@pytest.fixture
def index(root: Path) -> SearchIndex:
    """An index that nothing was written to."""
    return SearchIndex(root)
