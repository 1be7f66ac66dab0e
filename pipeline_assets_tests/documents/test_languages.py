"""The language of a text."""

import pytest

from pipeline_assets.documents.languages import declared_language, detected_language


@pytest.mark.parametrize(
    ("head", "language"),
    [
        ('<html lang="de-AT">', "de"),
        ("<!doctype html>\n<HTML class=x LANG=EN>", "en"),
        ("<html xml:lang='fil'>", "fil"),
        ('<html data-lang="x" lang = "fr_FR">', "fr"),
        ('<html lang="und">', None),
        ('<html lang="">', None),
        ('<html lang="deutsch">', None),
        ('<html><body lang="de">', None),
        ("<p>no tag of its own", None),
    ],
)
def test_a_page_declares_its_language_in_its_first_tag(head: str, language: str | None) -> None:
    """Without its region; a language that says nothing is none."""
    assert declared_language(head) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The red shirt comes in a box, and it is meant to last for many years.", "en"),
        ("Das rote Hemd kommt in einer Schachtel und soll viele Jahre lang halten.", "de"),
        ("La chemise rouge est livrée dans une boîte, et elle durera des années.", "fr"),
        (
            "これはテストの文章です。日本語の文字コードを判定します。長い文です。これで足ります。",
            "ja",
        ),
        ("AB-12 / 44 x 30", None),
        ("12345 " * 40, None),
        ("", None),
    ],
)
def test_words_tell_their_language_where_there_are_enough(text: str, language: str | None) -> None:
    """Numbers and a few letters are in none."""
    assert detected_language(text) == language
