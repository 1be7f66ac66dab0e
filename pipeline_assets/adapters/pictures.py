"""Decoding pictures: pixel limit first, formats by allow-list, orientation applied, RGB out."""

import io

from PIL import Image, ImageOps

from pipeline_assets.errors import InvalidInput, TooLarge, Unsupported

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_ASPECT_RATIO = 100
"""Models scale the short side up to theirs: a line of 1x4000 pixels would become gigabytes."""

Image.MAX_IMAGE_PIXELS = None  # our own limit decides; Pillow's refuses to read a mere header


def open_picture(data: bytes, max_pixels: int | None) -> Image.Image:
    """Read the header. Raises `InvalidInput`, `Unsupported` or `TooLarge` before decoding.

    None means no limit, for who wants to know the size and will not decode.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise a dozen unrelated types
        raise _unreadable(data, error) from None
    pixels = picture.width * picture.height
    if max_pixels is not None and pixels > max_pixels:
        raise TooLarge(
            f"the picture is {picture.width}x{picture.height} = {pixels} pixels, over the limit "
            f"of {max_pixels} (PIPELINE_MAX_PIXELS)"
        )
    return picture


def decode(data: bytes, max_pixels: int, *, at_least: int | None = None) -> Image.Image:
    """The first frame, upright, in RGB.

    With `at_least`, a JPEG may come smaller, by a power of two, with no side below so many pixels:
    the decoder then does a fraction of the work. Raises like `open_picture`, and `InvalidInput`
    for a line rather than a picture and for bytes that end early or are damaged.
    """
    picture = open_picture(data, max_pixels)
    if max(picture.size) > MAX_ASPECT_RATIO * min(picture.size):
        raise InvalidInput(
            f"the picture is {picture.width}x{picture.height}: its sides are further apart than "
            f"{MAX_ASPECT_RATIO}:1, and scaling its short side to a model's would take gigabytes"
        )
    try:
        if at_least is not None:
            picture.draft("RGB", (at_least, at_least))
        picture.load()
        upright = ImageOps.exif_transpose(picture)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise a dozen unrelated types
        raise InvalidInput(f"the picture cannot be decoded: {error}") from None
    return _rgb(upright)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        picture = picture.point(lambda value: value / 256).convert("L")
    if picture.has_transparency_data:
        with_alpha = picture.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return picture.convert("RGB")


def _unreadable(data: bytes, error: Exception) -> InvalidInput | Unsupported:
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return InvalidInput("the bytes are a page of markup, not a picture")
    if head.startswith(b"%pdf"):
        return InvalidInput("the bytes are a PDF, not a picture")
    if data[4:12] in (b"ftypavif", b"ftypheic") or data[:2] == b"BM":
        return Unsupported(f"not one of the picture formats {', '.join(FORMATS)}")
    return InvalidInput(f"the bytes are not a picture: {type(error).__name__}")
