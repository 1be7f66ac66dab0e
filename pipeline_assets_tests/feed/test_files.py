"""Which files a feed is made of."""

from pathlib import Path

import pytest

from pipeline_assets.errors import NoFeed
from pipeline_assets.feed.files import is_feed_file, list_local


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with feeds and other things."""
    for name in ("b.csv", "a.jsonl.gz", "sub/c.parquet", "notes.txt", ".hidden.csv", "_tmp/d.csv"):
        path = tmp_path / "feed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "feed"


def names(source: str) -> list[str]:
    """The names of a source's files."""
    return [file.name for file in list_local(source)]


def test_a_folder_is_its_feed_files_by_name(folder: Path) -> None:
    """Also those in folders below; not what other programs put there."""
    assert names(str(folder)) == ["a.jsonl.gz", "b.csv", "sub/c.parquet"]


def test_an_empty_folder_is_a_feed_without_files_yet(tmp_path: Path) -> None:
    """It is watched."""
    assert names(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.csv", ["b.csv"]),
        ("*.[ct]*", ["b.csv", "notes.txt"]),
        ("**/*.parquet", ["sub/c.parquet"]),
        ("sub/?.parquet", ["c.parquet"]),
    ],
)
def test_a_glob_is_what_it_matches(folder: Path, pattern: str, found: list[str]) -> None:
    """Whatever the ending; what is hidden stays so."""
    assert names(f"{folder}/{pattern}") == found


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    """It is there."""
    (tmp_path / "[new] feed*.csv").write_bytes(b"x")
    assert names(str(tmp_path / "[new] feed*.csv")) == ["[new] feed*.csv"]


@pytest.mark.parametrize(
    ("source", "said"),
    [("gone.csv", "no such file or folder"), ("*.csv", "no file matches"), ("gone/", "no such")],
)
def test_nothing_is_said_to_be_there(tmp_path: Path, source: str, said: str) -> None:
    """With what to check."""
    with pytest.raises(NoFeed, match=said):
        list_local(f"{tmp_path}/{source}")


def test_a_file_that_changes_is_another_version(folder: Path) -> None:
    """And knows that it is not what was listed."""
    before = list_local(str(folder / "b.csv"))[0]
    assert before.is_as_listed()
    (folder / "b.csv").write_bytes(b"xy")
    assert not before.is_as_listed()
    assert list_local(str(folder / "b.csv"))[0].version != before.version


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.csv", True),
        ("A.CSV.GZ", True),
        ("part-00000", True),
        ("day/part-0.parquet", True),
        ("a.csv.tmp", False),
        ("README.md", False),
        ("_SUCCESS", False),
        (".a.csv", False),
        (".git/a.csv", False),
    ],
)
def test_files_of_a_folder_are_read_by_their_names(name: str, *, read: bool) -> None:
    """What is still being written is not, where its name says so."""
    assert is_feed_file(name) is read
