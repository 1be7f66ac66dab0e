"""Decoding pictures, with hostile bytes."""

import io
import zlib
from random import Random

import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from pipeline_assets.documents.pictures import MAX_SCANS, ORIENTATION, decode, open_picture
from pipeline_assets.errors import InvalidInput, TooLarge, Unsupported
from pipeline_assets.sample.faults import huge_png

LIMIT = 1_000_000
RED, WHITE, BLUE = (255, 0, 0), (255, 255, 255), (0, 0, 255)
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", *(["AVIF"] if features.check("avif") else [])]


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of a picture."""
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def png_header(side: int) -> bytes:
    """A PNG that claims so many pixels a side."""
    sound = encoded(Image.new("RGB", (1, 1)))
    header = b"IHDR" + 2 * side.to_bytes(4, "big") + sound[24:29]
    return sound[:12] + header + zlib.crc32(header).to_bytes(4, "big") + sound[33:]


@pytest.mark.parametrize("kind", FORMATS)
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_that_was_taken_sideways_is_turned_upright(kind: str) -> None:
    """The orientation in its header is applied."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(Image.new("RGB", (20, 10), RED), kind, exif=exif)
    assert decode(data, LIMIT).size == (10, 20)


@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 999])
def test_every_orientation_brings_the_marked_corner_where_it_belongs(orientation: int) -> None:
    """One that nobody knows is none."""
    stored = Image.new("RGB", (32, 16), WHITE)
    stored.paste(BLUE, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright = decode(encoded(stored, "PNG", exif=exif), LIMIT)
    right, bottom = upright.width - 1, upright.height - 1
    corners = {2: (right, 0), 3: (right, bottom), 4: (0, bottom)}
    corners |= {6: (right, 0), 7: (right, bottom), 8: (0, bottom)}
    assert upright.getpixel(corners.get(orientation, (0, 0))) == BLUE
    assert upright.size == ((16, 32) if 5 <= orientation <= 8 else (32, 16))


@pytest.mark.filterwarnings("ignore::UserWarning")  # pytest undoes the filter of the module
def test_a_broken_orientation_costs_no_picture() -> None:
    """The pixels are sound."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    sound = encoded(Image.new("RGB", (20, 10), RED), "JPEG", exif=exif.tobytes())
    draw = Random(1)
    for _ in range(200):
        broken = bytearray(sound)
        for _ in range(4):
            broken[sound.index(b"Exif") + draw.randrange(6, 30)] = draw.randrange(256)
        assert decode(bytes(broken), LIMIT).size in ((20, 10), (10, 20))


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
        (encoded(Image.new("RGB", (2, 2)), "TIFF"), Unsupported, "JPEG, PNG, WEBP, GIF"),
        (png_header(2**32 - 1), InvalidInput, "claims 4294967295x4294967295"),
        (b"\0\0\0\x18ftypheic", Unsupported, "JPEG, PNG, WEBP, GIF"),
        (encoded(Image.new("RGB", (2, 2)))[:20], InvalidInput, "header cannot be read"),
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


def test_what_a_printer_would_be_sent_comes_out_in_its_colours() -> None:
    """CMYK, as Adobe inverts it in a JPEG."""
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert open_picture(data, LIMIT).mode == "CMYK"
    for at_least in (None, 1):
        red, green, blue = decode(data, LIMIT, at_least=at_least).tobytes()[:3]
        assert (red > 250, green < 5, blue < 5) == (True, True, True)


def test_a_palette_keeps_its_colours_and_its_holes_are_white() -> None:
    """As a shop's page would show it."""
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([*RED, *BLUE])
    picture.putpixel((1, 1), 1)
    for kind in ("PNG", "GIF"):
        shown = decode(encoded(picture, kind, transparency=1), LIMIT)
        assert (shown.getpixel((0, 0)), shown.getpixel((1, 1))) == (RED, WHITE)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    """The other hundred are not looked at."""
    frames = [Image.new("RGB", (8, 8), (0, 0, blue)) for blue in range(100)]
    first = Image.new("RGB", (8, 8), RED)
    data = encoded(first, kind, save_all=True, append_images=frames, lossless=True)
    assert getattr(open_picture(data, LIMIT), "n_frames", 1) == 101
    assert decode(data, LIMIT).getpixel((4, 4)) == RED


@pytest.mark.parametrize("compressed", [True, False], ids=["zTXt", "iTXt"])
def test_a_text_in_a_header_that_inflates_is_a_data_error(compressed: bool) -> None:
    """A few KB that would be 100 MB, before the first pixel."""
    info = PngInfo()
    if compressed:
        info.add_text("comment", "x" * 100_000_000, zip=True)
    else:
        info.add_itxt("comment", "x" * 100_000_000, zip=True)
    data = encoded(Image.new("RGB", (4, 4)), pnginfo=info)
    assert len(data) < 200_000
    with pytest.raises(InvalidInput, match=r"header cannot be read.*too large"):
        open_picture(data, LIMIT)


def test_a_colour_profile_that_inflates_is_a_data_error() -> None:
    """Likewise."""
    sound = encoded(Image.new("RGB", (4, 4)), icc_profile=b"profile")
    at = sound.index(b"iCCP") - 4
    inside = b"ICC Profile\0\0" + zlib.compress(bytes(100_000_000), 9)
    checksum = zlib.crc32(b"iCCP" + inside)
    chunk = len(inside).to_bytes(4, "big") + b"iCCP" + inside + checksum.to_bytes(4, "big")
    with pytest.raises(InvalidInput, match=r"header cannot be read.*too large"):
        open_picture(sound[:at] + chunk + sound[at:], LIMIT)


@pytest.mark.parametrize(("scans", "fits"), [(MAX_SCANS, True), (MAX_SCANS + 1, False)])
def test_scans_that_say_nothing_are_not_decoded_for_hours(scans: int, fits: bool) -> None:
    """Each costs as much as the picture, and seventy bytes."""
    data = encoded(Image.new("RGB", (64, 64), RED), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    bomb = data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:]
    if fits:
        assert decode(bomb, LIMIT).size == (64, 64)
    else:
        with pytest.raises(TooLarge, match=rf"{scans} scans.*limit of {MAX_SCANS}"):
            decode(bomb, LIMIT)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}])
def test_a_smaller_decode_finds_every_jpeg_that_ends_early(options: dict[str, object]) -> None:
    """So that validation may do a fraction of the work."""
    noise = Image.effect_noise((160, 120), 80).convert("RGB")
    data = encoded(noise, "JPEG", **options)
    for kept in [*range(len(data) // 8, len(data) - 20, len(data) // 40), len(data) - 3]:
        with pytest.raises(InvalidInput):
            decode(data[:kept], LIMIT, at_least=1)
    assert decode(data, LIMIT, at_least=1).size == (20, 15)
