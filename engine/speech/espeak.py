"""espeak-ng: formant speech of any language, with the times of its phonemes.

libespeak-ng through ctypes; library and data come with the wheel `espeakng-loader`. The C interface
is documented in `speak_lib.h` of espeak-ng.
"""

import ctypes
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
import espeakng_loader
import numpy as np

from engine.errors import KouboError, MissingToolError
from engine.speech.audio import SAMPLE_RATE, Samples, from_pcm16

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS_IPA = 0x0003
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_FLAG_END_PAUSE = 0x1000
_EVENT_LIST_TERMINATED = 0
_EVENT_PHONEME = 7


class VoiceError(KouboError):
    """A voice cannot speak a text."""


@dataclass(frozen=True, slots=True)
class Phoneme:
    """One phoneme in IPA ("" for a pause), start and end in seconds."""

    label: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """Speech float32 mono in [-1, 1] at 16 kHz and its phonemes in order."""

    samples: Samples
    phonemes: tuple[Phoneme, ...]


class _Voice(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


class _EventId(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def _tags(voice: _Voice) -> list[str]:
    """Its languages: a list of (priority byte, zero-terminated tag) that ends with priority 0."""
    tags: list[str] = []
    at: int = voice.languages
    while ctypes.string_at(at, 1) != b"\0":
        tag = ctypes.string_at(at + 1)
        tags.append(tag.decode())
        at += len(tag) + 2
    return tags


class _Library:
    """The library, loaded once per process. It keeps global state, so one lock guards every call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: list[bytes] = []
        self._events: list[tuple[str, float]] = []
        # The library keeps the pointer, so the callback must live as long as it.
        self._callback = _SynthCallback(self._collect)
        try:
            self._lib: Any = ctypes.CDLL(espeakng_loader.get_library_path())
            data = espeakng_loader.get_data_path()
        except (OSError, RuntimeError) as error:
            raise MissingToolError(
                f"The espeak-ng voice cannot be loaded ({error}); reinstall `espeakng-loader`."
            ) from error
        self.rate: int = self._lib.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, data.encode(), _DONT_EXIT | _PHONEME_EVENTS_IPA
        )
        if self.rate <= 0:
            raise MissingToolError("The espeak-ng voice has no usable data; reinstall `espeakng-loader`.")
        self._lib.espeak_SetSynthCallback(self._callback)
        self._lib.espeak_ListVoices.argtypes = [ctypes.POINTER(_Voice)]
        self._lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != _EVENT_LIST_TERMINATED:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                self._events.append((event.id.string.decode(errors="ignore"), event.audio_position / 1000))
            index += 1
        return 0

    def languages(self) -> frozenset[str]:
        """Every language tag that some voice of the library answers to."""
        found: set[str] = set()
        with self._lock:
            voices = self._lib.espeak_ListVoices(None)
            index = 0
            while voices[index]:
                found.update(_tags(voices[index].contents))
                index += 1
        return frozenset(found)

    def speak(self, text: str, voice: str) -> tuple[bytes, list[tuple[str, float]]]:
        """16-bit mono samples at `rate`, and (phoneme, start in seconds)."""
        encoded = text.encode()
        with self._lock:
            self._chunks.clear()
            self._events.clear()
            tag = ctypes.create_string_buffer(voice.encode())
            wanted = _Voice(languages=ctypes.addressof(tag))
            if self._lib.espeak_SetVoiceByProperties(ctypes.byref(wanted)) != 0:
                raise VoiceError(
                    f"espeak-ng has no voice {voice!r}; choose a language tag such as en-us or cmn."
                )
            status = self._lib.espeak_Synth(
                encoded,
                ctypes.c_size_t(len(encoded) + 1),
                0,
                _POS_CHARACTER,
                0,
                _CHARS_UTF8 | _FLAG_END_PAUSE,
                None,
                None,
            )
            if status != 0:
                raise VoiceError(f"espeak-ng could not speak the text (status {status}); try it again.")
            return b"".join(self._chunks), list(self._events)


@cache
def _library() -> _Library:
    return _Library()


def languages() -> frozenset[str]:
    """Every language tag that espeak-ng can speak here."""
    return _library().languages()


def speak(text: str, voice: str) -> Spoken:
    """Says `text`; blocks for about a millisecond a second of speech. Raises VoiceError."""
    library = _library()
    raw, events = library.speak(text, voice)
    pcm = np.frombuffer(raw, np.int16)
    if pcm.size == 0:
        return Spoken(np.zeros(0, np.float32), ())
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = library.rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    out = [*resampler.resample(frame), *resampler.resample(None)]
    samples = from_pcm16(np.concatenate([part.to_ndarray().reshape(-1) for part in out]))
    ends = [start for _, start in events[1:]] + [samples.size / SAMPLE_RATE]
    phonemes = (Phoneme(label, start, end) for (label, start), end in zip(events, ends, strict=True))
    return Spoken(samples, tuple(phonemes))
