"""What each item of a catalogue shows and where: its content, its addresses, twins and faults."""

from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Final

from pipeline_assets.sample.codes import Content, Guide, encode
from pipeline_assets.sample.drawing import COLOURS, SAMPLE_LABELS, Subject
from pipeline_assets.sample.faults import parse_fault, with_fault
from pipeline_assets.sample.guides import TOPICS

_GUIDE_SHARE: Final = 0.10
_NO_DOCUMENT_SHARE: Final = 0.08
_NO_IMAGE_SHARE: Final = 0.07
_PDF_SHARE_OF_GUIDES: Final = 0.5
_PDF_SHARE_OF_PRODUCTS: Final = 0.06
_TELLING_FILE_NAME_SHARE: Final = 0.6  # the others are named as a camera would name them
_TWIN_SHARE: Final = 0.04
_SAME_URL_SHARE_OF_TWINS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Source:
    """What a catalogue is drawn from."""

    seed: int
    hour: datetime

    def rng(self, what: str) -> Random:
        """Give the randomness for one purpose, independent of all others."""
        return Random(f"{self.seed}/{self.hour:%Y%m%d%H}/{what}")  # noqa: S311 - repeatable


@dataclass(frozen=True, slots=True)
class Draft:
    """An item's content and the paths of its document and picture; None where it has none."""

    content: Content
    document: str | None
    image: str | None


def draft(index: int, source: Source, fault: str | None) -> Draft:
    """Settle one item; a faulty one always has the address that its fault needs."""
    own = _own(index, source, fault)
    if fault is not None:
        return _spoiled(own, fault, source.rng(f"fault/{index}"))
    return _twin(index, source) or own if own.image is not None else own


def _own(index: int, source: Source, fault: str | None) -> Draft:
    rng = source.rng(f"draft/{index}")
    needs_image = fault is not None and parse_fault(fault).needs_image
    needs_document = fault is not None and not needs_image
    seed = rng.getrandbits(32)
    if rng.random() < _GUIDE_SHARE and not needs_image:
        guide = Guide(rng.choice(tuple(TOPICS)), seed)
        return Draft(guide, _document_path(guide, rng.random() < _PDF_SHARE_OF_GUIDES), None)
    product = Subject(rng.choice(SAMPLE_LABELS), rng.choice(tuple(COLOURS)), seed)
    has_document = rng.random() >= _NO_DOCUMENT_SHARE or needs_document
    has_image = rng.random() >= _NO_IMAGE_SHARE or needs_image
    document = _document_path(product, rng.random() < _PDF_SHARE_OF_PRODUCTS)
    telling = rng.random() < _TELLING_FILE_NAME_SHARE
    name = f"{product.colour}-{product.category}" if telling else f"img-{rng.randint(1000, 9999)}"
    image = _image_path(product, name)
    return Draft(product, document if has_document else None, image if has_image else None)


def _twin(index: int, source: Source) -> Draft | None:
    """Now and then repeat an earlier item, its picture under the same address or a new one."""
    rng = source.rng(f"twin/{index}")
    if index == 0 or rng.random() >= _TWIN_SHARE:
        return None
    other = _own(rng.randrange(index), source, None)
    if other.image is None:
        return None
    if rng.random() < _SAME_URL_SHARE_OF_TWINS:
        return other
    return replace(other, image=_image_path(other.content, f"listing-{index}"))


def _spoiled(own: Draft, fault: str, rng: Random) -> Draft:
    on_image = own.image is not None and (own.document is None or rng.random() < 0.5)
    if own.image is not None and (on_image or parse_fault(fault).needs_image):
        return replace(own, image=with_fault(own.image, fault))
    if own.document is not None:
        return replace(own, document=with_fault(own.document, fault))
    return own


def _document_path(content: Content, is_pdf: bool) -> str:
    code = encode(content)
    return f"/docs/{code}.pdf" if is_pdf else f"/pages/{code}.html"


def _image_path(content: Content, name: str) -> str:
    return f"/images/{name}-{encode(content)}.jpg"
