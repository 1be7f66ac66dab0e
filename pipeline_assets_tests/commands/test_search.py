"""`search` over a finished hour, with the real index and the shipped models."""

import pytest

from pipeline_assets.adapters.clip import ModelNotLoaded
from pipeline_assets.commands.search import search
from pipeline_assets.core.breaker import Mode
from pipeline_assets.resources import Resources
from pipeline_assets.sample.drawing import Subject
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
