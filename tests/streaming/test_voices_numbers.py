"""Numbers in words, checked by reading the words back."""

import random

import pytest

from streaming.voices.numbers import (
    MAX_DIGITS,
    chinese,
    chinese_decimal,
    chinese_digits,
    english,
    english_decimal,
    english_digits,
    english_ordinal,
    english_year,
)

_UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
_TEENS = ("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL = {word: number for number, word in enumerate((*_UNITS, *_TEENS))}
_SMALL |= {word: 10 * (number + 2) for number, word in enumerate(_TENS)}
_BIG = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_DIGITS = {char: number for number, char in enumerate("零一二三四五六七八九")}
_PLACES = {"十": 10, "百": 100, "千": 1000}


def read_english(words: str) -> int:
    """The number that words say, as a grammar of its own."""
    total = part = 0
    for word in words.replace("-", " ").split():
        if word in _SMALL:
            part += _SMALL[word]
        elif word == "hundred":
            part *= 100
        else:
            total, part = total + part * _BIG[word], 0
    return total + part


def read_chinese(said: str) -> int:
    """The number that characters say."""
    for scale, size in (("亿", 10**8), ("万", 10**4)):
        if scale in said:
            head, _, tail = said.rpartition(scale)
            return read_chinese(head) * size + (read_chinese(tail) if tail else 0)
    total, digit = 0, None
    for char in said:
        if char in _PLACES:
            total += (1 if digit is None else digit) * _PLACES[char]
            digit = None
        else:
            digit = _DIGITS[char] or None
    return total + (digit or 0)


def _numbers() -> list[int]:
    drawn = random.Random(7)
    some = [drawn.randrange(10**size) for size in range(1, MAX_DIGITS + 1) for _ in range(40)]
    gaps = [
        a * 10**i + b * 10**j
        for a in (1, 10, 12, 305)
        for b in (0, 1, 10)
        for i in range(4, 12)
        for j in (0, 3)
    ]
    return [*range(1100), *gaps, *some, 10**MAX_DIGITS - 1]


def test_every_number_reads_back_in_english() -> None:
    for number in _numbers():
        assert read_english(english(str(number))) == number


def test_every_number_reads_back_in_chinese() -> None:
    for number in _numbers():
        said = chinese(str(number))
        assert read_chinese(said) == number, said
        assert "零零" not in said
        assert number == 0 or not said.endswith("零")


@pytest.mark.parametrize(
    ("digits", "said"),
    [
        ("0", "零"),
        ("10", "十"),
        ("15", "十五"),
        ("110", "一百一十"),
        ("1001", "一千零一"),
        ("1010", "一千零一十"),
        ("10205", "一万零二百零五"),
        ("100000", "十万"),
        ("100010000", "一亿零一万"),
        ("1200300000000", "一万二千零三亿"),
    ],
)
def test_chinese_numbers_are_said_as_people_do(digits: str, said: str) -> None:
    assert chinese(digits) == said


def test_zeros_in_front_do_not_matter_but_digit_by_digit_they_do() -> None:
    assert english("007") == "seven"
    assert chinese("007") == "七"
    assert english_digits("007") == "zero zero seven"
    assert chinese_digits("007") == "零零七"


def test_telephones_say_yao() -> None:
    assert chinese_digits("110", phone=True) == "幺幺零"
    assert chinese_digits("110") == "一一零"


def test_very_long_numbers_are_read_digit_by_digit() -> None:
    digits = "1" * (MAX_DIGITS + 1)
    assert english(digits) == " ".join(["one"] * len(digits))
    assert chinese(digits) == "一" * len(digits)


def test_decimals_keep_their_zeros() -> None:
    assert english_decimal("3.05") == "three point zero five"
    assert chinese_decimal("3.05") == "三点零五"
    assert english_decimal("12") == "twelve"
    assert chinese_decimal("12") == "十二"


@pytest.mark.parametrize(
    ("digits", "said"),
    [
        ("1", "first"),
        ("2", "second"),
        ("3", "third"),
        ("5", "fifth"),
        ("8", "eighth"),
        ("9", "ninth"),
        ("11", "eleventh"),
        ("12", "twelfth"),
        ("20", "twentieth"),
        ("22", "twenty-second"),
        ("30", "thirtieth"),
        ("100", "one hundredth"),
        ("101", "one hundred first"),
    ],
)
def test_ordinals(digits: str, said: str) -> None:
    assert english_ordinal(digits) == said


@pytest.mark.parametrize(
    ("digits", "said"),
    [
        ("1066", "ten sixty-six"),
        ("1900", "nineteen hundred"),
        ("1905", "nineteen oh five"),
        ("1984", "nineteen eighty-four"),
        ("2000", "two thousand"),
        ("2005", "two thousand five"),
        ("2010", "twenty ten"),
        ("2026", "twenty twenty-six"),
    ],
)
def test_years(digits: str, said: str) -> None:
    assert english_year(digits) == said
