"""URLs of all kinds, each sent to what fetches it."""

from pipeline_assets.errors import Blocked, InvalidInput, RowError
from pipeline_assets.fetch.fetcher import HttpFetcher
from pipeline_assets.fetch.s3_source import S3Source
from pipeline_assets.fetch.sources import Sources
from pipeline_assets.store.bodies import Body


def unwanted(_body: Body) -> None:
    """Nothing of this is ever fetched."""
    raise AssertionError


def test_outcomes_are_in_the_order_of_the_urls() -> None:
    """Whichever side they come from; what neither knows is refused by the web's."""
    web = HttpFetcher(allow=(), timeout_s=1.0, concurrency=2, max_bytes=1)
    sources = Sources(web, S3Source((), timeout_s=1.0, concurrency=2, max_bytes=1))
    urls = ["s3://bucket/a", "http://127.0.0.1/", "S3://bucket/a", "ftp://host/", "s3://bucket/a"]
    try:
        outcomes = sources.fetch_all(urls, unwanted)
    finally:
        sources.close()
    assert [type(each) for each in outcomes] == [Blocked, Blocked, InvalidInput, Blocked, Blocked]
    named = ["PIPELINE_FETCH_S3", "127.0.0.1", "lower-case", "ftp", "PIPELINE_FETCH_S3"]
    said = [each.message for each in outcomes if isinstance(each, RowError)]
    assert all(word in message for word, message in zip(named, said, strict=True))
