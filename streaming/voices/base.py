"""The role of a voice: text in, speech out, as soon as there is some."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from engine.speech.audio import Samples


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """A voice that can be asked for. `language` is a BCP 47 tag, "mul" for a voice of many languages."""

    id: str
    name: str
    language: str


class Voice(Protocol):
    """Speaks pieces of text, such as a sentence; `streaming.voices.narration` makes pieces of a text."""

    def voices(self) -> list[VoiceInfo]:
        """Every voice it offers, the most usual first."""
        ...

    def choose(self, text: str, voice_id: str | None) -> str:
        """The voice for a text: the one asked for, else by the script of the text.

        Raises Unprocessable when there is no such voice.
        """
        ...

    def synthesise(self, text: str, voice_id: str) -> AsyncGenerator[Samples, None]:
        """A piece as speech, float32 mono in [-1, 1] at 16 kHz, as it comes, in parts of any length.

        There is at least one. Raises VoiceError when the voice cannot speak. Closing it ends all work for it.
        """
        ...
