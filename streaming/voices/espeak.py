"""espeak-ng, the bundled voice: every language it knows, sentence by sentence."""

import asyncio
from collections.abc import AsyncIterator

from engine.speech import espeak
from engine.speech.audio import Samples
from streaming.errors import Unprocessable
from streaming.voices.base import VoiceInfo
from streaming.voices.text import pieces, voice_of_script

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


class EspeakVoice:
    """The `Voice` of every language espeak-ng knows; formant synthesis, about 1 ms a second of speech."""

    def __init__(self, default_voice: str = "en-us") -> None:
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

    async def synthesise(self, text: str, voice_id: str) -> AsyncIterator[Samples]:
        """Speech sentence by sentence, float32 mono in [-1, 1] at 16 kHz; espeak.VoiceError when it fails."""
        for piece in pieces(text):
            spoken = await asyncio.to_thread(espeak.speak, piece, voice_id)
            yield spoken.samples
