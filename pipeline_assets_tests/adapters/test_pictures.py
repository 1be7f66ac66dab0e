"""Decoding pictures, with hostile bytes."""

import io

import pytest
from PIL import Image

from pipeline_assets.adapters.pictures import decode, open_picture
from pipeline_assets.errors import InvalidInput, TooLarge, Unsupported
from pipeline_assets.sample.faults import huge_png

LIMIT = 1_000_000
RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of a picture."""
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_formats_that_are_taken_come_out_in_rgb(kind: str) -> None:
    """Whatever the file is called."""
    picture = decode(encoded(Image.new("RGB", (20, 10), RED), kind), LIMIT)
    assert (picture.mode, picture.size) == ("RGB", (20, 10))


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("L", (4, 4), 255),
        Image.new("1", (4, 4), 1),
        Image.new("I;16", (4, 4), 65535),
        Image.new("RGBA", (4, 4), (255, 0, 0, 0)),
        Image.new("LA", (4, 4), (0, 0)),
    ],
    ids=lambda picture: picture.mode,
)
def test_any_mode_becomes_rgb_and_what_is_transparent_white(picture: Image.Image) -> None:
    """As a shop's page would show it."""
    assert decode(encoded(picture), LIMIT).getpixel((1, 1)) == WHITE


def test_a_picture_that_was_taken_sideways_is_turned_upright() -> None:
    """The orientation in its header is applied."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (20, 10), RED), "JPEG", exif=exif)
    assert decode(data, LIMIT).size == (10, 20)


@pytest.mark.parametrize(("pixels", "fits"), [(200, True), (199, False)])
def test_the_limit_is_inclusive_and_named(pixels: int, fits: bool) -> None:
    """Ten by twenty is 200."""
    data = encoded(Image.new("RGB", (20, 10)))
    if fits:
        open_picture(data, pixels)
    else:
        with pytest.raises(TooLarge, match=r"20x10 = 200 pixels.*PIPELINE_MAX_PIXELS"):
            open_picture(data, pixels)


def test_a_bomb_is_refused_before_it_is_decoded_but_its_header_is_readable() -> None:
    """A few KB that claim 2.7 GB."""
    with pytest.raises(TooLarge, match="30000x30000"):
        decode(huge_png(), LIMIT)
    assert open_picture(huge_png(), None).size == (30_000, 30_000)


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (b"", InvalidInput, "not a picture"),
        (b"\x00" * 100, InvalidInput, "not a picture"),
        (b"  <!DOCTYPE html><html></html>", InvalidInput, "page of markup"),
        (b"<svg xmlns='x'/>", InvalidInput, "page of markup"),
        (b"%PDF-1.7 ...", InvalidInput, "a PDF"),
        (encoded(Image.new("RGB", (2, 2)), "BMP"), Unsupported, "JPEG, PNG, WEBP, GIF"),
        (encoded(Image.new("RGB", (2, 2)), "TIFF"), InvalidInput, "not a picture"),
    ],
)
def test_what_is_no_picture_says_what_it_is(data: bytes, error: type, said: str) -> None:
    """A data error with a reason that a person can use."""
    with pytest.raises(error, match=said):
        open_picture(data, LIMIT)


def test_a_picture_that_ends_early_has_a_header_and_no_pixels() -> None:
    """So a rung that only needs the header can still use it."""
    noise = Image.effect_noise((200, 200), 80)
    data = encoded(noise, "JPEG")
    cut = data[: len(data) // 2]
    assert open_picture(cut, LIMIT).size == (200, 200)
    with pytest.raises(InvalidInput, match="cannot be decoded"):
        decode(cut, LIMIT)


def test_a_large_jpeg_may_come_smaller_but_never_below_what_is_needed() -> None:
    """The decoder then does a fraction of the work."""
    data = encoded(Image.new("RGB", (1000, 800), RED), "JPEG")
    small = decode(data, LIMIT, at_least=64)
    assert min(small.size) >= 64
    assert small.size[0] < 1000
    assert decode(data, LIMIT).size == (1000, 800)


@pytest.mark.parametrize("size", [(1, 101), (404, 4)])
def test_a_line_is_no_picture(size: tuple[int, int]) -> None:
    """A model would scale its short side up, and the long one to gigabytes with it."""
    with pytest.raises(InvalidInput, match=rf"{size[0]}x{size[1]}.*100:1"):
        decode(encoded(Image.new("RGB", size)), LIMIT)
    assert decode(encoded(Image.new("RGB", (100, 1))), LIMIT).size == (100, 1)
