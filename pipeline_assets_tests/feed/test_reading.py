"""Reading one file: every row in is one row out, and a bad row says what is wrong with it."""

import gzip
import json
import math
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_assets.errors import MAX_ERROR_CHARS, FeedError
from pipeline_assets.feed.files import list_local
from pipeline_assets.feed.mapping import AS_THEY_ARE, FeedColumns
from pipeline_assets.feed.reading import Reading, column_names, read_rows
from pipeline_assets.feed.rows import COLUMNS, MAX_FIELD_CHARS, FeedRow, RawRow
from pipeline_assets.feed.rows import feed_row as feed_row_of
from pipeline_assets.feed.text import MAX_LINE_BYTES

HEADER = b"item_id,name,kind,event_time\n"
SIX = datetime(2026, 3, 2, 6, tzinfo=UTC)
GOOD: Mapping[str, object] = {
    "item_id": "a-1",
    "name": "Red shirt",
    "kind": "product",
    "event_time": "2026-03-02T06:00:00Z",
}

EARLIEST = datetime(1901, 1, 1)  # noqa: DTZ001 - a strategy gives it its zone

# On a busy machine the first example of a strategy can take a second.
property_ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Write = Callable[[str, bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a feed of that name and gives its path."""

    def write(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write


def read_feed(source: str) -> Iterator[FeedRow]:
    """The rows of a file."""
    [file] = list_local(source)
    return read_rows(file, Reading(AS_THEY_ARE))


def feed_row(raw: RawRow) -> FeedRow:
    """The row of some file."""
    return feed_row_of(raw, "feed.csv")


def feed_columns(source: str) -> FeedColumns:
    """The columns of a file, those that are read and those that are not."""
    [file] = list_local(source)
    return AS_THEY_ARE.shown(column_names(file) or ())


def rows_of(tmp_path: Path, table: pa.Table) -> list[FeedRow]:
    """The rows of `table` as a Parquet feed."""
    path = tmp_path / "feed.parquet"
    pq.write_table(table, path)
    return list(read_feed(str(path)))


def jsonl(*rows: Mapping[str, object]) -> bytes:
    """The rows as JSON lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


FULL_CSV = (
    "item_id,name,kind,description,document_url,image_url,event_time,priority\n"
    'a-1, Grün ,product,"two\nlines, ""quoted""", http://s/d.html ,,2026-03-02T08:00:00+02:00,\n'
    "a-2,Manual,document,,,,2026-03-02 06:00:00,interactive\n"
).encode()
FULL = [
    FeedRow(
        line=2,
        item_id="a-1",
        name="Grün",
        kind="product",
        description='two\nlines, "quoted"',
        document_url="http://s/d.html",
        image_url=None,
        event_time=SIX,
        priority="batch",
        problem=None,
        file="feed.csv",
    ),
    FeedRow(4, "a-2", "Manual", "document", None, None, None, SIX, "interactive", None, "feed.csv"),
]


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a BOM"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_csv_is_read_in_full(write: Write, prefix: bytes, newline: bytes) -> None:
    """Quoted line ends, time zones, naive times, stripped URLs, defaults."""
    rows = list(read_feed(write("feed.csv", prefix + FULL_CSV.replace(b"\n", newline))))
    assert [row.line for row in rows] == [2, 4]
    assert rows[1] == FULL[1]
    assert rows[0].name == "Grün"


def test_gzip_and_endings_in_capitals_are_the_same_feed(write: Write) -> None:
    """`.CSV.GZ` is read like `.csv`."""
    packed = [row._replace(file="FEED.CSV.GZ") for row in FULL]
    assert list(read_feed(write("FEED.CSV.GZ", gzip.compress(FULL_CSV)))) == packed
    assert list(read_feed(write("feed.csv", FULL_CSV))) == FULL


def test_jsonl_is_read_in_full(write: Write) -> None:
    """One object a line, null for nothing, blank lines skipped but counted."""
    second = {**GOOD, "item_id": "a-2", "image_url": None, "priority": "background"}
    data = jsonl(GOOD) + b"\n  \n" + jsonl(second)
    for name, content in (("f.jsonl", data), ("f.jsonl.gz", gzip.compress(data))):
        one, two = read_feed(write(name, content))
        assert (one.line, one.item_id, one.event_time, one.problem) == (1, "a-1", SIX, None)
        assert (two.line, two.item_id, two.priority, two.problem) == (4, "a-2", "background", None)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "+02:00"])
def test_parquet_times_of_every_unit_and_zone(tmp_path: Path, unit: str, zone: str | None) -> None:
    """A stored instant is taken as it is, a naive one as UTC."""
    times = pa.array([int(SIX.timestamp())], pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
    table = pa.table({**{k: [v] for k, v in GOOD.items()}, "event_time": times})
    (row,) = rows_of(tmp_path, table)
    assert (row.event_time, row.problem, row.line) == (SIX, None, 1)


def test_parquet_texts_of_every_type(tmp_path: Path) -> None:
    """Dictionaries, large strings, binary; dates count from midnight."""
    table = pa.table(
        {
            "item_id": pa.array(["a-1", "a-2"], pa.large_string()),
            "name": pa.array(["one", "two"]).dictionary_encode(),
            "kind": pa.array([b"product", b"document"], pa.binary()),
            "event_time": pa.array([date(2026, 3, 2), None], pa.date32()),
            "priority": pa.nulls(2),
        }
    )
    one, two = rows_of(tmp_path, table)
    assert (one.item_id, one.name, one.kind, one.problem) == ("a-1", "one", "product", None)
    assert one.event_time == datetime(2026, 3, 2, tzinfo=UTC)
    assert two.problem == "event_time is empty"


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        (
            "event_time",
            pa.array([9 * 10**14], pa.timestamp("s")),
            "event_time '900000000000000000 ms",
        ),
        ("event_time", pa.array([12345]), "event_time '12345' is not a time"),
        ("event_time", pa.array([1.5]), "event_time is the number 1.5; it must be text"),
        ("event_time", pa.array([2**31 - 1], pa.date32()), "event_time is a"),
        ("item_id", pa.array([7.5]), "item_id is the number 7.5; it must be text"),
        ("item_id", pa.array([True]), "item_id is true; it must be text"),
        ("item_id", pa.array([b"\xff\xfe"]).cast(pa.binary()), "item_id '��' has bytes"),
        ("name", pa.array([["a"]]), "name is a list; it must be text"),
        ("kind", pa.array([{"a": 1}]), "kind is a dict; it must be text"),
    ],
)
def test_parquet_values_of_the_wrong_type_are_problems(
    tmp_path: Path, column: str, values: pa.Array, problem: str
) -> None:
    """Whatever the column's type, the row stays and says so."""
    table = pa.table({**{k: [v] for k, v in GOOD.items()}, column: values})
    (row,) = rows_of(tmp_path, table)
    assert row.problem is not None
    assert row.problem.startswith(problem)
    assert getattr(row, column) is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"item_id": ""}, "item_id is empty"),
        ({"item_id": "  "}, "item_id is empty"),
        ({"item_id": None}, "item_id is empty"),
        ({"item_id": "x" * 201}, "item_id 'xxx"),
        ({"item_id": "a\tb"}, r"item_id 'a\tb' has control characters"),
        ({"item_id": "a\x00"}, r"item_id 'a\x00' has control characters"),
        ({"item_id": "a\u2028b"}, r"item_id 'a\u2028b' has control characters"),
        ({"item_id": "a\ud800"}, "item_id 'a�' has bytes or escapes that are not UTF-8 text"),
        ({"item_id": 5.5}, "item_id is the number 5.5; it must be text"),
        ({"item_id": 10**400}, "item_id is the number 1000000"),
        ({"item_id": True}, "item_id is true; it must be text"),
        ({"name": ""}, "name is empty"),
        ({"name": ["a"]}, "name is a list; it must be text"),
        ({"kind": "shoe"}, "kind 'shoe' is not one of product, document"),
        ({"kind": "PRODUCT"}, "kind 'PRODUCT' is not one of product, document"),
        ({"kind": None}, "kind is empty"),
        ({"event_time": "yesterday"}, "event_time 'yesterday' is not a time such as"),
        ({"event_time": "0001-01-01T00:00:00+14:00"}, "event_time '0001-01-01T00:00:00+14:00'"),
        ({"event_time": ""}, "event_time is empty"),
        ({"event_time": "1712010112345678"}, "event_time '1712010112345678' is not a time"),
        ({"event_time": "17120101123456"}, "event_time '17120101123456' is not a time"),
        ({"event_time": "1712-01-01"}, "event_time '1712-01-01' is not a time"),
        ({"event_time": 1.5}, "event_time is the number 1.5; it must be text"),
        ({"priority": "urgent"}, "priority 'urgent' is not one of interactive, batch, background"),
        ({"image_url": {}}, "image_url is a dict; it must be text"),
        ({"document_url": "http://h/\udcff"}, "document_url 'http://h/�' has bytes"),
        ({"description": "x" * (MAX_FIELD_CHARS + 1)}, "description 'xxx"),
        ({"item_id": "", "name": "", "kind": "?"}, "item_id is empty"),
    ],
)
def test_the_first_problem_names_field_and_value(
    change: Mapping[str, object], problem: str
) -> None:
    """A field that fails its check is None; the others are kept."""
    row = feed_row(RawRow(3, {**GOOD, **change}))
    assert row.problem is not None
    assert row.problem.startswith(problem)
    assert len(row.problem) <= MAX_ERROR_CHARS
    assert row.priority == "batch"
    assert all(getattr(row, name) is None for name in change if name != "priority")
    assert all(getattr(row, name) is not None for name in GOOD if name not in change)


@pytest.mark.parametrize(
    "change",
    [
        {"item_id": "x" * 200},
        {"name": "nul \x00 inside"},
        {"description": "x" * MAX_FIELD_CHARS},
        {"image_url": "ftp://not.judged/here"},
        {"priority": None},
        {"priority": " "},
        {"event_time": "2026-03-02"},
    ],
)
def test_values_at_the_limit_are_no_problem(change: Mapping[str, object]) -> None:
    """Boundary values on the good side."""
    assert feed_row(RawRow(1, {**GOOD, **change})).problem is None


@pytest.mark.parametrize(
    "value",
    [
        *("2026-03-02 06:00:00 UTC", "2026-03-02T06:00:00GMT", "20260302T060000Z"),
        *("1772431200", "1772431200.0", "1772431200000", 1772431200, 1772431200000, 1772431200.0),
    ],
)
def test_times_as_exports_write_them(value: object) -> None:
    """Of databases, and in seconds and milliseconds since 1970."""
    row = feed_row(RawRow(1, {**GOOD, "event_time": value}))
    assert (row.event_time, row.problem) == (SIX, None)


@pytest.mark.parametrize(
    ("changed", "read"),
    [
        ({"item_id": 7}, {"item_id": "7"}),
        ({"item_id": 7.0}, {"item_id": "7"}),
        ({"item_id": "cafe\u0301"}, {"item_id": "caf\u00e9"}),
        ({"image_url": math.nan}, {"image_url": None}),
        ({"description": math.nan}, {"description": None}),
        ({"image_url": "//cdn.example/x.jpg"}, {"image_url": "https://cdn.example/x.jpg"}),
        ({"name": "Sock&reg; &amp; Shoe"}, {"name": "Sock® & Shoe"}),
        (
            {"description": "<p>Red<br/>shirt</p>\n<ul><li>one</li></ul>"},
            {"description": "Red shirt one"},
        ),
        ({"description": "<style>p{}</style><!-- x -->warm"}, {"description": "warm"}),
        ({"name": "a < b and <end_of_text> c"}, {"name": "a < b and <end_of_text> c"}),
    ],
)
def test_values_as_exports_write_them(
    changed: Mapping[str, object], read: Mapping[str, object]
) -> None:
    """Read as what they mean."""
    row = feed_row(RawRow(1, {**GOOD, **changed}))
    assert {name: getattr(row, name) for name in read} == read
    assert row.problem is None


def test_a_problem_keeps_no_credentials() -> None:
    """A value that is shown loses its user part."""
    row = feed_row(RawRow(1, {**GOOD, "kind": "http://me:secret@host/"}))
    assert row.problem is not None
    assert "secret" not in row.problem


def test_bad_csv_records_cost_only_their_own_line(write: Write) -> None:
    """Too few and too many fields, stray quotes, bytes that are not UTF-8, NUL."""
    lines = [
        b"a-1,one,product",
        b"a-2,two,product,2026-03-02T06:00:00Z,more",
        b'a-3,"never closed,product,2026-03-02T06:00:00Z',
        b"a-4,caf\xe9,product,2026-03-02T06:00:00Z",
        b"a\x00-5,nul,product,2026-03-02T06:00:00Z",
        b"a-6,good,product,2026-03-02T06:00:00Z",
        b'a-7,"closed" late,product,2026-03-02T06:00:00Z',
        b"a-8,good,product,2026-03-02T06:00:00Z",
    ]
    rows = list(read_feed(write("f.csv", HEADER + b"\n".join(lines) + b"\n\n")))
    assert [(row.line, row.item_id) for row in rows] == [
        (2, "a-1"),
        (3, "a-2"),
        (4, None),
        (5, "a-4"),
        (6, None),
        (7, "a-6"),
        (8, None),
        (9, "a-8"),
    ]
    problems = [row.problem or "" for row in rows]
    assert problems[0] == "line 2 has 3 fields where the header has 4"
    assert problems[1] == "line 3 has 5 fields where the header has 4"
    assert problems[2].startswith("line 4 is not CSV")
    assert (rows[3].name, problems[3]) == (
        "caf�",
        "name 'caf�' has bytes or escapes that are not UTF-8 text",
    )
    assert problems[4] == r"item_id 'a\x00-5' has control characters"
    assert problems[5] == problems[7] == ""
    assert problems[6].startswith("line 8 is not CSV")


def test_a_quote_that_swallows_the_rest_of_the_file_loses_nothing(write: Write) -> None:
    """Also where records of several lines follow it."""
    good = b'b,"two\nlines",product,2026-03-02T06:00:00Z\n'
    rows = list(read_feed(write("f.csv", HEADER + b'a,"open,product,\n' + good * 3)))
    assert sum(row.problem is None for row in rows) >= 2
    assert rows[0].problem == "line 2 is not CSV: ',' expected after '\"'"
    assert rows[-1].item_id == "b"


def test_many_unclosed_quotes_stay_linear(write: Write) -> None:
    """Each line opens a quote, alone and inside another's: the worst that quotes can do."""
    rows = list(read_feed(write("f.csv", HEADER + b'x",",\n' * 20_500)))
    assert len(rows) == 20_500
    assert all(row.problem for row in rows)


def test_an_endless_line_is_one_bad_row(write: Write) -> None:
    """It is skipped without being held, in a quote or outside, and the next line is good."""
    endless = b'a,"' + b"x" * (2 * MAX_LINE_BYTES)
    rows = list(read_feed(write("f.csv", HEADER + endless + b"\n" + FULL_CSV.split(b"\n")[3])))
    assert [row.line for row in rows] == [2, 3]
    assert rows[0].problem == "line 2 is longer than 8 MiB, which no row is"
    rows = list(read_feed(write("f.jsonl", jsonl(GOOD) + endless + b"\n" + jsonl(GOOD))))
    assert [row.problem is None for row in rows] == [True, False, True]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"item_id": "a', "Unterminated string starting at column 13"),
        (b"[1, 2]", "it is not an object"),
        (b"null", "it is not an object"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "a number in it is too long"),
        (b"\xff\xfe", "Expecting value"),
    ],
)
def test_a_broken_json_line_is_one_bad_row(write: Write, line: bytes, why: str) -> None:
    """The lines around it are kept."""
    before, bad, after = read_feed(write("f.jsonl", jsonl(GOOD) + line + b"\n" + jsonl(GOOD)))
    assert before.problem is None
    assert after.problem is None
    assert (bad.line, bad.item_id) == (2, None)
    assert bad.problem is not None
    assert bad.problem.startswith("line 2, ")
    assert why in bad.problem


def test_unknown_columns_are_reported_and_ignored(write: Write, tmp_path: Path) -> None:
    """In the order of the file, for every format."""
    wide = {"colour": "red", **GOOD, "size": 3}
    known, unknown = tuple(GOOD), ("colour", "size")
    csv = ",".join(wide).encode() + b"\nred,a-1,shirt,product,2026-03-02T06:00:00Z,3\n"
    pq.write_table(pa.table({k: [v] for k, v in wide.items()}), tmp_path / "f.parquet")
    for source in (
        write("f.csv", csv),
        write("f.jsonl", jsonl({**GOOD, "item_id": "a-0"}, wide)),
        str(tmp_path / "f.parquet"),
    ):
        columns = feed_columns(source)
        assert set(columns.known) == set(known)
        assert columns.unknown == unknown
        assert all(row.problem is None for row in read_feed(source))


@pytest.mark.parametrize("missing", ["item_id", "name", "kind", "event_time"])
def test_a_feed_without_a_required_column_is_refused_by_its_name(
    write: Write, tmp_path: Path, missing: str
) -> None:
    """For every format, before the first row."""
    row = {name: value for name, value in GOOD.items() if name != missing}
    pq.write_table(pa.table({k: [v] for k, v in row.items()}), tmp_path / "f.parquet")
    for source in (
        write("f.csv", ",".join(row).encode() + b"\n1,2,3\n"),
        write("f.jsonl", jsonl(row)),
        str(tmp_path / "f.parquet"),
    ):
        with pytest.raises(FeedError, match=f"no column '{missing}'"):
            next(read_feed(source))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("f.csv", b"", "it is empty"),
        ("f.csv", b"\n\n", "it is empty"),
        ("f.csv", HEADER.decode().encode("utf-16"), "UTF-8"),
        ("f.csv", HEADER.replace(b",", b";"), "comma-separated"),
        ("f.csv", b"item_id," + HEADER, "'item_id' is there twice"),
        ("f.csv", b'"item_id', "its header cannot be read"),
        ("f.csv.gz", b"not gzip", "damaged or cut off"),
        ("f.parquet", b"PAR1 no", "damaged or cut off"),
        ("f.parquet", b"", "damaged or cut off"),
        ("f.xlsx", b"PK\3\4\0\0", "no CSV or JSONL"),
        ("f", b"", "it is empty"),
    ],
)
def test_a_feed_that_cannot_be_read_says_why(
    write: Write, name: str, data: bytes, reason: str
) -> None:
    """Before the first row."""
    with pytest.raises(FeedError, match=reason):
        next(read_feed(write(name, data)))


def test_a_feed_cut_off_in_the_middle_says_so_after_its_last_whole_row(write: Write) -> None:
    """The rows before the damage are yielded; then the feed as a whole is known to be damaged."""
    data = gzip.compress(HEADER + b"a,one,product,2026-03-02T06:00:00Z\n" * 100_000)
    rows = read_feed(write("f.csv.gz", data[: len(data) // 2]))
    assert next(rows).problem is None
    with pytest.raises(FeedError, match="damaged or cut off"):
        list(rows)


def test_memory_does_not_grow_with_the_feed(write: Write) -> None:
    """Forty times the rows, the same peak, within a megabyte."""

    def peak_bytes(count: int) -> int:
        source = write("f.csv", HEADER + b"a,one,product,2026-03-02T06:00:00Z\n" * count)
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_feed(source)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert abs(peak_bytes(20_000) - peak_bytes(500)) < 1 << 20


def non_blank(data: bytes) -> int:
    """How many lines have something on them."""
    return sum(1 for line in data.split(b"\n") if line.decode("utf-8", "replace").strip())


@property_
@given(st.binary(max_size=300).filter(lambda data: b'"' not in data))
def test_any_bytes_as_csv_give_a_row_a_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Every line that is not blank is exactly one row, good or bad."""
    path = tmp_path_factory.mktemp("feed") / "f.csv"
    path.write_bytes(HEADER + data)
    assert len(list(read_feed(str(path)))) == non_blank(data)


@property_
@given(st.text(alphabet='a",\n\r\0é ', max_size=60))
def test_any_quoting_never_crashes_and_never_loses_a_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Lines of rows go up, and a record that cannot be read costs one line at most."""
    path = tmp_path_factory.mktemp("feed") / "f.csv"
    path.write_bytes(HEADER + text.encode())
    rows = list(read_feed(str(path)))
    lines = [row.line for row in rows]
    assert lines == sorted(set(lines))
    assert bool(rows) == bool(non_blank(text.encode()))


@property_
@given(st.binary(max_size=300))
def test_any_bytes_as_jsonl_give_a_row_a_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """A first good row settles the columns, so that only rows are at stake."""
    path = tmp_path_factory.mktemp("feed") / "f.jsonl"
    path.write_bytes(jsonl(GOOD) + data)
    rows = list(read_feed(str(path)))
    assert len(rows) == 1 + non_blank(data)


@property_
@given(st.sampled_from(["f.csv", "f.jsonl", "f.parquet", "f.csv.gz"]), st.binary(max_size=200))
def test_any_bytes_are_rows_or_a_feed_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: bytes
) -> None:
    """Nothing else is raised."""
    path = tmp_path_factory.mktemp("feed") / name
    path.write_bytes(data)
    try:
        rows = list(read_feed(str(path)))
    except FeedError:
        return
    assert all(isinstance(row, FeedRow) for row in rows)


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@property_
@given(st.dictionaries(st.sampled_from(COLUMNS), ANY_VALUE))
def test_any_values_give_a_row_that_keeps_its_promises(values: dict[str, object]) -> None:
    """What is not None can be relied on, and can be stored as UTF-8."""
    row = feed_row(RawRow(1, values))
    assert row.kind in (None, "product", "document")
    assert row.priority in ("interactive", "batch", "background")
    assert row.item_id is None or 0 < len(row.item_id) <= 200
    assert row.event_time is None or row.event_time.utcoffset() == timedelta()
    for value in row:
        if isinstance(value, str):
            value.encode("utf-8")
    complete = None not in (row.item_id, row.name, row.kind, row.event_time)
    assert complete or row.problem is not None


@property_
@given(
    st.datetimes(EARLIEST, timezones=st.just(timezone(timedelta(hours=5, minutes=30)))),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=50),
)
def test_a_good_row_comes_through_json_unchanged(time: datetime, name: str) -> None:
    """Times to the microsecond, names to the character."""
    row = feed_row(RawRow(1, {**GOOD, "name": name, "event_time": time.isoformat()}))
    if name.strip() and datetime.min.replace(tzinfo=UTC) + timedelta(days=1) < time:
        assert (row.name, row.event_time, row.problem) == (name.strip(), time, None)


def test_an_unreadable_jsonl_is_not_refused(write: Write) -> None:
    """Its rows will each say what is wrong."""
    assert [row.problem is not None for row in read_feed(write("f.jsonl", b"{\n"))] == [True]
