"""What X-Robots-Tag asks for."""

import pytest

from pipeline_assets.fetch.robots_tag import opt_out


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        (["noindex, nofollow"], None),
        (["noai"], "noai"),
        (["NoAI"], "noai"),
        (["noimageai"], "noimageai"),
        (["noindex, noai, nofollow"], "noai"),
        (["noindex", " noimageai "], "noimageai"),
        (["googlebot: noai"], None),
        (["googlebot: noindex, noai"], None),
        (["googlebot: noindex", "noai"], "noai"),
        (["pipeline-assets: noai"], "noai"),
        (["Pipeline-Assets:noindex,noai"], "noai"),
        (["otherbot: noindex, pipeline-assets: noimageai"], "noimageai"),
        (["*: noai"], "noai"),
        (["unavailable_after: 25 Jun 2010 15:00:00 GMT, noai"], "noai"),
        (["max-image-preview: large, noai"], "noai"),
        (["noairplanes"], None),
        (["", ",,", ":"], None),
    ],
)
def test_an_opt_out_is_heard_where_it_is_meant_for_us(headers: list[str], found: str) -> None:
    """Said to all or to our name, in any case, in any of several headers."""
    assert opt_out(headers) == found
