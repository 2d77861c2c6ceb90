"""Voices of any server with OpenAI's `POST /audio/speech`: OpenAI, Kokoro, CosyVoice, GPT-SoVITS, others."""

import json
from collections.abc import AsyncGenerator

import httpx

from engine.speech.audio import Samples
from engine.speech.espeak import VoiceError
from streaming.errors import Unprocessable
from streaming.pcm import PcmReader
from streaming.settings import Settings
from streaming.voices.base import VoiceInfo
from streaming.voices.spoken import in_words
from streaming.voices.text import voice_of_script

_CONTAINERS = (b"RIFF", b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"{", b"<")
"""How answers begin that are no bare samples: WAV, MP3, Ogg, FLAC, JSON, a web page."""

_PART_BYTES = 1920
"""40 ms at 24 kHz: smaller parts would only cost work."""


class OpenAIVoice:
    """The `Voice` of such a server. Sound is spoken while it still comes; it is 16-bit mono at `rate` Hz."""

    def __init__(
        self, url: str, key: str | None, model: str, names: tuple[str, ...], rate: int = 24_000
    ) -> None:
        self._url = f"{url.rstrip('/')}/audio/speech"
        self._model = model
        self._names = names
        self._rate = rate
        # How long to wait is the narrator's business.
        self._client = httpx.AsyncClient(
            timeout=None, headers={"Authorization": f"Bearer {key}"} if key else {}
        )

    def voices(self) -> list[VoiceInfo]:
        """Those that the settings name."""
        return [VoiceInfo(name, name.replace("_", " ").title(), "mul") for name in self._names]

    def choose(self, text: str, voice_id: str | None) -> str:
        """The voice asked for, else the first. Raises Unprocessable for one that the settings do not name."""
        if voice_id is None:
            return self._names[0]
        if voice_id not in self._names:
            raise Unprocessable(
                f"There is no voice 'openai:{voice_id}'; KOUBO_OPENAI_VOICES names those of the server."
            )
        return voice_id

    async def synthesise(self, text: str, voice_id: str) -> AsyncGenerator[Samples, None]:
        """A piece as it streams in, float32 mono in [-1, 1] at 16 kHz. Raises VoiceError."""
        chinese = voice_of_script(text) == "cmn"
        body = {
            "model": self._model,
            "input": in_words(text, "zh") if chinese else text,
            "voice": voice_id,
            "response_format": "pcm",
        }
        reader = PcmReader(self._rate)
        heard = False
        try:
            async with self._client.stream("POST", self._url, json=body) as response:
                if response.status_code != httpx.codes.OK:
                    raise VoiceError(_refusal(response.status_code, await response.aread()))
                async for data in response.aiter_bytes(_PART_BYTES):
                    if not heard and data.startswith(_CONTAINERS):
                        raise VoiceError(
                            "The voice server does not send bare samples (pcm); check KOUBO_OPENAI_VOICE_URL."
                        )
                    heard = True
                    yield reader.push(data)
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise VoiceError(
                f"The voice server cannot be reached ({what}); check KOUBO_OPENAI_VOICE_URL."
            ) from error
        if heard:
            yield reader.flush()

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def open_openai(settings: Settings) -> OpenAIVoice | None:
    """The voices that the settings name, or None without a server."""
    if settings.openai_voice_url is None or not settings.openai_voices:
        return None
    key = settings.openai_voice_key.get_secret_value() if settings.openai_voice_key else None
    return OpenAIVoice(
        str(settings.openai_voice_url),
        key,
        settings.openai_voice_model,
        settings.openai_voices,
        settings.openai_voice_rate,
    )


def _refusal(status: int, body: bytes) -> str:
    """One sentence for a refusal, with the server's own words where it gives some."""
    try:
        error = json.loads(body)["error"]
        said = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        said = ""
    reason = f" ({said[:200].rstrip('.')})" if said else ""
    advice = "check KOUBO_OPENAI_VOICE_KEY" if status in (401, 403) else "check voice, model and server"
    return f"The voice server refused with status {status}{reason}; {advice}."
