"""What a server said about bytes that we have, so that it need not send them again."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Validators:
    """`ETag` and `Last-Modified`, as the server wrote them about what is at `url`.

    That is where redirects ended. It is None where an earlier version has not kept it.
    """

    etag: str | None = None
    last_modified: str | None = None
    url: str | None = None

    def headers(self) -> dict[str, str]:
        """The headers of a conditional request; what no header can hold is left out."""
        asked = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in asked.items() if value and _can_be_sent(value)}


NO_VALIDATORS: Final = Validators()


def _can_be_sent(value: str) -> bool:
    return value.isascii() and value.isprintable()
