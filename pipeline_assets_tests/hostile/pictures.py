"""Pictures: sound ones of every kind, spoilt ones, bombs, and what is none."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache

from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from pipeline_assets.documents.pictures import MAX_SCANS
from pipeline_assets.sample.faults import huge_png
from pipeline_assets_tests.hostile.spoiled import spoiled

SIZE = (96, 64)


@cache
def sound_pictures() -> dict[str, bytes]:
    """A small picture in every format and mode that is taken."""
    photo = Image.effect_noise(SIZE, 60).convert("RGB")
    frames = [Image.new("RGB", SIZE, (0, 0, blue)) for blue in range(8)]
    exif = Image.Exif()
    exif[0x0112] = 6
    made = {
        "baseline.jpg": encoded(photo, "JPEG", exif=exif),
        "progressive.jpg": encoded(photo, "JPEG", progressive=True, icc_profile=b"no profile"),
        "grey.jpg": encoded(photo.convert("L"), "JPEG"),
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "rgb.png": encoded(photo, "PNG"),
        "alpha.png": encoded(photo.convert("RGBA"), "PNG"),
        "palette.png": encoded(photo.quantize(16), "PNG", transparency=3),
        "deep.png": encoded(Image.new("I;16", SIZE, 40_000), "PNG"),
        "bits.png": encoded(photo.convert("1"), "PNG"),
        "animated.png": encoded(photo, "PNG", save_all=True, append_images=frames),
        "still.gif": encoded(photo, "GIF"),
        "animated.gif": encoded(photo, "GIF", save_all=True, append_images=frames),
        "lossy.webp": encoded(photo, "WEBP"),
        "lossless.webp": encoded(photo.convert("RGBA"), "WEBP", lossless=True),
        "animated.webp": encoded(photo, "WEBP", save_all=True, append_images=frames),
    }
    if features.check("avif"):
        made["still.avif"] = encoded(photo, "AVIF", speed=10)
    return made


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a picture."""
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def hostile_pictures(seed: int) -> Iterator[tuple[str, bytes]]:
    """Everything, each with its name."""
    yield from spoiled(sound_pictures(), seed)
    yield from _bombs()
    yield from _no_pictures()


def _bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that claim, or would become, what no machine has room or time for."""
    yield "30000 x 30000.png", huge_png()
    pixel = encoded(Image.new("RGB", (1, 1)), "PNG")
    for side in (0, 1, 65_535, 2**31 - 1, 2**32 - 1):
        ihdr = struct.pack(">II", side, side) + pixel[24:29]
        checksum = struct.pack(">I", zlib.crc32(b"IHDR" + ihdr))
        yield f"claims {side}.png", pixel[:16] + ihdr + checksum + pixel[33:]
    yield (
        "claims 65535.gif",
        b"GIF89a\xff\xff\xff\xff" + encoded(Image.new("L", (1, 1)), "GIF")[10:],
    )
    jpeg = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"
    yield "claims 65500.jpg", bytes(jpeg)
    yield "claims 16777216.webp", _canvas(2**24, 2**8)
    yield "claims 16383.webp", _canvas(16_383, 16_383)
    text = PngInfo()
    text.add_text("comment", "x" * 30_000_000, zip=True)
    yield "inflated text.png", encoded(Image.new("RGB", SIZE), "PNG", pnginfo=text)
    profile = encoded(Image.new("RGB", SIZE), "PNG", icc_profile=bytes(30_000_000))
    yield "inflated profile.png", profile
    scans = encoded(Image.new("RGB", SIZE), "JPEG", progressive=True)
    yield "scans.jpg", scans[:-2] + scans[scans.rindex(b"\xff\xda") : -2] * MAX_SCANS + scans[-2:]
    many = [Image.new("L", (8, 8), frame % 256) for frame in range(3000)]
    yield "3000 frames.gif", encoded(many[0], "GIF", save_all=True, append_images=many[1:])
    yield "line.png", encoded(Image.new("L", (30_000, 1)), "PNG")


def _canvas(width: int, height: int) -> bytes:
    """An animated WebP with one small frame on a canvas of this size."""
    frame = encoded(Image.new("RGBA", (16, 16)), "WEBP", lossless=True)[12:]
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    animated = b"\x02\0\0\0" + sides
    placed = bytes(6) + b"\x0f\0\0\x0f\0\0\x64\0\0\0" + frame
    chunks = ((b"VP8X", animated), (b"ANIM", bytes(6)), (b"ANMF", placed))
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _no_pictures() -> Iterator[tuple[str, bytes]]:
    sound = sound_pictures()
    yield "empty", b""
    yield "a zero", b"\0"
    yield "zeros", bytes(100_000)
    yield "a page", b"<!doctype html><html><body>not a picture"
    yield "a drawing", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "a PDF", b"%PDF-1.7\n"
    yield "a bitmap", encoded(Image.new("RGB", SIZE), "BMP")
    yield "a scan", encoded(Image.new("RGB", SIZE), "TIFF")
    yield "a program", b"\x7fELF" + bytes(1000)
    yield "an archive", b"PK\x03\x04" + bytes(1000)
    yield "two in one", sound["baseline.jpg"][:400] + sound["rgb.png"]
    yield "signature only.png", sound["rgb.png"][:8]
    yield "signature only.jpg", sound["baseline.jpg"][:3]
