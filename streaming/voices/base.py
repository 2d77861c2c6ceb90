"""The role of a voice: text in, speech out, piece by piece."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from engine.speech.audio import Samples


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """A voice that can be asked for. `language` is a BCP 47 tag."""

    id: str
    name: str
    language: str


class Voice(Protocol):
    """Speaks text. Pieces come as soon as they are ready, so that the first words start early."""

    def voices(self) -> list[VoiceInfo]:
        """Every voice it offers, the most usual first."""
        ...

    def choose(self, text: str, voice_id: str | None) -> str:
        """The voice for a text: the one asked for, else by the script of the text.

        Raises Unprocessable when there is no such voice.
        """
        ...

    def synthesise(self, text: str, voice_id: str) -> AsyncIterator[Samples]:
        """Pieces of speech, float32 mono in [-1, 1] at 16 kHz, in order.

        Raises VoiceError when the voice cannot speak.
        """
        ...
