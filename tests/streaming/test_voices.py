"""Text cut into pieces, and the bundled voice speaking them."""

import asyncio

import numpy as np
import pytest

from engine.speech.audio import SAMPLE_RATE, Samples
from engine.speech.espeak import Spoken, VoiceError, speak
from engine.speech.gate import VoiceGate
from streaming.errors import Unprocessable
from streaming.voices.espeak import EspeakVoice
from streaming.voices.text import FIRST_PIECE_CHARS, PIECE_CHARS, has_words, pieces, runs, voice_of_script


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello there. How are you?", ["Hello there.", "How are you?"]),
        ("Version 1.2 costs 3.50 dollars.", ["Version 1.2 costs 3.50 dollars."]),
        ("大家好！今天天气不错。我们开始吧", ["大家好！", "今天天气不错。", "我们开始吧"]),
        ("“真的吗？”她问。", ["“真的吗？”", "她问。"]),
        ("one\n\ntwo", ["one", "two"]),
        ("... !? \n", []),
        ("a\x00b", ["a b"]),
        ("Dr. Smith met Mr. Jones. He left.", ["Dr. Smith met Mr. Jones.", "He left."]),
        ("Come at 5 p.m. He said so.", ["Come at 5 p.m.", "He said so."]),
        ("Come at 5 p.m. or later.", ["Come at 5 p.m. or later."]),
        ("It is big, e.g. huge, vs. small.", ["It is big, e.g. huge, vs. small."]),
        ("In the U.S. they do. J. R. Tolkien did.", ["In the U.S. they do.", "J. R. Tolkien did."]),
        ("“Really?” she asked. “Yes.” Good.", ["“Really?” she asked.", "“Yes.”", "Good."]),
        ("Wait... what?! No.", ["Wait...", "what?!", "No."]),
        ("你好；再见！走吧……好", ["你好；", "再见！", "走吧……", "好"]),
        ("圆周率是3.14。对", ["圆周率是3.14。", "对"]),
    ],
)
def test_text_is_cut_at_sentences(text: str, found: list[str]) -> None:
    assert pieces(text) == found


def test_nothing_is_lost_in_long_text_and_the_first_piece_is_short() -> None:
    for text in (
        "word " * 300,
        "a clause, " * 200,
        "x" * 3000,
        "一个很长的句子，" * 200,
        "没有标点" * 400,
    ):
        found = pieces(text)
        assert "".join(found).replace(" ", "") == text.replace(" ", "")
        assert len(found[0]) <= FIRST_PIECE_CHARS
        assert max(map(len, found)) <= PIECE_CHARS


def test_long_sentences_are_cut_at_commas_and_never_inside_a_number() -> None:
    text = "Last year 1,000,000 people came to see the show, and the year before that, 2,500,000 of them did"
    found = pieces(text)
    assert found == [
        "Last year 1,000,000 people came to see the show, and the year before that,",
        "2,500,000 of them did",
    ]
    chinese = "大家好，欢迎来到直播间，今天我们给大家带来的是一款全新的产品，它的特点是轻便、快速、安全"
    assert pieces(chinese)[0] == "大家好，欢迎来到直播间，"


def test_a_chinese_piece_is_no_longer_to_hear_than_an_english_one() -> None:
    found = pieces("没有标点" * 100)
    assert len(found[0]) <= FIRST_PIECE_CHARS // 3
    assert max(map(len, found)) <= PIECE_CHARS // 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "我们用OpenAI的API，好",
            [("我们用", False), ("OpenAI", True), ("的", False), ("API，", True), ("好", False)],
        ),
        ("Hello, world!", [("Hello, world!", True)]),
        ("（2）OK吗？", [("（2）OK", True), ("吗？", False)]),
        ("12:30", [("12:30", None)]),
        ("café 在哪", [("café ", True), ("在哪", False)]),
        ("", [("", None)]),
    ],
)
def test_runs_of_two_scripts(text: str, found: list[tuple[str, bool | None]]) -> None:
    assert runs(text) == found
    assert "".join(run for run, _ in found) == text


def test_the_script_chooses_the_voice() -> None:
    assert voice_of_script("Hello") is None
    assert voice_of_script("你好") == "cmn"
    assert voice_of_script("这是 Koubo，一个 presenter。") == "cmn"
    assert voice_of_script("これは日本語です") == "ja"
    assert voice_of_script("안녕하세요") == "ko"
    assert voice_of_script("Привет") == "ru"


def test_words_are_letters_and_digits() -> None:
    assert has_words("7")
    assert has_words("好")
    assert not has_words("… — !?")
    assert not has_words("")


def test_the_voice_asked_for_wins_and_an_unknown_one_is_refused() -> None:
    voice = EspeakVoice("en-gb")
    assert voice.choose("Hello", None) == "en-gb"
    assert voice.choose("你好", None) == "cmn"
    assert voice.choose("你好", "en-us") == "en-us"
    for wrong in ("klingon", "../en", "en-us+f3"):
        with pytest.raises(Unprocessable, match="GET /v1/voices"):
            voice.choose("Hello", wrong)


def test_every_listed_voice_speaks() -> None:
    for voice in EspeakVoice().voices():
        samples = speak("1 2 3", voice.id).samples
        assert samples.size > SAMPLE_RATE // 4, voice.id
        assert np.abs(samples).max() > 0.05, voice.id


def test_an_unknown_voice_is_a_sentence() -> None:
    with pytest.raises(VoiceError, match="martian"):
        speak("hello", "martian")


async def _speak(text: str, voice_id: str) -> list[Samples]:
    return [part async for part in EspeakVoice().synthesise(text, voice_id)]


@pytest.mark.parametrize(
    ("text", "voice_id"), [("Good morning everybody.", "en-us"), ("大家早上好，欢迎回来。", "cmn")]
)
async def test_speech_is_a_voice_at_16_khz(text: str, voice_id: str) -> None:
    (part,) = await _speak(text, voice_id)
    assert part.dtype == np.float32
    assert 0.1 < np.abs(part).max() <= 1
    assert 0.4 < part.size / SAMPLE_RATE < 6
    assert any(VoiceGate().push(part))


async def test_two_scripts_are_spoken_by_two_voices_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the three runs spoken alone, less the 0.3 s of silence that ends each of them."""
    asked: list[tuple[str, str]] = []

    def listening(text: str, voice: str) -> Spoken:
        asked.append((text, voice))
        return speak(text, voice)

    monkeypatch.setattr("engine.speech.espeak.speak", listening)
    (mixed,) = await _speak("我们用OpenAI的东西", "cmn")
    assert asked == [("我们用", "cmn"), ("OpenAI", "en-us"), ("的东西", "cmn")]
    alone = sum(speak(text, voice).samples.size for text, voice in asked)
    assert alone - 2 * 0.4 * SAMPLE_RATE < mixed.size < alone - 2 * 0.2 * SAMPLE_RATE
    spoken = mixed[: np.flatnonzero(np.abs(mixed) > 0.01)[-1]]
    assert _longest_silence_s(spoken) < 0.15


async def test_a_comma_between_two_scripts_is_a_pause() -> None:
    (mixed,) = await _speak("这是API，好的", "cmn")
    spoken = mixed[: np.flatnonzero(np.abs(mixed) > 0.01)[-1]]
    assert 0.1 < _longest_silence_s(spoken) < 0.35


async def test_the_voice_asked_for_speaks_what_it_can() -> None:
    """Latin words by the Latin voice that was asked for, Chinese ones by Mandarin all the same."""
    (german,) = await _speak("Guten Tag", "de")
    assert abs(german.size - speak("Guten Tag", "de").samples.size) < 100
    (mixed,) = await _speak("Guten Tag 你好", "de")
    assert mixed.size > german.size
    (digits,) = await _speak("１２３", "ja")
    assert abs(digits.size - speak("１２３", "ja").samples.size) < 100


async def test_numbers_are_spoken_in_the_language_of_the_voice() -> None:
    (figures,) = await _speak("增长25%", "cmn")
    (words,) = await _speak("增长百分之二十五", "cmn")
    assert abs(figures.size - words.size) < 100


async def test_what_has_no_sound_is_still_an_answer() -> None:
    (nothing,) = await _speak("ⵣ", "en-us")
    assert nothing.dtype == np.float32


def _longest_silence_s(samples: Samples) -> float:
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return float(np.diff(loud).max()) / SAMPLE_RATE


def _envelope(samples: Samples) -> Samples:
    envelope: Samples = np.abs(samples[: samples.size // 320 * 320]).reshape(-1, 320).mean(axis=1)
    return envelope


async def test_two_voices_at_once_do_not_mix() -> None:
    alone = await _speak("one two three four", "en-us")
    together = await asyncio.gather(
        *(_speak("one two three four", "en-us") for _ in range(4)), _speak("你好", "cmn")
    )
    for parts in together[:4]:
        # The library's oscillators run on from one text to the next, so not every sample is the same.
        said, expected = np.concatenate(parts), np.concatenate(alone)
        assert abs(said.size - expected.size) < 100
        size = min(said.size, expected.size)
        assert np.corrcoef(_envelope(said[:size]), _envelope(expected[:size]))[0, 1] > 0.95
