"""When each phone of a sentence is spoken.

English recordings are decoded and then force-aligned by pocketsphinx with the acoustic model that
its wheel carries. The result is cached as JSON under the hash of the sound, so that a long
corpus is aligned once.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder

from engine.speech.audio import SAMPLE_RATE, Samples, to_pcm16

FRAMES_PER_SECOND = 100
"""pocketsphinx works in frames of 10 ms."""

_HOP = SAMPLE_RATE // FRAMES_PER_SECOND

Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Phone:
    """One phone: an ARPAbet or IPA label, start and end in seconds."""

    label: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class _Word:
    """A recognised word or filler with its 10 ms frames."""

    text: str
    start: int
    end: int

    @property
    def is_speech(self) -> bool:
        return not self.text.startswith(("<", "["))


class PhoneAligner:
    """Finds the phones of English speech; one decoder serves many utterances."""

    def __init__(self) -> None:
        self._recogniser = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")

    def align(self, samples: Samples) -> list[Phone]:
        """Phones of float samples at 16 kHz, in order; empty when nothing was recognised."""
        pcm = to_pcm16(samples)
        return _align(pcm, self._words(pcm))

    def _words(self, pcm: Pcm) -> list[_Word]:
        _run(self._recogniser, pcm)
        if self._recogniser.hyp() is None:
            return []
        return [_Word(s.word.split("(")[0], s.start_frame, s.end_frame + 1) for s in self._recogniser.seg()]


def _align(pcm: Pcm, words: list[_Word]) -> list[Phone]:
    """Aligns words to their stretch of sound; where the search fails, each half is tried alone."""
    spoken = [word.text for word in words if word.is_speech]
    if not spoken:
        return []
    begin, end = words[0].start, words[-1].end
    # The alignment search cannot be left cleanly after a failure: a fresh one for each stretch.
    decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", lm=None)
    decoder.set_align_text(" ".join(spoken))
    stretch = pcm[begin * _HOP : end * _HOP]
    try:
        _run(decoder, stretch)
        decoder.set_alignment()
        _run(decoder, stretch)
    except RuntimeError:  # pocketsphinx's word for "the words do not fit the sound"
        middle = _middle_pause(words)
        return _align(pcm, words[:middle]) + _align(pcm, words[middle:]) if middle else []
    return list(_phones(decoder, begin))


def _middle_pause(words: list[_Word]) -> int:
    """Index of the pause nearest the middle, of any word where there is none; 0 when too short to split."""
    inner = range(1, len(words) - 1)
    pauses = [i for i in inner if not words[i].is_speech] or list(inner)
    return min(pauses, key=lambda i: abs(i - len(words) / 2), default=0)


def _run(decoder: Decoder, pcm: Pcm) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
    decoder.end_utt()


def _phones(decoder: Decoder, offset: int) -> Iterator[Phone]:
    for word in decoder.get_alignment():
        for phone in word:
            start = (offset + phone.start) / FRAMES_PER_SECOND
            yield Phone(phone.name, start, start + phone.duration / FRAMES_PER_SECOND)


def align_cached(samples: Samples, cache: Path, aligner: PhoneAligner | None = None) -> list[Phone]:
    """As PhoneAligner.align, remembered in the folder `cache` under the hash of the sound.

    `aligner` saves loading the acoustic model for each of many utterances.
    """
    key = hashlib.sha256(samples.tobytes()).hexdigest()[:20]
    file = cache / f"{key}.json"
    if file.is_file():
        return [Phone(**entry) for entry in json.loads(file.read_text())]
    phones = (aligner or PhoneAligner()).align(samples)
    cache.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps([asdict(phone) for phone in phones]))
    partial.replace(file)
    return phones
