"""What somebody asked to have forgotten: known again when it comes back, and remembered by nothing.

Of each name there is only a hash. Whoever has the name can find out that it is on the list; nobody
can read the list.
"""

from dataclasses import dataclass
from hashlib import sha256

ITEM, URL = "item", "url"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The marks of what is to be kept out."""

    marks: frozenset[str] = frozenset()

    def item(self, item_id: str | None) -> bool:
        """Whether an item is to be kept out."""
        return self._has(ITEM, item_id)

    def url(self, url: str | None) -> bool:
        """Whether a URL is."""
        return self._has(URL, url)

    def _has(self, what: str, name: str | None) -> bool:
        return bool(self.marks) and name is not None and mark(what, name) in self.marks


def mark(what: str, name: str) -> str:
    """What stands for an item or a URL on the list."""
    return sha256(f"{what}:{name}".encode("utf-8", "surrogatepass")).hexdigest()
