"""What can go wrong with the search index.

PipelineError
├── ContractError
│   └── DimensionMismatch    a vector does not fit its space; the index stays as it was
├── IndexDamaged             the index cannot be read; it is made again from the tables
├── NotIndexed               an item that others should be like is not current
├── NoQuery                  a line of a file of queries is none
└── NoSuchFilter             a filter that no item could pass
"""

from pipeline_assets.errors import ContractError, PipelineError


class DimensionMismatch(ContractError):
    """A vector has not as many dimensions as the others of its space; it is refused."""

    def __init__(self, what: str, space: str, dimensions: int, expected: int) -> None:
        self.what, self.space = what, space
        self.dimensions, self.expected = dimensions, expected
        super().__init__(
            "search_index",
            "vectors of one space have the same number of dimensions",
            f"{what} has {dimensions} where space {space!r} has {expected}. Give the model that "
            "made it a space of its own, or embed the older items again",
        )


class IndexDamaged(PipelineError):
    """The index is there but cannot be read; everything in it comes from the tables."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"the search index {path} cannot be read: {reason}. "
            "`pipeline-assets index rebuild` makes it anew from enriched_items."
        )


class NotIndexed(PipelineError):
    """The index has no current item of that id."""

    def __init__(self, item_id: str) -> None:
        self.item_id = item_id
        super().__init__(
            f"the search index has no current item {item_id!r}: "
            f"`pipeline-assets show {item_id}` says whether any hour has it."
        )


class NoQuery(PipelineError):
    """A line of a file of queries is not one; none of them is asked."""

    def __init__(self, path: str, line: int, found: str, expected: str) -> None:
        self.path, self.line, self.found, self.expected = path, line, found, expected
        super().__init__(f"line {line} of {path} is no query: {found!r}. Make it {expected}.")


class NoSuchFilter(PipelineError):
    """A filter that no item could pass, whatever there is: nothing found would be believed."""

    def __init__(self, name: str, value: str, expected: str) -> None:
        self.name, self.value, self.expected = name, value, expected
        super().__init__(f"no item can have {name} {value!r}: {expected}.")
