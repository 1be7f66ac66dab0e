"""Decoding pictures: pixel limit first, formats by allow-list, orientation applied, RGB out."""

import io
import warnings

from PIL import Image, UnidentifiedImageError, features

from pipeline_assets.errors import InvalidInput, TooLarge, Unsupported

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", *(("AVIF",) if features.check("avif") else ()))
MAX_ASPECT_RATIO = 100
"""Models scale the short side up to theirs: a line of 1x4000 pixels would become gigabytes."""
LONGEST_SIDE = 2**31 - 1
"""Of a PNG; other formats are content with less."""
MAX_SCANS = 100
"""A progressive JPEG has about ten. A scan may say nothing in 70 bytes, and is decoded as a whole:
without a limit a small file takes hours."""

ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SCAN = b"\xff\xda"
_OTHER_PICTURES = (b"BM", b"II*\0", b"MM\0*", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  ")

Image.MAX_IMAGE_PIXELS = None  # our own limit decides; Pillow's refuses to read a mere header
# What is odd about a stranger's header would be written to the log, file by file.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def open_picture(data: bytes, max_pixels: int | None) -> Image.Image:
    """Read the header. Raises `InvalidInput`, `Unsupported` or `TooLarge` before decoding.

    None means no limit, for who wants to know the size and will not decode.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise _no_picture(data) from None
    except Exception as error:  # noqa: BLE001 - decoders raise a dozen unrelated types
        raise InvalidInput(f"the picture's header cannot be read: {error}") from None
    if max(picture.size) > LONGEST_SIDE:
        raise InvalidInput(f"the picture claims {picture.width}x{picture.height} pixels")
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
    for a line rather than a picture and for bytes that end early or are damaged. A JPEG that ends
    early is found out at any size: all of its bytes are read.
    """
    picture = open_picture(data, max_pixels)
    if max(picture.size) > MAX_ASPECT_RATIO * min(picture.size):
        raise InvalidInput(
            f"the picture is {picture.width}x{picture.height}: its sides are further apart than "
            f"{MAX_ASPECT_RATIO}:1, and scaling its short side to a model's would take gigabytes"
        )
    scans = data.count(_SCAN) if picture.format == "JPEG" else 0
    if scans > MAX_SCANS:
        raise TooLarge(f"the picture has {scans} scans, over the limit of {MAX_SCANS}")
    try:
        if at_least is not None:
            picture.draft("RGB", (at_least, at_least))
        picture.load()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise a dozen unrelated types
        raise InvalidInput(f"the picture cannot be decoded: {error}") from None
    return _rgb(_upright(picture))


def _upright(picture: Image.Image) -> Image.Image:
    """As its header says that it was taken; as it is where that cannot be read."""
    try:
        turn = _UPRIGHT.get(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - a broken header is no reason to lose a sound picture
        return picture
    return picture if turn is None else picture.transpose(turn)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        picture = picture.point(lambda value: value / 256).convert("L")
    if picture.has_transparency_data:
        with_alpha = picture.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return picture.convert("RGB")


def _no_picture(data: bytes) -> InvalidInput | Unsupported:
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return InvalidInput("the bytes are a page of markup, not a picture")
    if head.startswith(b"%pdf"):
        return InvalidInput("the bytes are a PDF, not a picture")
    if data.startswith(_OTHER_PICTURES) or data[4:8] == b"ftyp":
        return Unsupported(f"not one of the picture formats {', '.join(FORMATS)}")
    return InvalidInput("the bytes are not a picture")
