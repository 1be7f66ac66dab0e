"""What the marks of a plot say: each has its numbers in its label, for those who cannot see it."""

import re

MARK = re.compile(r'aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="bar"')


def marks(svg: str) -> list[dict[str, str]]:
    """The fields of each mark of a picture."""
    return [
        dict(field.split(": ", 1) for field in label.split("; ")) for label in MARK.findall(svg)
    ]
