"""What programs are told."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from pipeline_assets.commands.index import rebuild
from pipeline_assets.errors import (
    ContractError,
    FeedError,
    SettingsError,
    StorageError,
    Unavailable,
)
from pipeline_assets.resources import Resources
from pipeline_assets.search import IndexDamaged
from pipeline_assets.serve import figures
from pipeline_assets.serve.api import OPERATIONS, Operation
from pipeline_assets.serve.app import WithHeaders, application
from pipeline_assets.serve.limits import ServiceLimits
from pipeline_assets.stages import stage_tables
from pipeline_assets_tests.conftest import HOUR, ITEMS, NEXT_HOUR, Platform
from pipeline_assets_tests.serve.shelf import evil_item

LONG = "x" * 1001


def hits(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    """The hits of a search that is answered."""
    answer = client.get("/api/search", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["hits"]
    return found


def picture(client: TestClient, item_id: str) -> bytes:
    """The item's picture, as the service shows it."""
    answer = client.get("/thumbnail", params={"item": item_id, "hour": HOUR, "large": True})
    assert answer.headers["content-type"] == "image/jpeg"
    return answer.content


def refused(answer: Any, status: int, kind: str) -> str:
    """The message of a refusal that looks as it should."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert set(said) == {"error", "message"}
    assert said["error"] == kind
    return str(said["message"])


def test_words_find_items_with_their_reasons(client: TestClient) -> None:
    """Best first, each with its quality and the factors of that."""
    found = hits(client, q="shirt", top=5)
    assert 0 < len(found) <= 5
    assert [hit["score"] for hit in found] == sorted((h["score"] for h in found), reverse=True)
    assert {"quality", "factors", "gains", "snippet"} <= set(found[0])


def test_filters_narrow_the_search(client: TestClient, shown: Resources) -> None:
    """By label, hour, quality and the status of a stage; an empty parameter is none."""
    label = shown.tables.read("enriched_items", HOUR, ["label"])["label"].drop_null()[0].as_py()
    found = hits(client, q=label, label=label, min_quality=0.9, kind="")
    assert found
    assert all(hit["label"] == label and hit["quality"] >= 0.9 for hit in found)
    assert not hits(client, q=label, **{"from": NEXT_HOUR})
    skipped = hits(client, q="shirt dress shoe bag", status="fetched=failed", top=100)
    assert all("failed" in str(hit["factors"]) for hit in skipped)


def test_an_item_finds_others_and_not_itself(client: TestClient, shown: Resources) -> None:
    """More like this."""
    item_id = evil_item(shown)
    found = hits(client, like=item_id)
    assert found
    assert item_id not in {hit["item_id"] for hit in found}


def test_a_picture_finds_its_item(client: TestClient, shown: Resources) -> None:
    """Sent as the body, whatever type it is said to be."""
    item_id = evil_item(shown)
    answer = client.post("/api/search/picture?top=5", content=picture(client, item_id))
    assert answer.status_code == 200, answer.text
    assert item_id in [hit["item_id"] for hit in answer.json()["hits"]]


def test_an_item_is_told_stage_by_stage(client: TestClient, shown: Resources) -> None:
    """With every status, rung and error, and what its quality is made of."""
    item = client.get("/api/item", params={"id": evil_item(shown)}).json()
    assert item["hour"] == HOUR
    assert tuple(item["stages"]) == stage_tables(shown.settings)
    assert all(
        {"status", "rung", "error"} <= set(r) for rows in item["stages"].values() for r in rows
    )
    assert item["quality_factors"]
    assert item["stages"]["embeddings"][0]["embedding"].endswith("numbers")


def test_quality_adds_up(client: TestClient, shown: Resources) -> None:
    """Every item and every row is counted once, in an hour and in a stage."""
    quality = client.get("/api/quality").json()
    [hour] = quality["hours"]
    bands = ("perfect", "good", "fair", "poor", "pending")
    assert hour["items"] == ITEMS == sum(hour[band] for band in bands)
    parts = ("primary", "fallback", "not_applicable", "skipped", "failed", "pending")
    for stage in quality["stages"]:
        rows = shown.tables.rows(stage["stage"], HOUR)
        assert stage["rows"] == rows == sum(stage[part] for part in parts)
    assert [{**each, "hour": None} for each in quality["stages_by_hour"]] == quality["stages"]
    dead = shown.tables.rows("dead_letters", HOUR)
    assert sum(reason["rows"] for reason in quality["dead_letters"]) == dead > 0


def test_queues_and_breakers_are_listed(client: TestClient, shown: Resources) -> None:
    """As the commands have them."""
    states = {each["breaker"]: each for each in client.get("/api/breakers").json()["breakers"]}
    assert states["image_labels.accelerator_clip"]["mode"] == "open"
    [reason, *_] = client.get("/api/quality").json()["dead_letters"]
    query = {"reason": reason["error_kind"], "stage": reason["stage"]}
    letters = client.get("/api/dead-letters", params=query).json()["dead_letters"]
    assert len(letters) == reason["rows"]
    queue = client.get("/api/retry-queue").json()["retry_queue"]
    assert len(queue) == shown.tables.rows("retry_queue", HOUR) > 0
    assert queue[0]["item_quality"] < 0.8


def test_health_and_metrics(client: TestClient) -> None:
    """For whoever watches the service."""
    assert client.get("/healthz").json() == {"status": "ok", "items": ITEMS, "newest_hour": HOUR}
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert 'pipeline_rows{stage="enriched_items",status="ok"} 60.0' in metrics.text


BAD = [
    ("/api/search", {}, "q"),
    ("/api/search", {"q": "a", "like": "b"}, "q"),
    ("/api/search", {"q": LONG}, "q"),
    ("/api/search", {"q": "a", "top": "101"}, "top"),
    ("/api/search", {"q": "a", "top": "0"}, "top"),
    ("/api/search", {"q": "a", "top": "many"}, "top"),
    ("/api/search", {"q": "a", "mode": "magic"}, "mode"),
    ("/api/search", {"q": "a", "from": "yesterday"}, "from"),
    ("/api/search", {"q": "a", "min_quality": "nan"}, "min_quality"),
    ("/api/search", {"q": "a", "status": "image_labels"}, "status"),
    ("/api/search", {"q": "a", "tip": "10"}, "tip"),
    ("/api/search", {"q": ["a", "b"]}, "q"),
    ("/api/item", {}, "id"),
    ("/api/quality", {"hours": "100000"}, "hours"),
    ("/api/dead-letters", {"reason": "bad luck"}, "reason"),
    ("/api/dead-letters", {"stage": "washing"}, "stage"),
    ("/api/dead-letters", {"hour": "../../etc"}, "hour"),
    ("/api/retry-queue", {"limit": "-1"}, "limit"),
    ("/thumbnail", {"item": "a", "hour": "../../x"}, "hour"),
]


@pytest.mark.parametrize(("path", "query", "field"), BAD)
def test_a_wrong_parameter_is_named(
    client: TestClient, path: str, query: dict[str, Any], field: str
) -> None:
    """With its value and what is allowed, and a status that says who is to mend it."""
    answer = client.get(path, params=query)
    assert answer.status_code == 400
    assert f"{field}=" in answer.text.replace("&#39;", "'")
    assert "is not usable" in answer.text


@pytest.mark.parametrize("query", [{"q": "'\"; DROP TABLE entry; --"}, {"q": "\0(*) NEAR"}])
def test_every_string_is_a_query(client: TestClient, query: dict[str, str]) -> None:
    """The index's own syntax is nothing special."""
    assert client.get("/api/search", params=query).status_code == 200


@pytest.mark.parametrize("path", ["/api/item?id=nobody", "/api/search?like=nobody"])
def test_an_unknown_item_is_not_found(client: TestClient, path: str) -> None:
    """And it is named."""
    assert "nobody" in refused(client.get(path), 404, "no_item")


def test_requests_are_counted_by_path_and_end(shown: Resources) -> None:
    """Paths that nobody made are not, or whoever likes could fill the memory of Prometheus."""
    asked = ("/api/search?q=lamp", "/api/search?q=shirt", "/api/search", "/?q=lamp", "/x/1")
    with TestClient(application(shown)) as client:
        for path in asked:
            client.get(path)
        told = client.get("/metrics").text
    counts = [line for line in told.splitlines() if "http_request_duration_seconds_count" in line]
    assert [line.partition("{")[2] for line in sorted(counts)] == [
        'path="/",status="200"} 1.0',
        'path="/api/search",status="200"} 2.0',
        'path="/api/search",status="400"} 1.0',
    ]


def test_what_is_not_there_is_said_in_json(client: TestClient) -> None:
    """Paths and methods; nothing can be changed."""
    assert "/openapi.json" in refused(client.get("/api/nothing"), 404, "not_found")
    refused(client.get("/static/nothing.css"), 404, "not_found")
    refused(client.get("/static/../app.py"), 404, "not_found")
    refused(client.delete("/api/item?id=a"), 405, "method_not_allowed")
    not_so = client.post("/api/search?q=a")
    refused(not_so, 405, "method_not_allowed")
    assert set(not_so.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_what_is_no_picture_is_refused(client: TestClient) -> None:
    """By what the bytes are, not by what they are said to be."""
    said = refused(client.post("/api/search/picture", content=b"<html>"), 422, "invalid_input")
    assert "markup" in said


@pytest.fixture
def strict(shown: Resources) -> Iterator[TestClient]:
    """A service that takes next to nothing."""
    with TestClient(application(shown, ServiceLimits(body_bytes=100))) as client:
        yield client


def test_a_body_over_the_limit_is_not_read(strict: TestClient) -> None:
    """Whether its length is said before or not."""
    big = b"x" * 101
    said = refused(strict.post("/api/search/picture", content=big), 413, "too_large")
    assert "100 bytes" in said
    refused(strict.post("/api/search/picture", content=iter([big])), 413, "too_large")


def test_a_slow_request_is_given_up(shown: Resources) -> None:
    """With the time that it had."""
    with TestClient(application(shown, ServiceLimits(timeout_s=0.0))) as client:
        assert "within 0 s" in refused(client.get("/api/quality"), 504, "timeout")


def test_health_and_metrics_are_answered_while_searches_have_every_core(
    shown: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whoever watches would take a busy service for a dead one."""
    go, begun = Event(), Event()

    def endless(*_: object) -> None:
        begun.set()
        go.wait(30)

    monkeypatch.setattr(figures, "quality", endless)
    with (
        TestClient(application(shown, ServiceLimits(at_once=1, waiting=0))) as client,
        ThreadPoolExecutor(1) as elsewhere,
    ):
        asked = elsewhere.submit(client.get, "/api/quality")
        assert begun.wait(10)
        assert [client.get(path).status_code for path in ("/healthz", "/metrics")] == [200, 200]
        refused(client.get("/api/quality"), 503, "busy")
        go.set()
        asked.result()


def test_an_unexpected_error_tells_strangers_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has it."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(figures, "quality", broken)
    assert "secret" not in refused(client.get("/api/quality"), 500, "internal")


def test_a_missing_index_says_which_command_makes_it(finished: Platform) -> None:
    """Search and health are unavailable; an item is still shown, from the tables."""
    with TestClient(application(finished.resources)) as client:
        for path in ("/api/search?q=shirt", "/healthz"):
            said = refused(client.get(path), 503, "index_damaged")
            assert "`pipeline-assets index rebuild`" in said
        [item_id, *_] = finished.rows("items")
        assert client.get("/api/item", params={"id": item_id}).json()["hour"] == HOUR


def test_before_the_first_run_there_is_nothing_and_no_error(resources: Resources) -> None:
    """Every operation without parameters that have to be given, and every page."""
    with TestClient(application(resources)) as client:
        for path in ("/", "/quality", "/api/search?q=a", *(each.path for each in EASY)):
            assert client.get(path).status_code == 200, path


def test_only_its_own_names_are_answered(shown: Resources) -> None:
    """A page elsewhere whose name leads here is told nothing."""
    app = application(shown, hosts=("127.0.0.1",))
    with TestClient(app, base_url="http://127.0.0.1:8080") as client:
        assert client.get("/healthz").status_code == 200
        for name in ("evil.example", "evil.example:8080", "", "[::1", "127.0.0.1.evil.example"):
            said = refused(client.get("/healthz", headers={"host": name}), 400, "bad_request")
            assert said == f"Host={name!r} is not usable: give one of 127.0.0.1"
        page = client.get("/", headers={"host": "<evil>", "accept": "text/html"})
        assert page.status_code == 400
        assert "Host=&#39;&lt;evil&gt;&#39; is not usable" in page.text


def test_a_websocket_is_turned_away_whatever_it_names(shown: Resources) -> None:
    """Without an error of ours: there is none to be had."""
    with TestClient(application(shown, hosts=("127.0.0.1",))) as client:
        for name in ("127.0.0.1", "evil.example"):
            with (
                pytest.raises(WebSocketDisconnect),
                client.websocket_connect("/api/search", headers={"host": name}),
            ):
                pass


def test_a_damaged_index_is_told_to_strangers_without_the_servers_folders(
    finished_copy: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """What is wrong and what its operator does; the log says where."""
    resources = finished_copy.resources
    rebuild(resources, [HOUR])
    for database in (resources.data / "search").glob("*/index.db"):
        database.write_bytes(b"not a database" * 1_000)
    with TestClient(application(replace(resources))) as client:
        said = refused(client.get("/api/search?q=shirt"), 503, "index_damaged")
    assert "the server's log says why" in said
    assert "`pipeline-assets index rebuild`" in said
    assert str(resources.data) not in said
    assert str(resources.data) in caplog.text
    assert "file is not a database" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        StorageError("/srv/data/x", "full"),
        OSError(28, "full", "/srv"),
        SettingsError("PIPELINE_DATA", "/srv/data", "a folder"),
        FeedError("/srv/feed.csv", "no such file"),
        ContractError("items", "is a table", "/srv/data/items"),
        IndexDamaged("/srv/search", "/srv/search/index.db is cut off"),
        Unavailable("no model in /srv/models"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_wrong_with_the_server_is_told_to_strangers_without_its_folders(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """The client is not to blame, and the log has what it is not told."""

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(figures, "quality", broken)
    kind = "index_damaged" if isinstance(error, IndexDamaged) else "unavailable"
    said = refused(client.get("/api/quality"), 503, kind)
    assert "/srv" not in said
    assert "log says why" in said
    assert "/srv" in caplog.text


EASY = [each for each in OPERATIONS if each.method == "GET" and each.name not in {"search", "item"}]
PAGES = {
    *((path, "GET") for path in ("/", "/item", "/quality", "/thumbnail")),
    ("/by-picture", "POST"),
}
EXAMPLES = {
    "search": {"q": "shirt"},
    "search_picture": {},
    **{each.name: {} for each in EASY},
}


def test_the_description_has_every_route_and_no_other(client: TestClient) -> None:
    """But those of pages, and itself."""
    app = client.app
    assert isinstance(app, WithHeaders)
    assert isinstance(app._app, Starlette)
    routes = {
        (route.path, method)
        for route in app._app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = client.get("/openapi.json").json()
    operations = {
        (path, method.upper()) for path, each in described["paths"].items() for method in each
    }
    assert routes == operations | PAGES | {("/openapi.json", "GET")}


def test_the_description_is_whole(client: TestClient) -> None:
    """Every reference leads somewhere, and names are unique."""
    described = client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    assert {ref.removeprefix("#/components/schemas/") for ref in _refs(described)} <= set(schemas)
    names = [each["operationId"] for path in described["paths"].values() for each in path.values()]
    assert len(names) == len(set(names)) == len(OPERATIONS)


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from _refs(each)
    elif isinstance(value, list):
        for each in value:
            yield from _refs(each)


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.name in EXAMPLES], ids=lambda each: each.name
)
def test_an_answer_has_what_the_description_says(
    client: TestClient, shown: Resources, operation: Operation
) -> None:
    """Just those properties, and of the type."""
    described = client.get("/openapi.json").json()
    said = described["paths"][operation.path][operation.method.lower()]
    body = picture(client, evil_item(shown)) if operation.takes else None
    answer = client.request(
        operation.method, operation.path, params=EXAMPLES[operation.name], content=body
    )
    [(kind, shape)] = said["responses"]["200"]["content"].items()
    assert answer.headers["content-type"] == kind
    if operation.answer is None:
        assert shape["schema"] == {"type": "string"}
        return
    named = shape["schema"]["$ref"].rpartition("/")[2]
    properties = described["components"]["schemas"][named]["properties"]
    assert set(answer.json()) == set(properties)
