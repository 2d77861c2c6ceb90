"""One codec of a session: pictures in, each encoded once by the workers, out to all who attached."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

import av

from engine.picture.yuv import Frame
from engine.speech.audio import FRAME_RATE
from streaming.drawing import Workers
from streaming.encoding.base import Codec, EncodedPicture, PictureEncoder, Receiver
from streaming.encoding.bitrate import BitratePolicy
from streaming.encoding.keyframes import KeyframeSchedule
from streaming.mailbox import Mailbox

logger = logging.getLogger(__name__)

RAW_WAITING = 2
"""Pictures that may wait for the encoder; an older one gives way unencoded, which breaks no chain."""

_SENT_SLOTS = 2 * FRAME_RATE

Drawn: TypeAlias = Frame | Callable[[], Frame]
"""A picture, or what draws it in the thread that encodes it."""


class Figures(Protocol):
    """Hears what encoders do; `streaming.metrics.Metrics` is one."""

    def encode(self, codec: str, seconds: float) -> None:
        """A picture went through an encoder."""
        ...

    def not_encoded(self, codec: str) -> None:
        """A picture was left out because the encoder was behind."""
        ...

    def picture(self, lateness_s: float) -> None:
        """A picture was encoded so long after its tick was due."""
        ...


@dataclass(frozen=True, slots=True)
class _Raw:
    slot: int
    picture: Drawn
    due: float


class Subscription:
    """A receiver of a stream's pictures; it gets nothing before a key frame."""

    def __init__(self, receiver: Receiver, *, steady: bool) -> None:
        self.steady = steady
        self._receiver = receiver
        self._begun = False

    def give(self, picture: EncodedPicture) -> None:
        """Pass a picture on, from the first key frame."""
        self._begun = self._begun or picture.keyframe
        if self._begun:
            self._receiver.picture(picture)


class PictureStream:
    """Runs from its first subscription until `stop`.

    `open_encoder` may be called again after a fault.
    """

    def __init__(
        self,
        codec: Codec,
        kbps: int,
        open_encoder: Callable[[], PictureEncoder],
        workers: Workers,
        figures: Figures | None = None,
        told: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.codec = codec
        self.schedule = KeyframeSchedule()
        self.policy = BitratePolicy(kbps)
        self.subscriptions: list[Subscription] = []
        self._open_encoder = open_encoder
        self._encoder: PictureEncoder | None = None
        self._workers = workers
        self._figures = figures
        self._told = told
        self._raw: Mailbox[_Raw] = Mailbox(RAW_WAITING)
        self._sent: deque[tuple[int, int]] = deque()
        self.task = asyncio.create_task(self._run(), name=f"encode-{codec}")

    @property
    def dropped(self) -> int:
        """Pictures that the encoder could not keep up with."""
        return self._raw.dropped

    def put(self, slot: int, picture: Drawn, due: float) -> None:
        """Encode this picture next; its tick was due then."""
        before = self.dropped
        self._raw.put(_Raw(slot, picture, due))
        if self._figures and self.dropped > before:
            self._figures.not_encoded(self.codec)

    def clear(self) -> None:
        """Drop the pictures that the encoder has not begun."""
        self._raw.clear()

    def stop(self) -> None:
        """End at once; a picture that is being encoded is for nobody."""
        self.task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            raw = await self._raw.get()
            steady = any(one.steady for one in self.subscriptions)
            keyframe = self.schedule.due(raw.slot, steady=steady)
            kbps = self.policy.update(
                loop.time(),
                receivers=len(self.subscriptions),
                sent_kbps=self._sent_kbps(raw.slot),
                steady=steady,
            )
            encode = partial(self._encode, raw, kbps, keyframe)
            made, spent, lateness = await self._workers.run(raw.due, encode, "encode")
            self._told(lateness)
            if self._figures:
                self._figures.encode(self.codec, spent)
                self._figures.picture(lateness)
            if made is not None:
                self._hand_out(made)

    def _encode(self, raw: _Raw, kbps: int, keyframe: bool) -> tuple[EncodedPicture | None, float, float]:
        """One picture, the seconds it took, and how late it is; in a thread."""
        began = time.perf_counter()
        try:
            if self._encoder is None:
                self._encoder = self._open_encoder()
            picture = raw.picture() if callable(raw.picture) else raw.picture
            made = self._encoder.encode(picture, raw.slot, kbps, keyframe=keyframe)
        except av.FFmpegError:
            # The next picture gets a fresh encoder, which begins with a key frame.
            logger.exception("the %s encoder failed; it is opened anew", self.codec)
            self._encoder, made = None, None
        return made, time.perf_counter() - began, self._workers.clock() - raw.due

    def _hand_out(self, made: EncodedPicture) -> None:
        if made.keyframe:
            self.schedule.made(made.slot)
        self._sent.append((made.slot, len(made.data)))
        for one in tuple(self.subscriptions):
            one.give(made)

    def _sent_kbps(self, slot: int) -> float:
        while self._sent and slot - self._sent[0][0] > _SENT_SLOTS:
            self._sent.popleft()
        if not self._sent:
            return 0.0
        seconds = max(1.0, (slot - self._sent[0][0]) / FRAME_RATE)
        return sum(size for _, size in self._sent) * 8 / 1000 / seconds
