"""Text cut into pieces, and the bundled voice speaking them."""

import asyncio

import numpy as np
import pytest

from engine.speech.audio import SAMPLE_RATE, Samples
from engine.speech.espeak import VoiceError, speak
from engine.speech.gate import VoiceGate
from streaming.errors import Unprocessable
from streaming.voices.espeak import EspeakVoice
from streaming.voices.text import FIRST_PIECE_CHARS, PIECE_CHARS, has_words, pieces, voice_of_script


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
    ("text", "voice_id"),
    [("Good morning everybody. Welcome back.", "en-us"), ("大家早上好。欢迎回来。", "cmn")],
)
async def test_speech_is_a_voice_at_16_khz(text: str, voice_id: str) -> None:
    parts = await _speak(text, voice_id)
    assert len(parts) == 2
    for part in parts:
        assert part.dtype == np.float32
        assert 0.1 < np.abs(part).max() <= 1
        assert 0.4 < part.size / SAMPLE_RATE < 6
        assert any(VoiceGate().push(part))


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
