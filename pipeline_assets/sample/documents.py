"""Product pages and guides of the sample shop as HTML and PDF, composed from a seed."""

from dataclasses import dataclass
from html import escape
from random import Random
from typing import Final

from pipeline_assets.sample.codes import Content, Guide, encode
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.sample.guides import TOPICS
from pipeline_assets.sample.pdf import pdf
from pipeline_assets.sample.wording import material, product_name

_OPENINGS: Final = (
    "This {material} {category} comes in {colour}.",
    "A {material} {category} in {colour} that is meant to last for years.",
    "We have sold this {colour} {material} {category} since the year we opened.",
)
_MAKING: Final = (
    "The material is chosen by hand, and every {category} is checked twice before it leaves.",
    "It takes a small workshop about {hours} hours to make a batch of {batch} pieces.",
    "Its shape has hardly changed in {years} years, because customers keep asking for it.",
    "The edges are finished by hand, which is why no two pieces are quite alike.",
)
_USE: Final = (
    "Customers tell us that the colour stays fresh and that the {category} improves with age.",
    "It suits everyday use as well as special days, and it makes a welcome present.",
    "Clean it with a damp cloth and keep it away from strong sunlight.",
    "Should anything break, we repair it free of charge for {years} years.",
)
_SUMMARIES: Final = (
    "A {material} {category} in {colour}.",
    "A {category} in {colour}. In stock, delivered in {days} days.",
    "Our {material} {category} for every day, from a workshop nearby.",
    "Customers rate it {stars} of 5. Made in small batches of {batch}.",
)
_NAVIGATION: Final = ("Home", "New", "Clothes", "Household", "Sale", "Basket", "Sign in")
_YEARS: Final = (2019, 2026)


@dataclass(frozen=True, slots=True)
class Article:
    """A title and its paragraphs, before any format."""

    title: str
    paragraphs: tuple[str, ...]


def title(content: Content) -> str:
    """Give the name of a product or the title of a guide."""
    if isinstance(content, Guide):
        return f"{content.topic} ({_guide_rng(content).randint(*_YEARS)})"
    return product_name(content)


def article(content: Content) -> Article:
    """Write the text about a product or a guide; the same content gives the same text."""
    if isinstance(content, Guide):
        return _guide(content)
    facts = _facts(content)
    rng = Random(f"article/{encode(content)}")  # noqa: S311 - drawn from a seed on purpose
    paragraphs = (
        [rng.choice(_OPENINGS), *rng.sample(_MAKING, 2)],
        rng.sample(_USE, 3),
        [rng.choice(_SUMMARIES), "Article number {code}, {grams} grams, boxed."],
    )
    filled = (" ".join(sentences).format(**facts) for sentences in paragraphs)
    return Article(title(content), tuple(filled))


def summary(content: Content) -> str:
    """Give the sentence or two that stand in a feed's description."""
    rng = Random(f"summary/{encode(content)}")  # noqa: S311
    if isinstance(content, Guide):
        return rng.choice(TOPICS[content.topic])
    return rng.choice(_SUMMARIES).format(**_facts(content))


def html_page(content: Content) -> bytes:
    """Give a page in UTF-8: navigation and footer as boilerplate around one article."""
    text = article(content)
    links = "".join(f'<li><a href="/{escape(n.lower())}">{n}</a></li>' for n in _NAVIGATION)
    body = "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in text.paragraphs)
    picture = ""
    if isinstance(content, Subject):
        picture = f'<img src="/images/{encode(content)}.jpg" alt="{escape(text.title)}">'
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(text.title)} - Sample Shop</title></head>
<body>
<header><a href="/">Sample Shop</a><nav><ul>{links}</ul></nav></header>
<main><article><h1>{escape(text.title)}</h1>
{picture}
{body}
</article>
<aside><h2>You may also like</h2><ul><li>Gift cards</li><li>Socks</li></ul></aside></main>
<footer><p>Imprint</p><p>Cookies</p><p>All prices include tax</p></footer>
</body></html>
"""
    return page.encode()


def pdf_document(content: Content) -> bytes:
    """Give the same text as a PDF whose text can be extracted."""
    text = article(content)
    return pdf(text.title, text.paragraphs)


def _guide(content: Guide) -> Article:
    rng = _guide_rng(content)
    year, edition = rng.randint(*_YEARS), rng.randint(1, 12)
    sentences = rng.sample(TOPICS[content.topic], len(TOPICS[content.topic]))
    opening = f"Edition {edition} of {year}. This guide replaces all earlier ones."
    closing = f"Questions? Write to us and quote guide {encode(content)}."
    paragraphs = (opening, " ".join(sentences[:3]), " ".join(sentences[3:]), closing)
    return Article(title(content), paragraphs)


def _guide_rng(guide: Guide) -> Random:
    return Random(f"guide/{guide.topic}/{guide.seed}")  # noqa: S311


def _facts(subject: Subject) -> dict[str, str | int]:
    rng = Random(f"facts/{encode(subject)}")  # noqa: S311
    return {
        "category": subject.category,
        "colour": subject.colour,
        "material": material(subject),
        "code": encode(subject).upper(),
        "hours": rng.randint(2, 30),
        "batch": rng.randint(10, 400),
        "years": rng.randint(2, 40),
        "days": rng.randint(1, 6),
        "stars": rng.randint(3, 5),
        "grams": rng.randint(40, 4000),
    }
