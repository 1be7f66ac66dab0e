"""What can go wrong with the search index.

PipelineError
├── ContractError
│   └── DimensionMismatch    a vector does not fit its space; the index stays as it was
└── IndexDamaged             the index cannot be read; it is made again from the tables
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
            f"the search index {path} cannot be read: {reason}. Move its folder away and "
            "materialize search_index again: it is made anew from enriched_items."
        )
