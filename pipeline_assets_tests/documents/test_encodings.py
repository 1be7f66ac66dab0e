"""How bytes are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.documents.encodings import GUESSED_BYTES, text_of

RUSSIAN = "Съешь ещё этих мягких французских булок. Карл и Клара украли кораллы. " * 4
JAPANESE = "これはテストの文章です。日本語の文字コードを判定します。" * 4
CHINESE = "这是一个测试文章。用来检测编码。我们需要更多的汉字才能确定。" * 4
GREEK = "η γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί και φεύγει. " * 4


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"plain", "plain", "utf-8"),
        (b"gr\xc3\xbcn", "grün", "utf-8"),
        (b"\xef\xbb\xbfgr\xc3\xbcn", "grün", "utf-8"),
        ("grün".encode("utf-16-le").join([b"\xff\xfe", b""]), "grün", "utf-16-le"),
        ("grün".encode("utf-16-be").join([b"\xfe\xff", b""]), "grün", "utf-16-be"),
        (b"gr\xfcn \x80", "grün €", "cp1252"),
    ],
)
def test_the_bytes_say_it_themselves(data: bytes, text: str, encoding: str) -> None:
    """By a mark or by being UTF-8; a few others are as most pages are."""
    assert text_of(data) == (text, encoding)


@pytest.mark.parametrize(
    ("charset", "data", "text", "encoding"),
    [
        ("iso-8859-1", b"gr\xfcn \x80", "grün €", "cp1252"),
        ("ISO-8859-2", b"\xb1\xea", "ąę", "iso8859-2"),
        ("shift_jis", "日本語".encode("cp932"), "日本語", "cp932"),
        ("iso-2022-jp", "日本語".encode("iso2022_jp"), "日本語", "iso2022_jp"),
        ("iso-8859-1", b"gr\xc3\xbcn", "grün", "utf-8"),
        ("utf-8", b"\xc3\xbc" * 20 + b"\xfc", "ü" * 20 + "\ufffd", "utf-8"),
        ("utf-8", b"gr\xfcn", "grün", "cp1252"),
        ("utf-16", b"gr\xfcn", "grün", "cp1252"),
        ("no-such-thing", b"gr\xfcn", "grün", "cp1252"),
        ("undefined", b"gr\xfcn", "grün", "cp1252"),
        ("zlib", b"gr\xfcn", "grün", "cp1252"),
        ("rot13", b"gr\xfcn", "grün", "cp1252"),
        ("punycode", b"gr\xfcn", "grün", "cp1252"),
        ("utf-7", b"+ADw-script", "+ADw-script", "utf-8"),
    ],
)
def test_a_declaration_is_believed_as_far_as_it_fits(
    charset: str, data: bytes, text: str, encoding: str
) -> None:
    """A slip in the bytes is one; bytes of another kind belie it. What hides tags is none."""
    tag = f'<meta charset="{charset}">'
    assert text_of(tag.encode() + data) == (tag + text, encoding)


def test_the_declaration_of_xml_counts_too() -> None:
    """As XHTML has it."""
    start = '<?xml version="1.0" encoding="iso-8859-2"?>'
    assert text_of(start.encode() + b"\xb1") == (start + "ą", "iso8859-2")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp1251"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "cp932"),
        (CHINESE, "gb18030"),
        (GREEK, "cp1253"),
    ],
)
@pytest.mark.parametrize("times", [1, 600], ids=["short", "long"])
def test_where_nothing_says_it_the_letters_do(text: str, encoding: str, times: int) -> None:
    """From a sample, which cuts no character in two."""
    data = f"<p>{text}</p>\n".encode(encoding) * times
    assert (len(data) > GUESSED_BYTES) == (times > 1)
    assert text_of(data) == (data.decode(encoding), encoding)


@given(st.binary(max_size=500))
def test_any_bytes_are_some_text(data: bytes) -> None:
    """Nothing is raised, and what is said can be looked up."""
    text, encoding = text_of(data)
    assert isinstance(text, str)
    "".encode(encoding)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_utf8_is_read_as_it_was_written(text: str) -> None:
    """But for a mark at its start."""
    assert text_of(text.encode())[0] == text.removeprefix("\ufeff")
