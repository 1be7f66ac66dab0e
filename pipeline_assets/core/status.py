"""The five statuses of a row."""

from enum import StrEnum


class Status(StrEnum):
    """What is known about a row's value. DESIGN.md, "Contract: rows", has the meaning of each."""

    PENDING = "pending"
    FAILED = "failed"
    NOT_APPLICABLE = "not-applicable"
    SKIPPED = "skipped"
    OK = "ok"


class Role(StrEnum):
    """What a resource is to its item."""

    DOCUMENT = "document"
    IMAGE = "image"
