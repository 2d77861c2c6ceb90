"""espeak-ng, the bundled voice: every language it knows, two in one sentence where the text does."""

import asyncio
import re
from collections.abc import AsyncGenerator

import numpy as np

from engine.speech import espeak
from engine.speech.audio import SAMPLE_RATE, Samples
from streaming.errors import Unprocessable
from streaming.voices.base import VoiceInfo
from streaming.voices.spoken import in_words
from streaming.voices.text import runs, voice_of_script

USUAL = (
    VoiceInfo("en-us", "English (America)", "en-US"),
    VoiceInfo("en-gb", "English (Great Britain)", "en-GB"),
    VoiceInfo("cmn", "普通话", "cmn-CN"),
    VoiceInfo("yue", "粵語", "yue-HK"),
    VoiceInfo("ja", "日本語", "ja-JP"),
    VoiceInfo("ko", "한국어", "ko-KR"),
    VoiceInfo("de", "Deutsch", "de-DE"),
    VoiceInfo("fr-fr", "Français", "fr-FR"),
    VoiceInfo("es", "Español", "es-ES"),
    VoiceInfo("es-419", "Español (Latinoamérica)", "es-419"),
    VoiceInfo("pt-br", "Português (Brasil)", "pt-BR"),
    VoiceInfo("it", "Italiano", "it-IT"),
    VoiceInfo("nl", "Nederlands", "nl-NL"),
    VoiceInfo("pl", "Polski", "pl-PL"),
    VoiceInfo("ru", "Русский", "ru-RU"),
    VoiceInfo("el", "Ελληνικά", "el-GR"),
    VoiceInfo("tr", "Türkçe", "tr-TR"),
    VoiceInfo("ar", "العربية", "ar"),
    VoiceInfo("hi", "हिन्दी", "hi-IN"),
    VoiceInfo("vi", "Tiếng Việt", "vi-VN"),
    VoiceInfo("id", "Bahasa Indonesia", "id-ID"),
)


_EAST_ASIAN = frozenset(("cmn", "yue", "ja", "ko"))
_ENGLISH = "en-us"

_QUIET = 0.01
_JOINT_S = 0.03
"""Silence left where two languages meet inside a sentence."""
_PAUSE_S = 0.15
"""And where they meet at a comma."""
_PAUSE_AT_END = re.compile(r"[，、：；。！？,;:.!?]\s*$")


class EspeakVoice:
    """The `Voice` of every language espeak-ng knows; formant synthesis, about 1 ms a second of speech.

    In a text of two scripts each has a voice of its own: Latin words among Chinese ones are English.
    """

    def __init__(self, default_voice: str = _ENGLISH) -> None:
        self._default = default_voice

    def voices(self) -> list[VoiceInfo]:
        """The usual languages that the installed data holds."""
        known = espeak.languages()
        return [voice for voice in USUAL if voice.id in known]

    def choose(self, text: str, voice_id: str | None) -> str:
        """The voice asked for, else by the script of the text; Unprocessable when there is no such voice."""
        chosen = voice_id or voice_of_script(text) or self._default
        if chosen not in espeak.languages():
            raise Unprocessable(f"There is no voice {chosen!r}; GET /v1/voices lists them.")
        return chosen

    async def synthesise(self, text: str, voice_id: str) -> AsyncGenerator[Samples, None]:
        """A piece at once, float32 mono in [-1, 1] at 16 kHz; espeak.VoiceError when it fails."""
        yield await asyncio.to_thread(_speak, in_words(text, voice_id), voice_id)


def _speak(text: str, voice_id: str) -> Samples:
    parts = runs(text)
    spoken: list[Samples] = []
    for number, (part, latin) in enumerate(parts):
        samples = espeak.speak(part, _fitting(part, voice_id, latin)).samples
        if number + 1 < len(parts):
            samples = _without_tail(samples, _PAUSE_S if _PAUSE_AT_END.search(part) else _JOINT_S)
        spoken.append(samples)
    return np.concatenate(spoken)


def _fitting(part: str, voice_id: str, latin: bool | None) -> str:
    """The voice asked for where it knows the script, else the one of the script."""
    if latin is None or latin == (voice_id not in _EAST_ASIAN):
        return voice_id
    return _ENGLISH if latin else voice_of_script(part) or voice_id


def _without_tail(samples: Samples, keep_s: float) -> Samples:
    """Silence at the end shortened to `keep_s`."""
    loud = np.flatnonzero(np.abs(samples) > _QUIET)
    end = int(loud[-1]) + 1 if loud.size else 0
    return samples[: end + round(keep_s * SAMPLE_RATE)]
