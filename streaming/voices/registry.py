"""Every kind of voice, and ids such as `espeak:en-us`, `openai:alloy`, `edge:zh-CN-XiaoxiaoNeural`."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace

from engine.errors import KouboError
from engine.speech.audio import Samples
from streaming.errors import Unprocessable
from streaming.settings import Settings
from streaming.voices.base import Voice, VoiceInfo
from streaming.voices.edge import open_edge
from streaming.voices.espeak import EspeakVoice
from streaming.voices.openai import OpenAIVoice, open_openai

_ESPEAK = "espeak"

_KINDS: dict[str, Callable[[Settings], Voice | None]] = {
    _ESPEAK: lambda settings: EspeakVoice(_default_of_espeak(settings.default_voice)),
    "openai": open_openai,
    "edge": open_edge,
}
"""A line for each; None where it cannot be used here."""

_MISSING = {
    "openai": "set KOUBO_OPENAI_VOICE_URL",
    "edge": "run `pip install edge-tts`",
}
"""What to do for a kind that cannot be used here."""


class Voices:
    """The `Voice` of all kinds together. An id is `kind:name`; a kind alone chooses by the script of the
    text, a name alone is one of espeak-ng.
    """

    def __init__(self, kinds: Mapping[str, Voice], default: str = _ESPEAK) -> None:
        self._kinds = dict(kinds)
        self._default = default

    def voices(self) -> list[VoiceInfo]:
        """Those of every kind, by their whole ids; those of the default kind come first."""
        first = self._default.partition(":")[0]
        kinds = sorted(self._kinds, key=lambda kind: kind != first)
        return [
            replace(info, id=f"{kind}:{info.id}") for kind in kinds for info in self._kinds[kind].voices()
        ]

    def choose(self, text: str, voice_id: str | None) -> str:
        """The whole id of the voice asked for, else of the default one. Raises Unprocessable."""
        kind, name = _split(voice_id or self._default)
        return f"{kind}:{self._kind(kind).choose(text, name)}"

    def synthesise(self, text: str, voice_id: str) -> AsyncGenerator[Samples, None]:
        """As the voice of this whole id does."""
        kind, _, name = voice_id.partition(":")
        return self._kind(kind).synthesise(text, name)

    async def close(self) -> None:
        """Close what they hold open."""
        for voice in self._kinds.values():
            if isinstance(voice, OpenAIVoice):
                await voice.close()

    def _kind(self, kind: str) -> Voice:
        if kind in self._kinds:
            return self._kinds[kind]
        if kind in _MISSING:
            raise Unprocessable(f"The voices of {kind!r} cannot be used here; {_MISSING[kind]}.")
        raise Unprocessable(f"There are no voices of {kind!r}; GET /v1/voices lists them.")


def open_voices(settings: Settings) -> Voices:
    """Every kind that can be used here. Raises KouboError when the settings name a voice that is none."""
    kinds = {kind: voice for kind, make in _KINDS.items() if (voice := make(settings)) is not None}
    is_espeak = _split(settings.default_voice)[0] == _ESPEAK
    voices = Voices(kinds, _ESPEAK if is_espeak else settings.default_voice)
    for name, voice_id in (("DEFAULT", settings.default_voice), ("FALLBACK", settings.fallback_voice)):
        try:
            voices.choose("", voice_id or None)
        except Unprocessable as error:
            raise KouboError(f"KOUBO_{name}_VOICE cannot be used: {error}") from error
    return voices


def _split(voice_id: str) -> tuple[str, str | None]:
    """(kind, name), the name None where the kind is to choose."""
    kind, colon, name = voice_id.partition(":")
    if colon:
        return kind, name or None
    return (voice_id, None) if voice_id in _KINDS else (_ESPEAK, voice_id)


def _default_of_espeak(voice_id: str) -> str:
    kind, name = _split(voice_id)
    return name if kind == _ESPEAK and name else "en-us"
