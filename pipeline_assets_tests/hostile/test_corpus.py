"""The whole corpus through validate and extract text: no crash, no hang, no row lost."""

import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import zip_longest
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from pipeline_assets.core.status import Status
from pipeline_assets.documents import parsers
from pipeline_assets.errors import DataError, ErrorKind
from pipeline_assets.sample.catalogue import CatalogueItem
from pipeline_assets.stages import extract_text, fetch, validate
from pipeline_assets_tests.conftest import (
    Clock,
    Goods,
    Platform,
    open_resources,
)
from pipeline_assets_tests.hostile.pages import hostile_pages
from pipeline_assets_tests.hostile.pdf_files import hostile_pdfs
from pipeline_assets_tests.hostile.pictures import hostile_pictures
from pipeline_assets_tests.lengths import HANG_S

SEED = 7
TIME_S, MEMORY_BYTES = 1.0, 400_000_000
MAX_PIXELS = 1_000_000
MORE_MEMORY_MB = 600
"""What this process may need at the most for a document of 50 MB, several times in it, and more."""

Rows = dict[str, dict[str, Any]]


class Quiet(SimpleHTTPRequestHandler):
    """A file server that keeps its requests to itself."""

    def log_message(self, *_message: object) -> None:
        """Say nothing."""


def corpus() -> Iterator[tuple[str | None, bytes | None, str | None, bytes | None]]:
    """Every document with its name, and every picture with its own, side by side."""
    documents = [*hostile_pages(SEED), *hostile_pdfs(SEED)]
    nothing: tuple[None, None] = (None, None)
    for document, picture in zip_longest(documents, hostile_pictures(SEED), fillvalue=nothing):
        yield (*document, *picture)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, dict[str, str], int]]:
    """An hour of it, the name of each resource, and how much this process has grown."""
    folder = tmp_path_factory.mktemp("hostile")
    files = folder / "files"
    names: dict[str, str] = {}
    files.mkdir()
    handler = partial(Quiet, directory=str(files))
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(parsers, "WALL_FACTOR", HANG_S / TIME_S)  # a busy machine is no fault of ours
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"127.0.0.1:{server.server_port}"
        items = list(_items(files, f"http://{address}", names))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        platform = _opened(folder / "data", address)
        platform.feed(items)
        platform.items()
        platform.run(fetch.STAGE, validate.STAGE, extract_text.STAGE)
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        yield platform, names, grown_mb
        platform.resources.close()
        server.shutdown()
        thread.join()


def _opened(data: Path, address: str) -> Platform:
    clock = Clock()
    resources = open_resources(
        data,
        clock,
        fetch_allow=(address,),
        fetch_max_bytes=60_000_000,
        max_pixels=MAX_PIXELS,
        parse_timeout_s=TIME_S,
        parse_memory_bytes=MEMORY_BYTES,
    )
    return Platform(resources, clock)


def _items(files: Path, url: str, names: dict[str, str]) -> Iterator[CatalogueItem]:
    """An item for each document and picture, under names that say nothing of what they are."""
    goods = Goods(url)
    for number, (document, page, picture, image) in enumerate(corpus()):
        item = goods.product(f"{number:04d}", has_image=False, has_document=False)
        if page is not None:
            (files / f"{number}.html").write_bytes(page)
            names[f"{number:04d}/document"] = str(document)
            item = replace(item, document_url=f"{url}/{number}.html")
        if image is not None:
            (files / f"{number}.jpg").write_bytes(image)
            names[f"{number:04d}/image"] = str(picture)
            item = replace(item, image_url=f"{url}/{number}.jpg")
        yield item


DATA_KINDS = {str(kind.kind) for kind in DataError.__subclasses__()}


def test_every_resource_has_a_row_with_a_value_or_a_data_error(
    ran: tuple[Platform, dict[str, str], int],
) -> None:
    """Nothing is lost, nothing is a bug, nothing is tried again in vain."""
    platform, names, _grown_mb = ran
    validated, extracted = platform.rows("validated"), platform.rows("extracted_text")
    assert {key for key, row in validated.items() if row["status"] != "not-applicable"} == set(
        names
    )
    assert {f"{key}/document" for key in extracted} >= {
        key for key in names if key.endswith("/document")
    }
    odd = {
        (names.get(key, key), row["status"], row["error_kind"], row["error"])
        for key, row in {**validated, **extracted}.items()
        if row["status"] == Status.PENDING
        or row["retryable"]
        or row["error_kind"] not in {None, "upstream", *DATA_KINDS}
    }
    assert odd == set()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in KB there")
def test_memory_is_bounded(ran: tuple[Platform, dict[str, str], int]) -> None:
    """What inflates does so in a process that has a limit."""
    assert ran[2] < MORE_MEMORY_MB


def key_of(names: dict[str, str], name: str, role: str) -> str:
    """The resource that is made of a file of this name."""
    return next(key for key, each in names.items() if each == name and key.endswith(role))


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("nested links", ErrorKind.TOO_LARGE, "PIPELINE_PARSE_TIMEOUT_S"),
        ("encrypted", ErrorKind.UNSUPPORTED, "encrypted"),
        ("scanned", ErrorKind.UNSUPPORTED, "scan"),
        ("a zero", ErrorKind.UPSTREAM, "no PDF"),
    ],
)
def test_a_document_says_what_is_wrong_with_it(
    ran: tuple[Platform, dict[str, str], int], name: str, kind: ErrorKind, said: str
) -> None:
    """For a person to read."""
    platform, names, _grown_mb = ran
    key = key_of(names, name, "document")
    row = platform.rows("extracted_text")[key.removesuffix("/document")]
    assert row["error_kind"] == kind
    assert said in row["error"]


def test_a_page_of_nothing_but_tags_is_read_or_given_up(
    ran: tuple[Platform, dict[str, str], int],
) -> None:
    """Its 50 MB are within the limit of time on most machines, and over it on a slow one."""
    platform, names, _grown_mb = ran
    key = key_of(names, "50 MB of div", "document")
    row = platform.rows("extracted_text")[key.removesuffix("/document")]
    assert (row["error_kind"], "no main text" in row["error"]) in {
        (ErrorKind.INVALID_INPUT, True),
        (ErrorKind.TOO_LARGE, False),
    }


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("30000 x 30000.png", ErrorKind.TOO_LARGE, "PIPELINE_MAX_PIXELS"),
        ("claims 16383.webp", ErrorKind.TOO_LARGE, "PIPELINE_MAX_PIXELS"),
        ("claims 65500.jpg", ErrorKind.TOO_LARGE, "PIPELINE_MAX_PIXELS"),
        ("scans.jpg", ErrorKind.TOO_LARGE, "scans"),
        ("inflated text.png", ErrorKind.INVALID_INPUT, "too large"),
        ("a page", ErrorKind.INVALID_INPUT, "page of markup"),
        ("a bitmap", ErrorKind.UNSUPPORTED, "not one of the picture formats"),
        ("zeros", ErrorKind.INVALID_INPUT, "not a picture"),
    ],
)
def test_a_picture_says_what_is_wrong_with_it(
    ran: tuple[Platform, dict[str, str], int], name: str, kind: ErrorKind, said: str
) -> None:
    """Likewise."""
    platform, names, _grown_mb = ran
    key = key_of(names, name, "image")
    row = platform.rows("validated")[key]
    assert row["error_kind"] == kind
    assert said in row["error"]
