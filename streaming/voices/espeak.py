"""espeak-ng, the bundled voice (libespeak-ng through ctypes; library and data from `espeakng-loader`).

The C interface is documented in `speak_lib.h` of espeak-ng.
"""

import asyncio
import ctypes
import threading
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import av
import espeakng_loader
import numpy as np

from engine.errors import KouboError, MissingToolError
from engine.speech.audio import SAMPLE_RATE, Samples, from_pcm16
from streaming.errors import Unprocessable
from streaming.voices.base import VoiceInfo
from streaming.voices.text import pieces, voice_of_script

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_FLAG_END_PAUSE = 0x1000

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


class VoiceError(KouboError):
    """A voice cannot speak a text."""


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


_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


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
        # The library keeps the pointer, so the callback must live as long as it.
        self._callback = _SynthCallback(self._collect)
        try:
            self._lib: Any = ctypes.CDLL(espeakng_loader.get_library_path())
            data = espeakng_loader.get_data_path()
        except (OSError, RuntimeError) as error:
            raise MissingToolError(
                f"The espeak-ng voice cannot be loaded ({error}); reinstall `espeakng-loader`."
            ) from error
        self.rate: int = self._lib.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data.encode(), _DONT_EXIT)
        if self.rate <= 0:
            raise MissingToolError("The espeak-ng voice has no usable data; reinstall `espeakng-loader`.")
        self._lib.espeak_SetSynthCallback(self._callback)
        self._lib.espeak_ListVoices.argtypes = [ctypes.POINTER(_Voice)]
        self._lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
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

    def speak(self, text: str, voice_id: str) -> bytes:
        """16-bit mono samples at `rate`."""
        encoded = text.encode()
        with self._lock:
            self._chunks.clear()
            tag = ctypes.create_string_buffer(voice_id.encode())
            wanted = _Voice(languages=ctypes.addressof(tag))
            if self._lib.espeak_SetVoiceByProperties(ctypes.byref(wanted)) != 0:
                raise VoiceError(f"espeak-ng has no voice {voice_id!r}; GET /v1/voices lists them.")
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
            return b"".join(self._chunks)


@cache
def _library() -> _Library:
    return _Library()


class EspeakVoice:
    """The `Voice` of every language espeak-ng knows; formant synthesis, about 1 ms a second of speech."""

    def __init__(self, default_voice: str = "en-us") -> None:
        self._default = default_voice

    def voices(self) -> list[VoiceInfo]:
        """The usual languages that the installed data holds."""
        known = _library().languages()
        return [voice for voice in USUAL if voice.id in known]

    def choose(self, text: str, voice_id: str | None) -> str:
        """The voice asked for, else by the script of the text; Unprocessable when there is no such voice."""
        chosen = voice_id or voice_of_script(text) or self._default
        if chosen not in _library().languages():
            raise Unprocessable(f"There is no voice {chosen!r}; GET /v1/voices lists them.")
        return chosen

    async def synthesise(self, text: str, voice_id: str) -> AsyncIterator[Samples]:
        """Speech sentence by sentence, float32 mono in [-1, 1] at 16 kHz; VoiceError when it fails."""
        for piece in pieces(text):
            yield await asyncio.to_thread(speak_piece, piece, voice_id)


def speak_piece(piece: str, voice_id: str) -> Samples:
    """One piece of text as speech, float32 mono in [-1, 1] at 16 kHz. Blocks for some milliseconds."""
    library = _library()
    pcm = np.frombuffer(library.speak(piece, voice_id), np.int16)
    if pcm.size == 0:
        return np.zeros(0, np.float32)
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = library.rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    out = [*resampler.resample(frame), *resampler.resample(None)]
    return from_pcm16(np.concatenate([part.to_ndarray().reshape(-1) for part in out]))
