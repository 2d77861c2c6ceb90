"""Who is kept out of training.

Speakers and characters are split by name, so that adding data never moves anybody across the line.
"""

import hashlib
from pathlib import Path

HELD_OUT_CHARACTERS = frozenset({"Hispanic_F_3_Busi", "Asian_M_3_Busi"})
"""Two people whose faces the shipped mouth never saw."""

_HELD_OUT_SHARE = 0.1


def speaker_of(speech: Path) -> str:
    """The speaker in a LibriSpeech-style name (corpus-SPEAKER-chapter-utterance), else the stem."""
    parts = speech.stem.split("-")
    return parts[-3] if len(parts) >= 3 else speech.stem


def is_held_out_speaker(speech: Path) -> bool:
    """Whether this recording's speaker is kept for evaluation."""
    digest = hashlib.sha256(speaker_of(speech).encode()).digest()
    return digest[0] < _HELD_OUT_SHARE * 256


def is_held_out_character(character: Path) -> bool:
    """Whether this character is kept for evaluation."""
    return character.stem in HELD_OUT_CHARACTERS
