"""Voices of Microsoft Edge's read-aloud service, through the package edge-tts. Texts leave this machine."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib.util import find_spec
from typing import Any

import av
import av.error
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from engine.errors import MissingToolError
from engine.speech.audio import SAMPLE_RATE, Samples
from engine.speech.espeak import VoiceError
from streaming.errors import Unprocessable
from streaming.settings import Settings
from streaming.voices.base import VoiceInfo
from streaming.voices.spoken import in_words
from streaming.voices.text import voice_of_script

USUAL = (
    VoiceInfo("en-US-AvaMultilingualNeural", "Ava", "en-US"),
    VoiceInfo("en-US-AndrewMultilingualNeural", "Andrew", "en-US"),
    VoiceInfo("en-GB-SoniaNeural", "Sonia", "en-GB"),
    VoiceInfo("zh-CN-XiaoxiaoNeural", "晓晓", "zh-CN"),
    VoiceInfo("zh-CN-YunxiNeural", "云希", "zh-CN"),
    VoiceInfo("zh-HK-HiuGaaiNeural", "曉佳", "zh-HK"),
    VoiceInfo("zh-TW-HsiaoChenNeural", "曉臻", "zh-TW"),
    VoiceInfo("ja-JP-NanamiNeural", "七海", "ja-JP"),
    VoiceInfo("ko-KR-SunHiNeural", "선히", "ko-KR"),
    VoiceInfo("de-DE-KatjaNeural", "Katja", "de-DE"),
    VoiceInfo("fr-FR-DeniseNeural", "Denise", "fr-FR"),
    VoiceInfo("es-ES-ElviraNeural", "Elvira", "es-ES"),
    VoiceInfo("pt-BR-FranciscaNeural", "Francisca", "pt-BR"),
    VoiceInfo("it-IT-ElsaNeural", "Elsa", "it-IT"),
    VoiceInfo("ru-RU-SvetlanaNeural", "Светлана", "ru-RU"),
    VoiceInfo("ar-EG-SalmaNeural", "سلمى", "ar-EG"),
    VoiceInfo("hi-IN-SwaraNeural", "स्वरा", "hi-IN"),
    VoiceInfo("el-GR-AthinaNeural", "Αθηνά", "el-GR"),
)
_NAME = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,10}){1,3}-[A-Za-z]+Neural")


class EdgeVoice:
    """The `Voice` of the service: every name of the form zh-CN-XiaoxiaoNeural is taken."""

    def voices(self) -> list[VoiceInfo]:
        """The usual ones; the service knows several hundred."""
        return list(USUAL)

    def choose(self, text: str, voice_id: str | None) -> str:
        """The voice asked for, else by the script. Raises Unprocessable for what cannot be a name."""
        if voice_id is None:
            language = (voice_of_script(text) or "en").replace("cmn", "zh")
            return next(voice.id for voice in USUAL if voice.language.startswith(language))
        if not _NAME.fullmatch(voice_id):
            raise Unprocessable(
                f"'edge:{voice_id}' is no name of a voice; one looks like edge:zh-CN-XiaoxiaoNeural."
            )
        return voice_id

    async def synthesise(self, text: str, voice_id: str) -> AsyncGenerator[Samples, None]:
        """A piece as it streams in, float32 mono in [-1, 1] at 16 kHz. Raises VoiceError."""
        try:
            from aiohttp import ClientError
            from edge_tts import Communicate
            from edge_tts.exceptions import EdgeTTSException
        except ImportError as error:
            raise MissingToolError("Edge's voices need edge-tts; run `pip install edge-tts`.") from error
        decoder = _Mp3Reader()
        try:
            async with aclosing(Communicate(in_words(text, voice_id), voice_id).stream()) as messages:
                async for message in messages:
                    if message["type"] == "audio":
                        samples = decoder.push(message["data"])
                        if samples.size:
                            yield samples
            yield decoder.flush()
        except (EdgeTTSException, ClientError, OSError) as error:
            what = str(error) or type(error).__name__
            raise VoiceError(
                f"The voice edge:{voice_id} failed ({what}); check the network or choose another voice."
            ) from error
        except av.error.FFmpegError as error:
            raise VoiceError(
                f"The sound of the voice edge:{voice_id} cannot be read ({error.strerror}); choose another."
            ) from error


def open_edge(settings: Settings) -> EdgeVoice | None:
    """Edge's voices, or None without the package."""
    return EdgeVoice() if find_spec("edge_tts") else None


class _Mp3Reader:
    """MP3 in pieces of any length in, float32 mono in [-1, 1] at 16 kHz out."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("mp3", "r")
        assert isinstance(codec, AudioCodecContext)
        self._codec = codec
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)

    def push(self, data: bytes) -> Samples:
        """The sound of the frames that are whole. Raises av.FFmpegError."""
        return self._decoded([*self._codec.parse(data)])

    def flush(self) -> Samples:
        """What is left at the end."""
        rest = self._decoded([*self._codec.parse(None), None])
        return _joined([rest, *_arrays(self._resampler.resample(None))])

    def _decoded(self, packets: "list[av.Packet[Any] | None]") -> Samples:
        parts: list[Samples] = []
        for packet in packets:
            for frame in self._codec.decode(packet):
                frame.pts = None
                parts += _arrays(self._resampler.resample(frame))
        return _joined(parts)


def _arrays(frames: list[av.AudioFrame]) -> list[Samples]:
    return [np.asarray(frame.to_ndarray(), np.float32).reshape(-1) for frame in frames]


def _joined(parts: list[Samples]) -> Samples:
    joined: Samples = np.concatenate([np.zeros(0, np.float32), *parts])
    return joined.clip(-1, 1)
