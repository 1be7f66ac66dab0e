"""`search` over a finished hour, with the real index and the shipped models."""

import shutil
from pathlib import Path
from urllib.request import urlopen

import pytest

from pipeline_assets import resources as resources_module
from pipeline_assets.commands.search import search, search_all, search_like, search_picture
from pipeline_assets.core.breaker import Mode
from pipeline_assets.core.status import Status
from pipeline_assets.errors import InvalidInput
from pipeline_assets.models.clip import ModelNotLoaded
from pipeline_assets.models.earlier_models import TRY_AGAIN
from pipeline_assets.resources import Resources
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.search import Filters, IndexDamaged, NoQuery, NoSuchFilter
from pipeline_assets.stages import STAGES
from pipeline_assets_tests.conftest import HOUR, Goods, Platform


@pytest.fixture
def indexed(platform: Platform, goods: Goods) -> Platform:
    """Items of each kind of trouble, indexed."""
    platform.feed(
        [
            goods.product("shirt"),
            goods.product("lamp", Subject("lamp", "blue", 4)),
            goods.product(
                "lost", Subject("shoe", "green", 5), name="Espadrille", image_fault="404"
            ),
            goods.product("named", has_image=False, has_document=False, name="Wholegrain spelt"),
        ]
    )
    platform.items()
    platform.run()
    index(platform)
    return platform


def index(platform: Platform) -> None:
    """Bring the index up to date."""
    resources = platform.resources
    resources.search.replace_hour(HOUR, resources.tables.read("enriched_items", HOUR))


def ids(resources: Resources, query: str, mode: str = "hybrid", top: int = 10) -> list[str]:
    """The items found, best first."""
    return [hit["item_id"] for hit in search(resources, query, mode=mode, top=top)]  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["keyword", "vector", "hybrid"])
def test_a_picture_is_found_by_what_it_shows(indexed: Platform, mode: str) -> None:
    """In every mode."""
    assert ids(indexed.resources, "red shirt", mode)[0] == "shirt"


def test_an_item_without_a_label_is_found_by_its_name(indexed: Platform) -> None:
    """Whether its picture was lost or never was."""
    assert ids(indexed.resources, "espadrille", "keyword") == ["lost"]
    assert "lost" in ids(indexed.resources, "espadrille")
    assert ids(indexed.resources, "spelt", "keyword") == ["named"]


def test_no_more_than_asked_for(indexed: Platform) -> None:
    """And nothing for nothing."""
    assert len(ids(indexed.resources, "shirt lamp", "keyword")) == 2
    assert len(ids(indexed.resources, "shirt lamp", "keyword", top=1)) == 1
    assert ids(indexed.resources, "?!") == []


def test_an_empty_index_finds_nothing(resources: Resources) -> None:
    """Not an error: no hour was run yet."""
    assert search(resources, "shirt", mode="hybrid", top=5) == []


def test_items_of_every_space_are_found(indexed: Platform, goods: Goods) -> None:
    """Vectors of the fallback and hashed words are searched by their own means."""
    breakers = indexed.resources.breakers
    for rung in ("image_labels.accelerator_clip", "embeddings.accelerator_clip"):
        breakers.force(rung, Mode.FORCED_OPEN)
    hat, bag = Subject("hat", "red", 8), Subject("bag", "red", 9)
    indexed.feed([goods.product("hat", hat)])
    indexed.items()
    indexed.run()
    breakers.force("embeddings.cpu_clip", Mode.FORCED_OPEN)
    indexed.feed([goods.product("bag", bag, has_image=False, name="Haversack of linen")])
    indexed.items()
    indexed.run()
    index(indexed)
    assert len(indexed.resources.search.spaces()) == 3
    assert "hat" in ids(indexed.resources, "red hat", "vector")
    assert "bag" in ids(indexed.resources, "haversack of linen", "vector")
    assert "shirt" in ids(indexed.resources, "red shirt", "vector")


def test_a_model_that_cannot_be_used_now_leaves_its_space_out(
    indexed: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """The keywords still answer."""

    class Gone:
        producer = indexed.resources.primary.producer

        @staticmethod
        def query_vectors(_texts: list[str]) -> None:
            raise RuntimeError("no CUDA GPUs are available")

    indexed.resources.__dict__["primary"] = Gone()
    assert ids(indexed.resources, "red shirt")[0] == "shirt"
    assert "left out of the search" in caplog.text


@pytest.mark.parametrize("error", [MemoryError(), KeyError("text_cfg"), AttributeError("visual")])
def test_whatever_a_model_raises_the_keywords_answer(
    indexed: Platform,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """When it is used, and when it is looked for."""

    class Broken:
        producer = indexed.resources.primary.producer

        @staticmethod
        def query_vectors(_texts: list[str]) -> None:
            raise error

    indexed.resources.__dict__["primary"] = Broken()
    assert ids(indexed.resources, "red shirt")[0] == "shirt"

    def model_of(_resources: Resources, _space: str) -> None:
        raise error

    monkeypatch.setattr(Resources, "model_of", model_of)
    assert ids(indexed.resources, "red shirt")[0] == "shirt"
    assert caplog.text.count(f"left out of the search: {type(error).__name__}") == 2


def test_an_earlier_model_that_cannot_be_loaded_now_is_found_by_again_later(
    indexed: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the same process, without a load and a warning for every query until then."""

    class Another:
        producer = "another@00000000"

    def load(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("can't allocate memory")

    indexed.resources.__dict__["primary"] = Another()
    with monkeypatch.context() as patched:
        patched.setattr(resources_module, "load_clip", load)
        assert [ids(indexed.resources, "red shirt")[0] for _ in range(3)] == ["shirt"] * 3
        assert ids(indexed.resources, "red shirt", "vector") == []
    assert caplog.text.count("can't allocate memory") == 1
    indexed.clock.advance(TRY_AGAIN.total_seconds())
    assert ids(indexed.resources, "red shirt", "vector")[0] == "shirt"


def test_a_wrong_model_name_says_which_setting_to_change(platform: Platform, goods: Goods) -> None:
    """Before any row is worked on."""
    platform.feed([goods.product("a")])
    platform.items()
    wrong = platform.resources.settings.model_copy(update={"primary_model": "no-such-model"})
    other = Platform(Resources(wrong, platform.clock), platform.clock)
    other.run(*STAGES[:3])
    with pytest.raises(ModelNotLoaded, match="PIPELINE_PRIMARY_MODEL"):
        other.run(STAGES[3])
    assert not other.resources.tables.exists("image_labels", HOUR)
    other.resources.close()


def test_a_picture_file_finds_the_item_that_shows_it(
    indexed: Platform, goods: Goods, tmp_path: Path
) -> None:
    """By the same model, and only it; what is no picture is refused."""
    path = tmp_path / "shirt.jpg"
    url = goods.product("shirt").image_url
    assert url is not None
    path.write_bytes(urlopen(url).read())  # noqa: S310 - the shop, on loopback
    hits = search_picture(indexed.resources, path, top=2)
    assert hits[0]["item_id"] == "shirt"
    assert all(name.startswith("vector:") for hit in hits for name in hit["ranks"])
    path.write_text("<html>")
    with pytest.raises(InvalidInput, match="markup"):
        search_picture(indexed.resources, path, top=2)


def test_more_like_an_item_are_others(indexed: Platform) -> None:
    """Never the item itself."""
    found = [hit["item_id"] for hit in search_like(indexed.resources, "shirt", top=10)]
    assert "shirt" not in found
    assert found


def test_filters_are_passed_on(indexed: Platform) -> None:
    """To each kind of search."""
    none = Filters(kind="document")
    resources = indexed.resources
    assert search(resources, "shirt", mode="hybrid", top=5, filters=none) == []
    assert search_like(resources, "shirt", top=5, filters=none) == []


def test_many_queries_are_answered_as_one_by_one(indexed: Platform, tmp_path: Path) -> None:
    """In their order, whatever their id is called, empty lines left out."""
    path = tmp_path / "queries.jsonl"
    lines = ['{"query_id": 7, "text": "red shirt"}', "", '{"_id": "b", "text": "\\\\ud800 lamp"}']
    path.write_text("\n".join(lines))
    answers = search_all(indexed.resources, path, mode="hybrid", top=3)
    assert [answer["query_id"] for answer in answers] == ["7", "b"]
    assert answers[0]["hits"] == search(indexed.resources, "red shirt", mode="hybrid", top=3)
    assert answers[1]["hits"][0]["item_id"] == "lamp"
    path.write_text("")
    assert search_all(indexed.resources, path, mode="hybrid", top=3) == []


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (Filters(kind="shirt"), "no item can have the kind 'shirt': there is product and document"),
        (Filters(stages={"labels": Status.OK}), "'labels': there is fetched, validated, extracted"),
        (
            Filters(first_hour="2026-03-02-07", last_hour="2026-03-02-06"),
            "an hour from '2026-03-02-07': it is after 2026-03-02-06",
        ),
    ],
)
def test_a_slip_in_a_filter_is_said(indexed: Platform, filters: Filters, said: str) -> None:
    """Nothing found would be believed."""
    with pytest.raises(NoSuchFilter, match=said):
        search(indexed.resources, "lamp", mode="keyword", top=1, filters=filters)


@pytest.mark.parametrize("query", ["", "  ", "!?"])
def test_a_query_without_words_loads_no_model(
    indexed: Platform, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """It finds nothing, at once."""
    monkeypatch.delattr("pipeline_assets.commands.search._by_model")
    assert search(indexed.resources, query, mode="hybrid", top=1) == []


def test_a_file_of_queries_that_is_no_text_is_said(indexed: Platform, tmp_path: Path) -> None:
    """Whatever its bytes are; which line, too."""
    file = tmp_path / "queries.jsonl"
    file.write_bytes(b'{"id": 1, "text": "lamp"}\n\xff\xfe{"id": 2}\n')
    with pytest.raises(NoQuery, match="line 2 of"):
        search_all(indexed.resources, file, mode="keyword", top=1)


@pytest.mark.parametrize("line", ["lamp", "[1]", '{"text": "lamp"}', '{"id": 1}', "7"])
def test_a_line_that_is_no_query_is_named(indexed: Platform, tmp_path: Path, line: str) -> None:
    """Before any query is asked."""
    path = tmp_path / "queries.jsonl"
    path.write_text(f'{{"id": 1, "text": "lamp"}}\n{line}\n')
    with pytest.raises(NoQuery, match=r"line 2 of .*queries\.jsonl is no query.*`text`"):
        search_all(indexed.resources, path, mode="keyword", top=3)


def test_a_lost_index_is_said_where_there_are_items(indexed: Platform) -> None:
    """Nothing found would be believed."""
    shutil.rmtree(indexed.resources.data / "search")
    with pytest.raises(IndexDamaged, match="index rebuild"):
        search(indexed.resources, "shirt", mode="keyword", top=3)
