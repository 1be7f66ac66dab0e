"""Parsing in processes that may die of it: real ones, and one that does as it is told."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline_assets.documents import documents
from pipeline_assets.documents import parsers as module
from pipeline_assets.documents.parsers import Parsers, shared_parsers
from pipeline_assets.errors import (
    Internal,
    InvalidInput,
    ResourceExhausted,
    RowError,
    Timeout,
    TooLarge,
    Unavailable,
    Unsupported,
)
from pipeline_assets.sample.documents import html_page, pdf_document
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.sample.pdf import pdf
from pipeline_assets.store.processes import is_gone
from pipeline_assets_tests.documents import poisoned_parser
from pipeline_assets_tests.lengths import HANG_S

SHIRT = Subject("shirt", "red", 5)
TIME_S, MEMORY_BYTES = 20.0, 1_000_000_000
IDLE = b"idle"


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    """Real ones."""
    opened = Parsers(TIME_S, MEMORY_BYTES)
    yield opened
    opened.close()


@pytest.fixture
def poisoned(request: pytest.FixtureRequest) -> Iterator[Parsers]:
    """Parsers that do as they are told; `param` is their limit of time."""
    time_s = getattr(request, "param", TIME_S)
    opened = Parsers(time_s, 300_000_000, poisoned_parser.__name__)
    yield opened
    opened.close()


def process(parsers: Parsers) -> int:
    """Who answers."""
    return int(parsers.structured(IDLE).text)


def refused(parsers: Parsers, said: str) -> RowError:
    """What becomes of a document that says this."""
    with pytest.raises(RowError) as caught:
        parsers.structured(said.encode())
    return caught.value


def test_what_a_parser_finds_is_what_the_library_finds(parsers: Parsers) -> None:
    """Every field of it, across the pipe."""
    for data in (html_page(SHIRT), pdf_document(SHIRT), "Grüße €\U0001f600".encode() * 9):
        assert parsers.structured(data) == documents.structured(data)
        assert parsers.plain(data) == documents.plain(data)
    assert parsers.count_pages(pdf_document(SHIRT)) == 1


def test_a_time_crosses_as_a_time(parsers: Parsers) -> None:
    """In UTC."""
    meta = '<meta property="article:published_time" content="2024-02-29T13:00:00+01:00">'
    page = html_page(SHIRT).decode().replace("<title>", meta + "<title>").encode()
    assert parsers.structured(page).published == datetime(2024, 2, 29, 12, tzinfo=UTC)


def test_what_is_wrong_with_a_document_comes_back_as_its_error(parsers: Parsers) -> None:
    """With its kind and its words; the parser lives on."""
    with pytest.raises(Unsupported, match="encrypted"):
        parsers.plain(b"%PDF-1.4 /Encrypt")
    with pytest.raises(InvalidInput, match="cannot be opened"):
        parsers.count_pages(b"%PDF-1.4 and no more")
    assert parsers.count_pages(pdf("a", ["b"])) == 1


def test_a_parser_goes_on_to_the_next_document(poisoned: Parsers) -> None:
    """Also after one that it refused, or met a bug in."""
    first = process(poisoned)
    refusal = refused(poisoned, "raise refusal")
    bug = refused(poisoned, "raise bug")
    assert (type(refusal), refusal.message) == (InvalidInput, "no text in it")
    assert type(bug) is Internal
    assert "LookupError" in bug.message
    assert process(poisoned) == first


@pytest.mark.parametrize("poisoned", [0.3], indirect=True)
def test_a_document_that_takes_too_long_is_too_large(
    poisoned: Parsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs one parser; the error names the limit and its setting."""
    monkeypatch.setattr(module, "WALL_FACTOR", HANG_S)  # whatever else the machine does
    first = process(poisoned)
    error = refused(poisoned, "compute")
    assert type(error) is TooLarge
    assert "0.3 s of CPU time (PIPELINE_PARSE_TIMEOUT_S)" in error.message
    assert is_gone(first)
    assert process(poisoned) != first


@pytest.mark.parametrize("poisoned", [0.2], indirect=True)
def test_a_machine_that_gives_a_parser_no_time_is_no_documents_fault(poisoned: Parsers) -> None:
    """Its row is tried again later."""
    first = process(poisoned)
    error = refused(poisoned, "wait 60")
    assert type(error) is Timeout
    assert "overloaded" in error.message
    assert is_gone(first)


def test_a_document_that_takes_too_much_memory_is_too_large(poisoned: Parsers) -> None:
    """It costs its parsers; what fits is read by the next."""
    first = process(poisoned)
    error = refused(poisoned, "fill 400000000")
    assert type(error) is TooLarge
    assert "300000000 bytes of memory (PIPELINE_PARSE_MEMORY_BYTES)" in error.message
    assert is_gone(first)
    assert poisoned.structured(b"fill 100000000").text == "100000000"


def test_a_document_too_large_to_be_handed_over_is_too_large(poisoned: Parsers) -> None:
    """The parser has no room to take it."""
    assert type(refused(poisoned, "x" * 320_000_000)) is TooLarge


def test_nesting_that_exhausts_the_stack_is_the_documents(poisoned: Parsers) -> None:
    """And no bug of ours."""
    error = refused(poisoned, "nest")
    assert type(error) is TooLarge
    assert "nested" in error.message


def test_a_parser_that_has_grown_is_replaced_before_the_next_document(poisoned: Parsers) -> None:
    """So that this one has its share of the memory."""
    first = process(poisoned)
    poisoned.structured(b"grow 200000000")
    assert is_gone(first)
    assert poisoned.structured(b"fill 150000000").text == "150000000"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGBUS])
def test_a_document_that_kills_its_parser_twice_is_to_blame(
    poisoned: Parsers, number: signal.Signals
) -> None:
    """The second one was new and had nothing else to do."""
    error = refused(poisoned, f"kill {number}")
    assert type(error) is InvalidInput
    assert number.name in error.message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_parser_that_is_ended_from_outside_proves_nothing(
    poisoned: Parsers, number: signal.Signals
) -> None:
    """The kernel does so when memory runs out: the row is tried again."""
    error = refused(poisoned, f"kill {number}")
    assert type(error) is ResourceExhausted
    assert number.name in error.message


def test_a_parser_that_dies_once_is_no_documents_fault(poisoned: Parsers, tmp_path: Path) -> None:
    """A new one reads it."""
    assert int(poisoned.structured(f"once {tmp_path / 'died'}".encode()).text)


def test_a_parser_that_died_in_its_sleep_is_replaced(poisoned: Parsers) -> None:
    """Nobody notices."""
    first = process(poisoned)
    os.kill(first, signal.SIGKILL)
    assert process(poisoned) != first


@pytest.mark.parametrize("poisoned", [0.5], indirect=True)
def test_a_parser_that_cannot_be_started_is_unavailable(poisoned: Parsers) -> None:
    """It is no document's fault, and may pass."""
    error = refused(poisoned, "idle")
    assert type(error) is Unavailable
    assert "exit code 9" in error.message


def test_threads_have_a_parser_each_and_share_them_afterwards(poisoned: Parsers) -> None:
    """No answer goes to another's document."""
    with ThreadPoolExecutor(4) as threads:
        sizes = [f"fill {size}".encode() for size in range(40)]
        answers = list(threads.map(lambda size: poisoned.structured(size).text, sizes))
        seen = set(threads.map(lambda _: process(poisoned), range(40)))
    assert answers == [str(size) for size in range(40)]
    assert len(seen) <= 4


def test_the_processes_end_when_they_are_closed() -> None:
    """All of them."""
    opened = Parsers(TIME_S, MEMORY_BYTES, poisoned_parser.__name__)
    idle = process(opened)
    opened.close()
    assert is_gone(idle)


ORPHAN = """
import os, sys
from pipeline_assets.documents.parsers import Parsers
parsers = Parsers(20, 300_000_000, sys.argv[1])
print(parsers.structured(b"idle").text, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_parser_ends_with_who_started_it() -> None:
    """Also where that one was killed and could not say so."""
    arguments = [sys.executable, "-c", ORPHAN, poisoned_parser.__name__]
    said = subprocess.run(arguments, stdout=subprocess.PIPE, check=False)
    parser = int(said.stdout)
    subprocess.run([sys.executable, "-c", WAIT, str(parser)], timeout=HANG_S, check=True)


WAIT = """
import sys, time
from pipeline_assets.store.processes import is_gone
while not is_gone(int(sys.argv[1])):
    time.sleep(0.01)
"""


def test_a_parser_is_told_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever takes it over finds none in its environment."""
    monkeypatch.setenv("PIPELINE_STATE_URL", "postgresql+psycopg2://u:secret@db/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    opened = Parsers(TIME_S, MEMORY_BYTES, poisoned_parser.__name__)
    environment = Path(f"/proc/{process(opened)}/environ").read_bytes()
    opened.close()
    assert b"PATH=" in environment
    assert b"secret" not in environment


def test_a_process_has_one_set_of_parsers_for_its_limits_and_a_fork_its_own() -> None:
    """Two processes that speak into one connection would take each other's answers."""
    shared = shared_parsers(TIME_S, MEMORY_BYTES)
    assert shared_parsers(TIME_S, MEMORY_BYTES) is shared
    child = os.fork()
    if child == 0:
        os._exit(0 if shared_parsers(TIME_S, MEMORY_BYTES) is not shared else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_answer_that_is_no_documents_is_refused(
    poisoned: Parsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text has a million characters at most: who says more is not believed."""
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 10)
    assert type(refused(poisoned, "idle")) is InvalidInput
