"""The index as a whole: what is found, what is current, what a replacement changes."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_assets.errors import ContractError, StorageError
from pipeline_assets.search import DimensionMismatch, IndexDamaged, Mode, SearchIndex
from pipeline_assets_tests.search.samples import (
    EMBEDDERS,
    HOUR,
    NEXT_HOUR,
    embed,
    item,
    pictured,
    table,
)


def found(index: SearchIndex, query: str, mode: Mode = "hybrid") -> list[str]:
    """The ids of the hits, best first."""
    return [hit.item_id for hit in index.search(query, mode=mode, embedders=EMBEDDERS)]


def files(root: Path) -> set[str]:
    """The names of the vector files."""
    return {path.name for path in root.glob("*/*.faiss")}


def database(root: Path) -> Path:
    """The database of the current generation."""
    return root / (root / "current").read_text() / "index.db"


def test_a_missing_index_has_no_hits_and_is_not_made_by_reading(
    index: SearchIndex, root: Path
) -> None:
    """Before the first hour, searching is no error."""
    assert found(index, "kettle") == []
    assert (index.spaces(), index.count()) == ((), 0)
    assert not root.exists()


def test_replacing_an_hour_counts_what_it_holds(index: SearchIndex) -> None:
    """The counts go into the metadata of a materialization."""
    done = index.replace_hour(HOUR, table(pictured("a", "red"), pictured("b", "blue"), item("c")))
    assert (done.hour, done.items, done.vectors, done.spaces) == (HOUR, 3, 2, 1)
    assert done.seconds > 0
    assert (index.count(), index.spaces()) == (3, ("clip-a",))


def test_the_index_knows_which_hour_an_item_is_current_in(index: SearchIndex) -> None:
    """Of those that it has; asked of no index, it knows none."""
    assert index.current_hours(["a"]) == {}
    index.replace_hour(HOUR, table(item("a", "Kettle"), item("b", "Teapot")))
    index.replace_hour(NEXT_HOUR, table(item("a", "Kettle", minutes=60)))
    assert index.current_hours(["a", "b", "c"]) == {"a": NEXT_HOUR, "b": HOUR}


def test_an_hour_without_items_is_an_hour(index: SearchIndex) -> None:
    """It is indexed like any other."""
    done = index.replace_hour(HOUR, table())
    assert (done.items, index.count(), found(index, "kettle")) == (0, 0, [])


def test_an_item_without_label_is_found_by_its_name(index: SearchIndex) -> None:
    """In any grammatical number."""
    index.replace_hour(HOUR, table(item("a", "Enamel kettle"), item("b", "Teapot")))
    assert found(index, "kettles") == ["a"]


def test_an_item_without_embedding_is_found_by_keyword_among_those_with_one(
    index: SearchIndex,
) -> None:
    """Having no vector hides nothing."""
    index.replace_hour(HOUR, table(pictured("a", "red"), item("b", "a red kettle")))
    assert set(found(index, "red")) == {"a", "b"}
    assert found(index, "red", "vector") == ["a"]
    assert found(index, "red", "keyword") == ["b"]


@pytest.mark.parametrize("field", ["name", "label", "title", "description", "text"])
def test_every_field_is_searched(index: SearchIndex, field: str) -> None:
    """A word may be anywhere."""
    index.replace_hour(HOUR, table(item("a") | {field: "cinnamon"}, item("b", "pepper")))
    assert found(index, "cinnamon", "keyword") == ["a"]


def test_a_name_counts_more_than_a_text(index: SearchIndex) -> None:
    """What somebody called it says more than where it is mentioned."""
    rows = item("in-text", "Grinder", text="pepper mill"), item("in-name", "Pepper", text="a mill")
    index.replace_hour(HOUR, table(*rows, *(item(f"other-{n}", "Spoon") for n in range(5))))
    assert found(index, "pepper", "keyword") == ["in-name", "in-text"]


def test_all_words_are_better_than_one(index: SearchIndex) -> None:
    """Any word finds, all words rank first."""
    rows = [item("one", "green lamp"), item("all", "green kettle"), item("other", "white spoon")]
    index.replace_hour(HOUR, table(*rows, *(item(f"x-{n}", "spoon") for n in range(5))))
    assert found(index, "green kettle", "keyword") == ["all", "one"]


def test_accents_and_endings_do_not_matter(index: SearchIndex) -> None:
    """Nor does it matter how an accent is encoded; a sharp s is a letter of its own."""
    index.replace_hour(HOUR, table(item("a", "Crème brûlée dishes"), item("b", "Straße")))
    assert found(index, "creme brulee dish", "keyword") == ["a"]
    assert found(index, "cre\u0300me", "keyword") == ["a"]
    assert found(index, "STRASSE", "keyword") == []
    assert found(index, "straße", "keyword") == ["b"]


def test_a_hit_explains_itself(index: SearchIndex) -> None:
    """Where it stood, what it scored, and the words that matched."""
    row = pictured(
        "a", "red", name="Red mug", label="mug", label_confidence=0.9, quality=0.72,
        description="A mug. " * 50, text="Holds tea and more tea.",
    )  # fmt: skip
    index.replace_hour(HOUR, table(row, item("b", "Spoon")))
    (hit,) = index.search("red", embedders=EMBEDDERS)
    assert (hit.item_id, hit.hour, hit.name, hit.label) == ("a", HOUR, "Red mug", "mug")
    assert (hit.quality, hit.label_confidence) == (0.72, 0.9)
    assert hit.ranks == {"keyword": 1, "vector:clip-a:image": 1}
    assert hit.score == pytest.approx(2 * 0.72 / 61)
    assert hit.snippet == "Red mug"
    (hit,) = index.search("tea", mode="keyword", embedders={})
    assert hit.snippet == "Holds tea and more tea."
    (hit,) = index.search("red", mode="vector", embedders=EMBEDDERS)
    assert hit.snippet == "Red mug"


def test_a_hit_without_matching_words_shows_its_own(index: SearchIndex) -> None:
    """Cut to a readable length."""
    index.replace_hour(HOUR, table(pictured("a", "red", description="Made of wood. " * 50)))
    (hit,) = index.search("red", embedders=EMBEDDERS)
    assert hit.snippet.startswith("Made of wood.")
    assert len(hit.snippet) <= 160


def test_pending_items_are_found_behind_finished_ones(index: SearchIndex) -> None:
    """Even behind poor ones."""
    pending = item("a", "kettle", status="pending", quality=None)
    index.replace_hour(HOUR, table(pending, item("b", "kettle", quality=0.3)))
    assert found(index, "kettle") == ["b", "a"]


def test_top_is_kept(index: SearchIndex) -> None:
    """Zero means zero, and more than a list puts forward by itself is possible."""
    index.replace_hour(HOUR, table(*(item(f"{n:03}", "kettle") for n in range(250))))
    for top, count in ((0, 0), (1, 1), (10, 10), (200, 200), (1000, 250)):
        hits = index.search("kettle", top=top, embedders={})
        assert [hit.item_id for hit in hits] == [f"{n:03}" for n in range(count)]


def test_an_unknown_mode_is_refused(index: SearchIndex) -> None:
    """Instead of finding nothing."""
    with pytest.raises(ValueError, match="mode='fuzzy' is not one of keyword, vector, hybrid"):
        index.search("kettle", mode="fuzzy", embedders={})  # type: ignore[arg-type]


def test_only_spaces_with_items_and_an_embedder_are_asked(index: SearchIndex) -> None:
    """Once each, however many modalities they have."""
    rows = pictured("a", "red"), pictured("b", "red", space="clip-b"), pictured("c", "blue")
    index.replace_hour(HOUR, table(*rows, pictured("d", "red", modality="text")))
    asked: list[list[str]] = []

    def ask(texts: list[str]) -> object:
        asked.append(list(texts))
        return embed(texts)

    embedders = {"clip-a": ask, "elsewhere": ask}
    hits = index.search("red", mode="vector", embedders=embedders)  # type: ignore[arg-type]
    assert {hit.item_id for hit in hits} == {"a", "d"}
    assert asked == [["red"]]
    assert index.spaces() == ("clip-a", "clip-b")


def test_what_is_far_is_no_hit(index: SearchIndex) -> None:
    """The least far of strangers is not what was asked for."""
    index.replace_hour(HOUR, table(pictured("a", "red"), pictured("b", "blue")))
    assert found(index, "red", "vector") == ["a"]


NASTY = [
    "", " ", '"', "'", '"kettle', "kettle*", "^kettle", "name:kettle", "kettle AND", "NOT kettle",
    "NEAR(kettle, 2)", "(kettle", "{name text}: kettle", "kettle + -", "!?.,;:", "\x00", "a\x00b",
    "\ud800 kettle", "🫖", "чайник", "茶壶", "\u0301", "kettle; DROP TABLE entry", "_", "a_b", "%s",
    "kettle " * 2_000, "k" * 10_000, " ".join(f"word{n}" for n in range(2_000)), '"' * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("mode", ["keyword", "vector", "hybrid"])
def test_no_query_does_harm(index: SearchIndex, mode: Mode) -> None:
    """Whatever is typed is words, and nothing but words."""
    index.replace_hour(HOUR, table(pictured("a", "red", name="kettle"), item("b", "чайник 茶壶")))
    for query in NASTY:
        hits = found(index, query, mode)
        assert ("kettle" in query and mode != "vector") <= ("a" in hits), query
    assert index.count() == 2


def test_replacing_twice_changes_nothing(index: SearchIndex, root: Path) -> None:
    """Not even a file."""
    rows = table(pictured("a", "red", name="mug"), item("b", "mug"))
    first, before = index.replace_hour(HOUR, rows), files(root)
    second = index.replace_hour(HOUR, rows)
    assert (first.items, first.vectors) == (second.items, second.vectors)
    assert files(root) == before
    assert found(index, "mug") == ["a", "b"]


def test_healing_an_hour_replaces_its_entries_alone(index: SearchIndex, root: Path) -> None:
    """Other hours keep theirs, and a space without items disappears."""
    index.replace_hour(HOUR, table(pictured("a", "red", name="old mug")))
    sick = pictured("b", "blue", space="clip-b", name="sick mug", quality=0.72)
    index.replace_hour(NEXT_HOUR, table(sick, item("gone", "mug")))
    before = files(root)
    index.replace_hour(NEXT_HOUR, table(pictured("b", "green", name="healed mug")))
    assert (index.count(), index.spaces()) == (2, ("clip-a",))
    assert found(index, "sick") == []
    assert found(index, "mug", "keyword") == ["a", "b"]
    assert (found(index, "green", "vector"), found(index, "red", "vector")) == (["b"], ["a"])
    assert len(files(root)) == 1
    assert files(root) < before


def test_a_new_quality_alone_writes_no_vectors(index: SearchIndex, root: Path) -> None:
    """Quality is read from the rows when ranking."""
    index.replace_hour(HOUR, table(pictured("a", "red", quality=0.5)))
    before = files(root)
    index.replace_hour(HOUR, table(pictured("a", "red", quality=0.9)))
    assert files(root) == before
    assert [hit.quality for hit in index.search("red", embedders=EMBEDDERS)] == [0.9]


def test_the_newest_event_is_current_whatever_the_order_of_hours(index: SearchIndex) -> None:
    """A late hour does not bring old items back."""
    index.replace_hour(NEXT_HOUR, table(pictured("a", "blue", name="new lamp", minutes=60)))
    index.replace_hour(HOUR, table(pictured("a", "red", name="old lamp")))
    assert index.count() == 1
    assert [hit.hour for hit in index.search("lamp", embedders=EMBEDDERS)] == [NEXT_HOUR]
    assert found(index, "old") == found(index, "red", "vector") == []
    assert found(index, "blue", "vector") == ["a"]


def test_of_equal_event_times_the_later_hour_is_current(index: SearchIndex) -> None:
    """In whichever order they come."""
    index.replace_hour(NEXT_HOUR, table(item("a", "later")))
    index.replace_hour(HOUR, table(item("a", "earlier")))
    assert (found(index, "later"), found(index, "earlier")) == (["a"], [])


def test_a_superseded_item_comes_back_when_the_newer_one_goes(index: SearchIndex) -> None:
    """Its words and its vector were kept."""
    index.replace_hour(HOUR, table(pictured("a", "red", name="old")))
    index.replace_hour(NEXT_HOUR, table(pictured("a", "blue", name="new", minutes=60)))
    index.replace_hour(NEXT_HOUR, table())
    assert found(index, "red") == found(index, "old") == ["a"]
    assert found(index, "new") == found(index, "blue") == []


def test_an_item_without_a_time_is_older_than_any(index: SearchIndex) -> None:
    """But better than nothing."""
    index.replace_hour(NEXT_HOUR, table(item("a", "timeless", event_time=None)))
    assert found(index, "timeless") == ["a"]
    index.replace_hour(HOUR, table(item("a", "dated")))
    assert (found(index, "timeless"), found(index, "dated")) == ([], ["a"])


def test_of_an_item_twice_in_an_hour_the_last_is_kept(index: SearchIndex) -> None:
    """The rule of the feed."""
    index.replace_hour(HOUR, table(item("a", "first"), item("a", "last")))
    assert (found(index, "first"), found(index, "last")) == ([], ["a"])


def test_sliced_and_chunked_tables_are_read_right(index: SearchIndex) -> None:
    """Vectors stay with their rows."""
    whole = table(pictured("x", "green"), item("y"), pictured("a", "red"), pictured("b", "blue"))
    index.replace_hour(HOUR, pa.concat_tables([whole.slice(1, 2), whole.slice(3)]))
    assert (found(index, "red"), found(index, "blue")) == (["a"], ["b"])
    assert found(index, "green", "vector") == []


def test_a_vector_that_does_not_fit_is_refused_and_the_hour_stays(index: SearchIndex) -> None:
    """All or nothing."""
    index.replace_hour(HOUR, table(pictured("a", "red")))
    bad = table(item("new", "mug"), pictured("b", "red", embedding=[0.6, 0.8]))
    with pytest.raises(DimensionMismatch, match=r"item 'b' has 2 where space 'clip-a' has 4"):
        index.replace_hour(NEXT_HOUR, bad)
    assert (index.count(), found(index, "red")) == (1, ["a"])


def test_vectors_of_one_hour_must_agree_too(index: SearchIndex) -> None:
    """Also in the very first hour, and across modalities."""
    rows = table(pictured("a", "red"), pictured("b", "red", modality="text", embedding=[1.0]))
    with pytest.raises(DimensionMismatch) as refused:
        index.replace_hour(HOUR, rows)
    error = refused.value
    assert (error.what, error.space, error.dimensions, error.expected) == (
        "item 'b'", "clip-a", 1, 4,
    )  # fmt: skip


def test_a_space_may_change_its_size_as_a_whole(index: SearchIndex) -> None:
    """A query from the old model is then told so."""
    index.replace_hour(HOUR, table(pictured("a", "red")))
    index.replace_hour(HOUR, table(pictured("a", "red", embedding=[0.6, 0.8])))
    with pytest.raises(DimensionMismatch, match=r"the query's vector has 4 .* 'clip-a' has 2"):
        index.search("red", embedders=EMBEDDERS)


@pytest.mark.parametrize("missing", [{"space": None}, {"modality": None}, {"embedding": []}])
def test_a_vector_without_a_space_is_refused(
    index: SearchIndex, missing: dict[str, object]
) -> None:
    """It could be compared with nothing."""
    with pytest.raises(ContractError, match="item 'a' has space"):
        index.replace_hour(HOUR, table(pictured("a", "red", **missing)))


def test_a_vector_that_is_not_a_number_is_never_found(index: SearchIndex) -> None:
    """And hides no other."""
    broken = pictured("broken", "red", embedding=[float("nan")] * 4)
    index.replace_hour(HOUR, table(broken, pictured("a", "red")))
    assert found(index, "red") == ["a"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"IxM2 nonsense")])
def test_a_lost_vector_file_is_made_up_for(root: Path, damage: object) -> None:
    """The vectors are in the database as well."""
    SearchIndex(root).replace_hour(HOUR, table(pictured("a", "red")))
    for path in root.glob("*/*.faiss"):
        damage(path)  # type: ignore[operator]
    assert found(SearchIndex(root), "red") == ["a"]


def test_a_missing_vector_file_is_written_by_the_next_build(root: Path) -> None:
    """Whichever hour it is for."""
    index = SearchIndex(root)
    index.replace_hour(HOUR, table(pictured("a", "red")))
    for path in root.glob("*/*.faiss"):
        path.unlink()
    index.replace_hour(NEXT_HOUR, table())
    assert len(files(root)) == 1


def test_a_damaged_database_says_what_to_do(index: SearchIndex, root: Path) -> None:
    """For readers and writers."""
    index.replace_hour(HOUR, table())
    database(root).write_bytes(b"not a database" * 1_000)
    with pytest.raises(IndexDamaged, match=r"cannot be read: .*`pipeline-assets index rebuild`"):
        index.search("kettle", embedders={})
    with pytest.raises(IndexDamaged):
        index.replace_hour(HOUR, table())


def test_an_index_of_another_version_is_not_touched(index: SearchIndex, root: Path) -> None:
    """Neither read nor written."""
    index.replace_hour(HOUR, table())
    for file in database(root).parent.iterdir():
        file.unlink()
    database(root).touch()
    with pytest.raises(IndexDamaged, match="version 0, this program needs 2"):
        index.count()


@pytest.mark.parametrize("lost", ["database", "generation"])
def test_a_lost_database_is_damage_not_an_empty_index(
    index: SearchIndex, root: Path, lost: str
) -> None:
    """Finding nothing would be believed."""
    index.replace_hour(HOUR, table(item("a", "kettle")))
    shutil.rmtree(database(root).parent) if lost == "generation" else database(root).unlink()
    with pytest.raises(IndexDamaged, match="index rebuild"):
        index.count()


def test_a_folder_that_cannot_be_written_is_a_storage_error(index: SearchIndex, root: Path) -> None:
    """With the path."""
    root.write_text("a file")
    with pytest.raises(StorageError, match="cannot write"):
        index.replace_hour(HOUR, table())


def test_the_index_says_whether_it_knows_of_an_item_or_a_url(index: SearchIndex) -> None:
    """In any hour, also where it is not current."""
    assert index.mentions(["a"], ["https://h/a.jpg"]) == 0
    index.replace_hour(HOUR, table(item("a", "Kettle"), item("b", "Teapot")))
    index.replace_hour(NEXT_HOUR, table(item("a", "Kettle", minutes=60)))
    assert index.mentions(["a"], []) == 2
    assert index.mentions(["b", "c"], []) == 1
    assert index.mentions([], ["https://h/none.jpg"]) == 0
