"""Addresses in object storage: `s3://bucket/key`, taken as they are written."""

import re
from dataclasses import dataclass
from typing import Self

SCHEME = "s3://"
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
ALLOWED = "s3://bucket/prefix, the bucket of 3 to 63 lower-case letters, digits, dots and hyphens"


@dataclass(frozen=True, slots=True)
class S3Url:
    """A bucket and what it is about in it: a key, or a prefix without the last slash; "" for all.

    No part of a key is empty, `.` or `..`: some stores would take it for another key.
    """

    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take an address apart. Raises `ValueError` that says what is allowed."""
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if not text.startswith(SCHEME) or not BUCKET.fullmatch(bucket):
            raise ValueError(ALLOWED)
        key = key.removesuffix("/")
        if key and {"", ".", ".."}.intersection(key.split("/")):
            raise ValueError(f"{ALLOWED}; no part of the path empty, . or ..")
        if not key.isprintable():
            raise ValueError(f"{ALLOWED}; no control characters")
        return cls(bucket, key)

    def __truediv__(self, name: str) -> "S3Url":
        """What lies below."""
        return S3Url(self.bucket, "/".join(filter(None, (self.key, name))))

    def holds(self, other: "S3Url") -> bool:
        """Whether `other` lies below this prefix, or is it: `s3://b/a` does not hold `s3://b/ab`."""
        inside = not self.key or f"{other.key}/".startswith(f"{self.key}/")
        return self.bucket == other.bucket and inside

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"
