"""English text as it is said: numbers, dates, times, money, units and signs in words."""

import re
from collections.abc import Callable

from streaming.voices.numbers import (
    english,
    english_decimal,
    english_digits,
    english_ordinal,
    english_year,
)

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MONTH = "|".join([*_MONTHS, *(f"{name[:3]}\\.?" for name in _MONTHS if name != "May"), "Sept\\.?"])
_SCALE = r"(?: ?(thousand|million|billion|trillion|[kKMB])\b)?"
_SCALES = {"k": "thousand", "K": "thousand", "M": "million", "B": "billion"}
_COINS = {
    "$": ("dollar", "dollars", "cents"),
    "€": ("euro", "euros", "cents"),
    "£": ("pound", "pounds", "pence"),
    "¥": ("yuan", "yuan", ""),
    "￥": ("yuan", "yuan", ""),
}
_UNITS = {
    "km/h": "kilometers per hour",
    "mph": "miles per hour",
    "m/s": "meters per second",
    "Mbps": "megabits per second",
    "kbps": "kilobits per second",
    "fps": "frames per second",
    "km": "kilometers",
    "cm": "centimeters",
    "mm": "millimeters",
    "m": "meters",
    "ft": "feet",
    "kg": "kilograms",
    "mg": "milligrams",
    "g": "grams",
    "lbs": "pounds",
    "lb": "pounds",
    "ml": "milliliters",
    "L": "liters",
    "TB": "terabytes",
    "GB": "gigabytes",
    "MB": "megabytes",
    "KB": "kilobytes",
    "GHz": "gigahertz",
    "MHz": "megahertz",
    "kHz": "kilohertz",
    "Hz": "hertz",
    "kW": "kilowatts",
    "W": "watts",
    "ms": "milliseconds",
    "min": "minutes",
    "h": "hours",
    "s": "seconds",
    "°C": "degrees Celsius",
    "℃": "degrees Celsius",
    "°F": "degrees Fahrenheit",
    "°": "degrees",
    "px": "pixels",
}
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_FRACTIONS = {
    "1/2": "one half",
    "1/3": "one third",
    "2/3": "two thirds",
    "1/4": "one quarter",
    "3/4": "three quarters",
}
_WORDS = {
    "e.g.": "for example",
    "i.e.": "that is",
    "etc.": "et cetera",
    "vs.": "versus",
    "approx.": "approximately",
    "w/": "with",
}
_NUMBER = r"\d+(?:\.\d+)?"
_YEAR = re.compile(r"\b([Ii]n|[Ss]ince|[Uu]ntil|[Bb]y|[Ff]rom|[Yy]ear) ((?:1[1-9]|20)\d\d)(?!\w|[.,]\d)")
_FREE = r"(?<![\w.])"
"""Nothing before it that makes it a part of a name, as in GPT4."""


def spoken_english(text: str) -> str:
    """The text with everything in words that is not; what it does not know it leaves as it is."""
    text = _YEAR.sub(lambda m: f"{m[1]} {english_year(m[2])}", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    for pattern, say in _RULES:
        text = pattern.sub(say, text)
    return re.sub(r"[ \t]{2,}", " ", text)


def _iso_date(match: re.Match[str]) -> str:
    year, month, day = match.groups()
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return match[0]
    return f"{_MONTHS[int(month) - 1]} {english_ordinal(day)}, {english_year(year)}"


def _month_day(match: re.Match[str]) -> str:
    month, day, year = match.groups()
    named = _full_month(month)
    if not 1 <= int(day) <= 31:
        return match[0]
    return f"{named} {english_ordinal(day)}" + (f", {english_year(year)}" if year else "")


def _month_year(match: re.Match[str]) -> str:
    return f"{_full_month(match[1])} {english_year(match[2])}"


def _full_month(name: str) -> str:
    return next(month for month in _MONTHS if month.startswith(name[:3]))


def _time(match: re.Match[str]) -> str:
    hour, minute, half = int(match[1]), int(match[2]), match[3]
    if hour > 23 or minute > 59:
        return match[0]
    said = english(str(hour))
    if minute:
        said += f" {'oh ' if minute < 10 else ''}{english(str(minute))}"
    elif half is None:
        said += " o'clock" if 1 <= hour <= 12 else " hundred hours"
    return said + (f" {half[0].upper()} M" if half else "")


def _money(match: re.Match[str]) -> str:
    sign, number, scale = match.groups()
    one, many, small = _COINS[sign]
    if scale:
        return f"{english_decimal(number)} {_SCALES.get(scale, scale)} {many}"
    whole, point, cents = number.partition(".")
    if point and (len(cents) != 2 or not small):
        return f"{english_decimal(number)} {many}"
    said = f"{english(whole)} {one if int(whole) == 1 else many}"
    if point and int(cents):
        part = f"{english(cents)} {'cent' if small == 'cents' and int(cents) == 1 else small}"
        return part if int(whole) == 0 else f"{said} and {part}"
    return said


def _unit(match: re.Match[str]) -> str:
    minus, number, unit = match.groups()
    name = _UNITS[unit]
    if number == "1" and name != "hertz":
        first, *rest = name.split(" ")
        name = " ".join([{"feet": "foot"}.get(first, first.removesuffix("s")), *rest])
    return f"{'minus ' if minus else ''}{english_decimal(number)} {name}"


def _fraction(match: re.Match[str]) -> str:
    return _FRACTIONS.get(match[0], f"{english(match[1])} over {english(match[2])}")


def _range(match: re.Match[str]) -> str:
    return f"{english_decimal(match[1])} to {match[2]}"


def _version(match: re.Match[str]) -> str:
    return " point ".join(english(part) for part in match[0].split("."))


def _long_digits(match: re.Match[str]) -> str:
    return english_digits(re.sub(r"\D", "", match[0]))


def _number(match: re.Match[str]) -> str:
    said = english_decimal(match[2])
    return f"minus {said}" if match[1] else said


def _word(word: str) -> tuple[re.Pattern[str], str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)"), _WORDS[word]


_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str] | str]
_RULES: list[_Rule] = [
    *(_word(word) for word in _WORDS),
    (re.compile(_FREE + r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?!\w)"), _iso_date),
    (re.compile(rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?(?:,? (\d{{4}}))?(?!\w|[:.,]\d)"), _month_day),
    (re.compile(rf"\b({_MONTH}),? (\d{{4}})(?!\w)"), _month_year),
    (re.compile(_FREE + r"(\d{1,2}):(\d{2})(?: ?([aApP])\.?[mM]\b\.?)?(?![\w:])"), _time),
    (re.compile(rf"([$€£¥￥]) ?({_NUMBER}){_SCALE}"), _money),
    (re.compile(_FREE + r"\d+\.\d+\.\d+(?:\.\d+)*(?!\w)"), _version),
    (re.compile(r"(?<![\w.])\+?\d{1,4}(?:[ -]\d{3,4}){2,}(?!\w)|" + _FREE + r"0\d+(?![\w.])"), _long_digits),
    (re.compile(_FREE + r"(\d+)/(\d+)(?![\w/])"), _fraction),
    (re.compile(_FREE + r"(\d+):(\d+)(?![\w:])"), lambda m: f"{english(m[1])} to {english(m[2])}"),
    (re.compile(_FREE + rf"({_NUMBER}) ?[–~-] ?(?={_NUMBER}(?:\s|%|[.,;!?]|{_UNIT}|$))()"), _range),
    (
        re.compile(rf"(?<![\w.])([-−])?({_NUMBER})\s?[%％]"),
        lambda m: f"{'minus ' if m[1] else ''}{english_decimal(m[2])} percent",
    ),
    (re.compile(rf"(?<![\w.])([-−])?({_NUMBER}) ?({_UNIT})(?![\w/])"), _unit),
    (re.compile(_FREE + rf"({_NUMBER})[x×](?!\w)"), lambda m: f"{english_decimal(m[1])} times"),
    (re.compile(_FREE + r"(\d+)(?:st|nd|rd|th)\b"), lambda m: english_ordinal(m[1])),
    (re.compile(r"#(?=\d)"), "number "),
    (re.compile(rf"(?<![\w.-])([-−](?=\d))?({_NUMBER})(?![\w])"), _number),
    (re.compile(r"\s*&\s*"), " and "),
    (re.compile(r"(?<=\w)\s*=\s*(?=\w)"), " equals "),
    (re.compile(r"(?<=[a-z])\s+\+\s*(?=\w)"), " plus "),
]
