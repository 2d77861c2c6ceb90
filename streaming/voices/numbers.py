"""Numbers in words, English and Chinese. Digits come as text, so that no zero is lost."""

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}

_ZH_DIGITS = "零一二三四五六七八九"
_ZH_SCALES = ((10**8, "亿"), (10**4, "万"), (1000, "千"), (100, "百"), (10, "十"))

MAX_DIGITS = 15
"""A longer number is read digit by digit: nobody follows its words."""


def english(digits: str) -> str:
    """A whole number such as "1205": "one thousand two hundred five"; too long a one digit by digit."""
    if len(digits) > MAX_DIGITS:
        return english_digits(digits)
    return _english(int(digits))


def english_digits(digits: str) -> str:
    """ "705" as "seven zero five"."""
    return " ".join(_ONES[int(digit)] for digit in digits)


def english_decimal(number: str) -> str:
    """ "3.14" as "three point one four"; whole numbers as `english`."""
    whole, point, fraction = number.partition(".")
    return f"{english(whole)} point {english_digits(fraction)}" if point else english(whole)


def english_ordinal(digits: str) -> str:
    """ "22" as "twenty-second"."""
    head, dash, last = _cut_last(english(digits))
    if last in _ORDINALS:
        return head + dash + _ORDINALS[last]
    return head + dash + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def english_year(digits: str) -> str:
    """A year of four digits: "1984" as "nineteen eighty-four", "2005" as "two thousand five"."""
    century, rest = int(digits[:2]), int(digits[2:])
    if century % 10 == 0 and rest < 10:
        return _english(int(digits))
    if rest == 0:
        return f"{_english(century)} hundred"
    return f"{_english(century)} {'oh ' if rest < 10 else ''}{_english(rest)}"


def chinese(digits: str) -> str:
    """A whole number such as "10205": "一万零二百零五"; too long a one digit by digit."""
    if len(digits) > MAX_DIGITS:
        return chinese_digits(digits)
    said = _chinese(int(digits))
    return said.removeprefix("一") if said.startswith("一十") else said


def chinese_digits(digits: str, *, phone: bool = False) -> str:
    """ "2026" as "二零二六"; in the number of a telephone 1 is 幺."""
    said = "".join(_ZH_DIGITS[int(digit)] for digit in digits)
    return said.replace("一", "幺") if phone else said


def chinese_decimal(number: str) -> str:
    """ "3.14" as "三点一四"; whole numbers as `chinese`."""
    whole, point, fraction = number.partition(".")
    return f"{chinese(whole)}点{chinese_digits(fraction)}" if point else chinese(whole)


def _english(number: int) -> str:
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_ONES[hundreds]} hundred" + (f" {_english(rest)}" if rest else "")
    size, name = next((size, name) for size, name in _SCALES if number >= size)
    many, rest = divmod(number, size)
    return f"{_english(many)} {name}" + (f" {_english(rest)}" if rest else "")


def _cut_last(words: str) -> tuple[str, str, str]:
    at = max(words.rfind(" "), words.rfind("-"))
    return (words[:at], words[at], words[at + 1 :]) if at >= 0 else ("", "", words)


def _chinese(number: int) -> str:
    for size, name in _ZH_SCALES:
        if number >= size:
            many, rest = divmod(number, size)
            # A gap inside the number is told by one zero.
            gap = "零" if 0 < rest < size // 10 else ""
            return _chinese(many) + name + (gap + _chinese(rest) if rest else "")
    return _ZH_DIGITS[number]
