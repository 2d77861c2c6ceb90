"""Text as it is said."""

import time

import pytest

from engine.speech import espeak
from streaming.voices.spoken import in_words, is_chinese, speakable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It costs $3.50.", "It costs three dollars and fifty cents."),
        ("$1, $0.99, €20, £1.01", "one dollar, ninety-nine cents, twenty euros, one pound and one pence"),
        ("$1.2 million or $5k", "one point two million dollars or five thousand dollars"),
        ("on 2026-11-22", "on November twenty-second, twenty twenty-six"),
        ("Nov 22, 2026 and Dec. 3rd", "November twenty-second, twenty twenty-six and December third"),
        ("May 5", "May fifth"),
        ("2026-13-45", "two thousand twenty-six-thirteen to forty-five"),
        ("at 10:30, 9:05 am and 10:00", "at ten thirty, nine oh five A M and ten o'clock"),
        ("25% of 1,234", "twenty-five percent of one thousand two hundred thirty-four"),
        ("5km/h, 1 kg and 3.5 GB", "five kilometers per hour, one kilogram and three point five gigabytes"),
        ("-5°C", "minus five degrees Celsius"),
        ("In 1984", "In nineteen eighty-four"),
        ("1984 people", "one thousand nine hundred eighty-four people"),
        ("1st, 2nd and 23rd", "first, second and twenty-third"),
        ("pages 3-5, 10–20%", "pages three to five, ten to twenty percent"),
        ("version 1.2.3", "version one point two point three"),
        ("Call 555-123-4567", "Call five five five one two three four five six seven"),
        ("agent 007", "agent zero zero seven"),
        ("3:2 and 1/2 and 5/8", "three to two and one half and five over eight"),
        ("AT&T, 2 + 3 = 5", "AT and T, two plus three equals five"),
        ("e.g. this, etc.", "for example this, et cetera"),
        ("GPT-4o, H264 and MP3", "GPT-4o, H264 and MP3"),
        ("Nothing to do here.", "Nothing to do here."),
    ],
)
def test_english(text: str, said: str) -> None:
    assert in_words(text, "en-us") == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026年11月22日", "二零二六年十一月二十二日"),
        ("2026-11-22", "二零二六年十一月二十二日"),
        ("98年，90年代，10年前", "九八年，九十年代，十年前"),
        ("10:30开始，10:05结束，2:00见", "十点三十分开始，十点零五分结束，两点见"),
        ("增长25%，下降-3.5%，10~20%", "增长百分之二十五，下降百分之负三点五，百分之十到百分之二十"),
        ("5‰", "千分之五"),
        ("$3.50、¥99.9、$5万", "三点五零美元、九十九点九元、五万美元"),
        ("我有2个苹果，2月2日，第2名", "我有两个苹果，二月二日，第二名"),
        ("电话13812345678", "电话幺三八幺二三四五六七八"),
        ("客服热线400-800-1234", "客服热线四零零八零零幺二三四"),
        ("3-5天", "三到五天"),
        ("比分3:2", "比分三比二"),
        ("-5℃，20km/h，5kg", "负五摄氏度，二十公里每小时，五公斤"),
        ("1/3的人", "三分之一的人"),
        ("iPhone 15，GPT-4o，H.264", "iPhone 十五，GPT-4o，H.264"),
        ("1,234,567元", "一百二十三万四千五百六十七元"),
        ("版本1.2.3", "版本一点二点三"),
        ("1+1=2", "一加一等于二"),
        ("编号007", "编号零零七"),
        ("19:30:15", "十九点三十分十五秒"),
        ("没有数字", "没有数字"),
    ],
)
def test_chinese(text: str, said: str) -> None:
    assert in_words(text, "zh-CN") == said


def test_other_languages_keep_their_numbers() -> None:
    assert in_words("Es kostet 3,50 €.", "de") == "Es kostet 3,50 €."
    assert in_words("$5", "mul") == "$5"


@pytest.mark.parametrize(
    ("tag", "chinese"), [("zh-CN", True), ("cmn", True), ("yue-HK", True), ("en", False)]
)
def test_chinese_tags(tag: str, chinese: bool) -> None:
    assert is_chinese(tag) is chinese


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello 😀👨‍👩‍👧 there ❤️!", "Hello there !"),
        ("1️⃣ thing 👍🏽", "1 thing "),
        ("**bold**, *soft* and `code`", "bold, soft and code"),
        ("# Title\n- one\n* two\n> three", "Title\none\ntwo\nthree"),
        ("see [the docs](https://a.example/b)", "see the docs"),
        ("```python\nprint\n```", " \nprint\n "),
        ("https://www.example.com/docs/?x=1#y.", "example dot com slash docs."),
        ("go to koubo.ai now", "go to koubo dot ai now"),
        ("mail me@x-y.com!", "mail me at x dash y dot com!"),
        ("请看koubo.ai", "请看koubo点ai"),
        ("20°C and 5 ℃", "20°C and 5 ℃"),
        ("a\x00b\u200bc", "a bc"),
        ("2 * 3 and x_y stay", "2 * 3 and x_y stay"),
        ("Version 1.2. Next", "Version 1.2. Next"),
    ],
)
def test_what_cannot_be_said_is_made_speakable(text: str, said: str) -> None:
    assert speakable(text) == said


def test_making_speakable_again_changes_nothing() -> None:
    for text in ("**a** https://b.example/c?d=e 😀", "请看koubo.ai", "# x\n- y"):
        assert speakable(speakable(text)) == speakable(text)


def test_no_figure_is_left_in_plain_english_or_chinese() -> None:
    text = "On 2026-11-22 at 10:30, 1,000 people paid $3.50, -5.5% or 2/3 in 1999; 3-5 km at 007."
    assert not any(char.isdigit() for char in in_words(text, "en"))
    text = "2026年3月5日10:30，1,000人付了$3.50，-5.5%或2/3；3-5km，007号。"
    assert not any(char.isdigit() for char in in_words(text, "zh"))


def test_percent_is_heard_in_chinese_not_in_english() -> None:
    """espeak-ng alone says 25% as "二十五 per cent"."""
    raw = "".join(p.label for p in espeak.speak("增长25%", "cmn").phonemes)
    said = "".join(p.label for p in espeak.speak(in_words("增长25%", "cmn"), "cmn").phonemes)
    assert "(en)" in raw
    assert "(en)" not in said


@pytest.mark.parametrize(
    "text",
    [
        *(char * 2000 for char in "9$[* 好"),
        *(pair * 1000 for pair in ("1.", "a-", "a.", "a@", "a好", "1年", "-1")),
        *(part * 400 for part in ("2026-", "1,000", "http:", "([])")),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_hostile_text_ends_soon(text: str, language: str) -> None:
    """It is prepared on the event loop, between ticks."""
    began = time.thread_time()
    in_words(speakable(text), language)
    assert time.thread_time() - began < 0.1
