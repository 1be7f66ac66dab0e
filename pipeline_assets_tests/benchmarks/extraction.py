"""What it costs to parse documents in a process that may die of them, beside a call of the library.

Both sides find the same in the same documents: pages of the sample shop, longer pages, and PDFs.
They take turns, and each side's best turn counts: what else the machine does disturbs them alike.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_assets.documents import documents
from pipeline_assets.documents.documents import Document
from pipeline_assets.resources import opened
from pipeline_assets.sample.documents import html_page, pdf_document
from pipeline_assets.sample.training.dataset import unseen_seeds
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.benchmarks.measure import Measure, Wanted

BAR = 0.5
DOCUMENTS = 100
ROUNDS = 7
SEED = 5
PARAGRAPHS = 200
"""Of a long page: 40 KB, as an article has."""

Look = Callable[[bytes], Document]


def measures() -> Iterator[Measure]:
    """Documents a second with isolation, and in this process."""
    subjects = unseen_seeds(DOCUMENTS, SEED)
    pages = [html_page(subject) for subject in subjects]
    kinds = {
        "product pages": pages,
        "articles of 40 KB": [_longer(page) for page in pages[: DOCUMENTS // 4]],
        "PDFs": [pdf_document(subject) for subject in subjects],
    }
    with (
        TemporaryDirectory() as folder,
        opened(load_settings(data=Path(folder), state_url="")) as resources,
        closing(resources.parsers) as parsers,
    ):
        for what, group in kinds.items():
            isolated, bare = _best_turns(group, (parsers.structured, documents.structured))
            yield Measure(
                f"text of {what}, isolated",
                len(group) / isolated,
                "/s",
                "the same call in process",
                len(group) / bare,
                Wanted.AT_LEAST,
                BAR,
            )


def _longer(page: bytes) -> bytes:
    paragraph = page[page.index(b"<p>") : page.index(b"</p>") + 4]
    return page.replace(paragraph, paragraph * PARAGRAPHS)


def _best_turns(group: Sequence[bytes], looks: Sequence[Look]) -> list[float]:
    """The seconds of each side's best turn, after one to warm up."""
    rounds = [[_seconds(look, group) for look in looks] for _ in range(ROUNDS + 1)]
    return [min(side) for side in zip(*rounds[1:], strict=True)]


def _seconds(look: Look, group: Sequence[bytes]) -> float:
    started = time.perf_counter()
    for document in group:
        look(document)
    return time.perf_counter() - started
