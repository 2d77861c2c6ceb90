"""Chinese text as it is said: numbers, dates, times, money, units and signs in characters."""

import re
from collections.abc import Callable

from streaming.voices.numbers import chinese, chinese_decimal, chinese_digits

_COINS = {"$": "美元", "€": "欧元", "£": "英镑", "¥": "元", "￥": "元"}
_UNITS = {
    "km/h": "公里每小时",
    "m/s": "米每秒",
    "km": "公里",
    "cm": "厘米",
    "mm": "毫米",
    "m": "米",
    "㎡": "平方米",
    "m²": "平方米",
    "kg": "公斤",
    "mg": "毫克",
    "g": "克",
    "ml": "毫升",
    "L": "升",
    "ms": "毫秒",
    "min": "分钟",
    "h": "小时",
    "s": "秒",
    "°C": "摄氏度",
    "℃": "摄氏度",
    "°F": "华氏度",
    "°": "度",
    "kW": "千瓦",
    "W": "瓦",
    "Hz": "赫兹",
}
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_MEASURES = "个只条位次件种张家台部本份名句天年周岁步杯瓶人元块米公升吨倍套款场遍分小"
"""Before these, 2 is 两."""

_NUMBER = r"\d+(?:\.\d+)?"
_FREE = r"(?<![A-Za-z0-9_.])"
"""Nothing before it that makes it a part of a name, as in GPT4 or H.264."""
_END = r"(?![A-Za-z0-9_])"


def spoken_chinese(text: str) -> str:
    """The text with everything in characters that is not; names such as GPT-4o stay as they are."""
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    for pattern, say in _RULES:
        text = pattern.sub(say, text)
    return text


def _date(match: re.Match[str]) -> str:
    year, month, day = match.groups()
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return match[0]
    return f"{chinese_digits(year)}年{chinese(month)}月{chinese(day)}日"


def _time(match: re.Match[str]) -> str:
    hour, minute, second = match.groups()
    if int(hour) > 24 or int(minute) > 59:
        return match[0]
    said = f"{'两' if int(hour) == 2 else chinese(hour)}点"
    if int(minute) or second:
        said += f"{'零' if minute[0] == '0' and int(minute) else ''}{chinese(minute)}分"
    return said + (f"{chinese(second)}秒" if second else "")


def _money(match: re.Match[str]) -> str:
    sign, number, scale = match.groups()
    return f"{_counted(number)}{scale or ''}{_COINS[sign]}"


def _counted(number: str) -> str:
    return "两" if number == "2" else chinese_decimal(number)


def _minus(sign: str | None) -> str:
    return "负" if sign else ""


_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str] | str]
_RULES: list[_Rule] = [
    (re.compile(_FREE + r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?![\d.])"), _date),
    (re.compile(_FREE + r"(\d{4}|9\d)(?=\s?年(?!代|前|后|来|间|的?时间))"), lambda m: chinese_digits(m[1])),
    (re.compile(_FREE + r"(\d{1,2}):(\d{2})(?::(\d{2}))?(?![\d:])"), _time),
    (re.compile(_FREE + r"(\d+)[:：](\d+)(?![\d:])"), lambda m: f"{chinese(m[1])}比{chinese(m[2])}"),
    (re.compile(rf"([$€£¥￥]) ?({_NUMBER})([千万亿]*)"), _money),
    (
        re.compile(_FREE + r"(?:\+?86[- ]?)?(1[3-9]\d)[- ]?(\d{4})[- ]?(\d{4})(?!\d)"),
        lambda m: chinese_digits("".join(m.groups()), phone=True),
    ),
    (
        re.compile(r"((?:电话|号码|热线|尾号|验证码|房间|编号|群号)[是为:： ]*)(\d[\d -]*\d)(?!\d)"),
        lambda m: m[1] + chinese_digits(re.sub(r"\D", "", m[2]), phone=True),
    ),
    (re.compile(_FREE + rf"({_NUMBER})\s?[-–~～—]\s?(?={_NUMBER}[%％])"), lambda m: f"{m[1]}%到"),
    (re.compile(_FREE + rf"({_NUMBER})\s?[-–~～—]\s?(?={_NUMBER})"), lambda m: f"{chinese_decimal(m[1])}到"),
    (
        re.compile(rf"(?<![A-Za-z0-9_.])([-−])?({_NUMBER})\s?([%％‰])"),
        lambda m: f"{'千' if m[3] == '‰' else '百'}分之{_minus(m[1])}{chinese_decimal(m[2])}",
    ),
    (
        re.compile(rf"(?<![A-Za-z0-9_.])([-−])?({_NUMBER}) ?({_UNIT}){_END}"),
        lambda m: f"{_minus(m[1])}{_counted(m[2])}{_UNITS[m[3]]}",
    ),
    (
        re.compile(_FREE + r"(\d+)/(\d+)(?![A-Za-z0-9_/])"),
        lambda m: f"{chinese(m[2])}分之{chinese(m[1])}",
    ),
    (
        re.compile(_FREE + r"\d+(?:\.\d+){2,}" + _END),
        lambda m: "点".join(chinese(part) for part in m[0].split(".")),
    ),
    (re.compile(_FREE + rf"(?<!第)2(?=\s?[{_MEASURES}])(?!\s?[月日号])"), "两"),
    (re.compile(_FREE + r"(0\d+)" + r"(?![\d.])"), lambda m: chinese_digits(m[1])),
    (
        re.compile(rf"(?<![A-Za-z0-9_.\-])([-−](?=\d))?({_NUMBER}){_END}"),
        lambda m: _minus(m[1]) + chinese_decimal(m[2]),
    ),
    (re.compile(r"(?<=[\u4e00-\u9fff])\s*[+＋]\s*(?=[\u4e00-\u9fff])"), "加"),
    (re.compile(r"(?<=[\u4e00-\u9fff])\s*[=＝]\s*(?=[\u4e00-\u9fff])"), "等于"),
    (re.compile(r"\s*&\s*(?=[\u4e00-\u9fff])"), "和"),
]
