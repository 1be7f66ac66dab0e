"""What people see, and what a stranger's text cannot do to them."""

import io
from html import escape

import pytest
from PIL import Image
from starlette.testclient import TestClient

from pipeline_assets.resources import Resources
from pipeline_assets.serve.app import HEADERS, application
from pipeline_assets.serve.items import LARGE, SMALL
from pipeline_assets.serve.limits import ServiceLimits
from pipeline_assets_tests.conftest import HOUR, Platform
from pipeline_assets_tests.serve.shelf import EVIL_NAME, evil_item

PAGES = ["/", "/?q=shirt", "/quality", "/quality?hours=1", "/?q=a&top=1000", "/nothing", "/item"]
PEOPLE = {"accept": "text/html,application/xhtml+xml"}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_no_script_and_allows_none(client: TestClient, path: str) -> None:
    """No inline style either; nothing is loaded from elsewhere, also by a page that says no."""
    answer = client.get(path, headers=PEOPLE)
    assert answer.headers["content-type"].startswith("text/html")
    assert all(answer.headers[name] == value for name, value in HEADERS.items())
    for forbidden in ("<script", "<style", " style=", "javascript:", 'src="http', " onclick"):
        assert forbidden not in answer.text
    assert '<meta name="viewport"' in answer.text


@pytest.mark.parametrize("path", ["/?q=script+owned+shirt&top=100", "/item?id={item}"])
def test_a_script_in_a_name_is_text(client: TestClient, shown: Resources, path: str) -> None:
    """In the heading, in the title and wherever else it is said."""
    page = client.get(path.format(item=evil_item(shown))).text
    assert escape(EVIL_NAME, quote=False).replace("'", "&#39;") in page
    assert EVIL_NAME not in page
    assert "<script" not in page


def test_a_query_is_text_too(client: TestClient) -> None:
    """Where it is repeated."""
    page = client.get("/", params={"q": '"><script>alert(1)</script>'}).text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_an_item_shows_every_stage(client: TestClient, shown: Resources) -> None:
    """Each with its status; what is wrong says so in words."""
    failed = next(
        row for row in shown.tables.read("fetched", HOUR).to_pylist() if row["status"] == "failed"
    )
    page = client.get("/item", params={"id": failed["item_id"]}).text
    for stage in ("items", "fetched", "extracted text", "image labels", "enriched items"):
        assert stage in page
    assert 'class="status failed">failed' in page
    assert "not found" in page


def test_the_quality_page_has_all_its_parts(client: TestClient) -> None:
    """Bars by hour and stage, breakers, dead letters by reason, the queue."""
    page = client.get("/quality").text
    for part in ("Items by hour", "Rows by stage", "Breakers", "Dead letters by reason", "Retry"):
        assert part in page
    assert 'class="status breaker-open">open' in page
    assert "<rect" in page
    assert "item at" in page


def test_a_missing_index_is_a_page_that_says_what_to_do(finished: Platform) -> None:
    """503, and the command."""
    with TestClient(application(finished.resources)) as client:
        answer = client.get("/?q=shirt")
        assert answer.status_code == 503
        assert "pipeline-assets index rebuild" in answer.text


@pytest.mark.parametrize(("large", "pixels"), [("false", SMALL), ("true", LARGE)])
def test_a_thumbnail_is_a_small_jpeg_of_ours(
    client: TestClient, shown: Resources, large: str, pixels: int
) -> None:
    """Made anew, without metadata; asked for again, it is not sent again."""
    query = {"item": evil_item(shown), "hour": HOUR, "large": large}
    answer = client.get("/thumbnail", params=query)
    assert answer.headers["content-type"] == "image/jpeg"
    picture = Image.open(io.BytesIO(answer.content))
    assert max(picture.size) <= pixels
    assert not picture.getexif()
    again = client.get(
        "/thumbnail", params=query, headers={"if-none-match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_no_picture_is_a_drawing(client: TestClient) -> None:
    """Never somebody else's address."""
    answer = client.get("/thumbnail", params={"item": "nobody", "hour": HOUR})
    assert answer.status_code == 302
    assert client.get(answer.headers["location"]).headers["content-type"] == "image/svg+xml"


def test_a_picture_is_searched_by_form(client: TestClient, shown: Resources) -> None:
    """What is like it is shown."""
    query = {"item": evil_item(shown), "hour": HOUR, "large": "true"}
    jpeg = client.get("/thumbnail", params=query).content
    page = client.post("/by-picture", files={"picture": ("x.jpg", jpeg, "image/jpeg")})
    assert page.status_code == 200
    assert "items like your picture" in page.text


def test_a_form_without_a_picture_is_refused(client: TestClient) -> None:
    """And it says what is missing."""
    answer = client.post("/by-picture", files={"picture": ("", b"", "image/jpeg")})
    assert answer.status_code == 400
    assert "choose a picture" in answer.text


def test_a_form_over_the_limit_is_not_read(shown: Resources) -> None:
    """Nor one that does not say how long it is."""
    with TestClient(application(shown, ServiceLimits(body_bytes=100))) as client:
        files = {"picture": ("x.jpg", b"x" * 20_000, "image/jpeg")}
        assert client.post("/by-picture", files=files).status_code == 413
        kind = {"content-type": "multipart/form-data; boundary=b"}
        unsaid = client.post("/by-picture", content=iter([b"--b--"]), headers=kind)
        assert unsaid.status_code == 411
