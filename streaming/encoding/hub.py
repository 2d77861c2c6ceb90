"""The encoders of a session: one a codec for all receivers, open only while somebody receives."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.picture.yuv import Frame
from streaming.drawing import Workers
from streaming.encoding.aac import AacEncoder
from streaming.encoding.base import (
    Codec,
    EncodedSound,
    PictureEncoder,
    Receiver,
    SoundCodec,
    SoundEncoder,
)
from streaming.encoding.choose import SOFTWARE, Size
from streaming.encoding.opus import OpusEncoder
from streaming.encoding.stream import Drawn, Figures, PictureStream, Subscription

logger = logging.getLogger(__name__)

OpenEncoder: TypeAlias = Callable[[Codec, Size, int], PictureEncoder]
"""Makes an encoder for a codec, a (width, height) and the highest bit rate in kbit/s."""

_SOUND_ENCODERS: dict[SoundCodec, Callable[[], SoundEncoder]] = {"opus": OpusEncoder, "aac": AacEncoder}


class EncodeHub:
    """Takes the ticks of one session and gives each receiver what it attached for.

    Belongs to one event loop, but for `encode_sound`. `size` is (width, height) of the pictures, `kbps` the
    configured bit rate. `told` hears how many seconds after its tick was due each picture was encoded.
    """

    def __init__(
        self,
        size: Size,
        kbps: int,
        workers: Workers,
        open_encoder: OpenEncoder = SOFTWARE.open,
        figures: Figures | None = None,
        told: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.size = size
        self._kbps = kbps
        self._workers = workers
        self._told = told
        self._open_encoder = open_encoder
        self._figures = figures
        self._streams: dict[tuple[Codec, bool], PictureStream] = {}
        self._sounds: dict[SoundCodec, SoundEncoder] = {}
        self._attached: list[Attachment] = []
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """The codec of each picture encoder that is open, the oldest first."""
        return tuple(codec for codec, _ in self._streams)

    def running(self, *, alpha: bool) -> tuple[Codec, ...]:
        """The codecs that pictures, with their matte or without, are being encoded in; the oldest first."""
        return tuple(codec for codec, stacked in self._streams if stacked == alpha)

    @property
    def dropped(self) -> int:
        """Pictures that open encoders could not keep up with; they were left out before encoding."""
        return sum(stream.dropped for stream in self._streams.values())

    def attach(
        self,
        receiver: Receiver,
        *,
        video: Codec | None,
        audio: SoundCodec | None,
        steady: bool = False,
        alpha: bool = False,
    ) -> "Attachment":
        """Give a receiver pictures and sound until it detaches.

        Pictures begin with the next key frame, which it shares with whoever joins within half a second, sound
        begins at once. `steady`, for outlets: others' reports do not lower the bit rate, and there is a key
        frame at least every two seconds. `alpha`: pictures of twice the height, with the matte below.
        """
        stream, subscription = None, None
        if video is not None:
            stream = self._stream(video, alpha)
            subscription = Subscription(receiver, steady=steady)
            stream.subscriptions.append(subscription)
            stream.schedule.request()
        if audio is not None and audio not in self._sounds:
            # Replaced, never changed: a worker thread may be going through it.
            self._sounds = {**self._sounds, audio: _SOUND_ENCODERS[audio]()}
        config = self._sounds[audio].config if audio is not None else b""
        size = self._size(alpha)
        attachment = Attachment(self, receiver, size, stream, subscription, audio, config)
        self._attached.append(attachment)
        return attachment

    def encode_sound(self, sound: NDArray[np.int16], slot: int) -> list[EncodedSound]:
        """Packets of one tick's sound, int16 (640,), in every codec that is received. For a worker thread."""
        return [packet for encoder in self._sounds.values() for packet in encoder.encode(sound, slot)]

    def show(
        self,
        slot: int,
        picture: Frame,
        sounds: list[EncodedSound],
        alpha: Drawn | None = None,
        due: float | None = None,
    ) -> None:
        """Hand a tick on: its sound goes out now, its picture when it is encoded.

        `alpha`: the same picture with its matte below, for those who attached so. `due`: when the tick was
        due, in seconds on the clock of the workers; now when not given.
        """
        due = self._workers.clock() if due is None else due
        for (_, stacked), stream in self._streams.items():
            drawn = alpha if stacked else picture
            if drawn is not None:
                stream.put(slot, drawn, due)
        for attachment in tuple(self._attached):
            for sound in sounds:
                if sound.codec == attachment.audio:
                    attachment.receiver.sound(sound)

    def clear(self) -> None:
        """An interrupt: what is not encoded yet is dropped, what has not left is revoked."""
        for stream in self._streams.values():
            stream.clear()
        for attachment in tuple(self._attached):
            attachment.receiver.clear()

    async def close(self) -> None:
        """Detach everybody and wait until nothing runs any more."""
        for attachment in tuple(self._attached):
            attachment.detach()
        if self._ending:
            await asyncio.wait(self._ending)

    def _size(self, alpha: bool) -> Size:
        return (self.size[0], 2 * self.size[1]) if alpha else self.size

    def _stream(self, codec: Codec, alpha: bool) -> PictureStream:
        stream = self._streams.get((codec, alpha))
        if stream is None:
            opener = partial(self._open_encoder, codec, self._size(alpha), self._kbps)
            stream = self._streams[codec, alpha] = PictureStream(
                codec, self._kbps, opener, self._workers, self._figures, self._told
            )
            stream.task.add_done_callback(self._ended)
        return stream

    def _detach(self, attachment: "Attachment") -> None:
        self._attached.remove(attachment)
        audios = {one.audio for one in self._attached}
        self._sounds = {codec: encoder for codec, encoder in self._sounds.items() if codec in audios}
        for key, stream in list(self._streams.items()):
            if not stream.subscriptions:
                del self._streams[key]
                stream.stop()
                if not stream.task.done():
                    self._ending.add(stream.task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("an encoder ended by a fault of the server", exc_info=error)


class Attachment:
    """A receiver's hold on the encoders. `size` is (width, height); `audio_config` is AAC's, else empty."""

    def __init__(
        self,
        hub: EncodeHub,
        receiver: Receiver,
        size: Size,
        stream: PictureStream | None,
        subscription: Subscription | None,
        audio: SoundCodec | None,
        audio_config: bytes,
    ) -> None:
        self.receiver = receiver
        self.size = size
        self.audio = audio
        self.audio_config = audio_config
        self._hub = hub
        self._stream = stream
        self._subscription = subscription
        self._detached = False

    @property
    def bitrate_kbps(self) -> int:
        """Of the pictures, as it is now; 0 without pictures."""
        return self._stream.policy.kbps if self._stream else 0

    def request_keyframe(self) -> None:
        """Ask for a key frame soon; at most two a second are made, whoever asks."""
        if self._stream:
            self._stream.schedule.request()

    def report_bitrate(self, kbps: int) -> None:
        """Tell what this receiver can take (REMB)."""
        if self._stream and not self._detached:
            self._stream.policy.report(self, kbps, asyncio.get_running_loop().time())

    def detach(self) -> None:
        """Receive nothing more; a second time it does nothing."""
        if self._detached:
            return
        self._detached = True
        if self._stream and self._subscription:
            self._stream.subscriptions.remove(self._subscription)
            self._stream.policy.forget(self)
        self._hub._detach(self)
