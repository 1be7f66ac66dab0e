"""Addresses in object storage: what is one, and what lies below which."""

import pytest

from pipeline_assets.store.s3_urls import S3Url


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://bucket/a/b", "bucket", "a/b"),
        ("s3://bucket/a/", "bucket", "a"),
        ("s3://my.bucket-1/a b#c?d%2Fe", "my.bucket-1", "a b#c?d%2Fe"),
        ("s3://bucket/...", "bucket", "..."),
        ("s3://bucket/ü/é", "bucket", "ü/é"),
    ],
)
def test_an_address_is_taken_as_it_is_written(text: str, bucket: str, key: str) -> None:
    """Nothing in it is decoded; the last slash says nothing."""
    assert S3Url.parse(text) == S3Url(bucket, key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3:",
        "s3://",
        "s3:///key",
        "s3:/bucket/key",
        "S3://bucket/key",
        "s3a://bucket/key",
        "http://bucket/key",
        "s3://a",
        "s3://Bucket/key",
        "s3://bu_cket/key",
        "s3://-bucket/key",
        "s3://user:secret@bucket/key",
        "s3://bucket:9000/key",
        "s3://bucket/..",
        "s3://bucket/a/../b",
        "s3://bucket/./a",
        "s3://bucket//a",
        "s3://bucket/a//b",
        "s3://bucket/a//",
        "s3://bucket/a\0b",
        "s3://bucket/a\nb",
    ],
)
def test_what_is_odd_is_none(text: str) -> None:
    """The message says what is allowed."""
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        S3Url.parse(text)


@pytest.mark.parametrize(
    ("prefix", "address", "holds"),
    [
        ("s3://bucket/a", "s3://bucket/a/b", True),
        ("s3://bucket/a/", "s3://bucket/a/b/c", True),
        ("s3://bucket/a", "s3://bucket/a", True),
        ("s3://bucket/a", "s3://bucket/ab", False),
        ("s3://bucket/a", "s3://bucket/b/a/c", False),
        ("s3://bucket/a", "s3://bucket", False),
        ("s3://bucket", "s3://bucket/anything", True),
        ("s3://bucket", "s3://bucket-2/anything", False),
        ("s3://bucket/a", "s3://bucket/a%2F..%2Fb", False),
        ("s3://bucket/a", "s3://bucket/A/b", False),
    ],
)
def test_a_prefix_holds_what_lies_below_it(prefix: str, address: str, *, holds: bool) -> None:
    """Part by part, not letter by letter."""
    assert S3Url.parse(prefix).holds(S3Url.parse(address)) is holds


def test_what_lies_below_is_addressed_by_its_name() -> None:
    """With one slash between, and none at the end."""
    assert str(S3Url("bucket") / "tables") == "s3://bucket/tables"
    assert str(S3Url("bucket", "data") / "tables" / "x") == "s3://bucket/data/tables/x"
    assert S3Url("bucket", "data") / "" == S3Url("bucket", "data")
