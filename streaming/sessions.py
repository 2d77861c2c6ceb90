"""A session: speech in, one presenter, ticks out to its viewers."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from engine.live import Pending, Tick
from engine.speech.audio import SAMPLE_RATE, Samples
from streaming.audio_feed import AudioFeed
from streaming.cast import Cast, Part
from streaming.casting import Casting
from streaming.drain import Drain
from streaming.drawing import MouthRoom, Patches, Workers
from streaming.encoding.base import EncodedSound
from streaming.encoding.choose import SOFTWARE
from streaming.encoding.hub import EncodeHub, OpenEncoder
from streaming.errors import Busy, Conflict, NotAcceptable, NotFound
from streaming.events import Events, Interrupted, VoiceFailed
from streaming.labels import label_style, labelled
from streaming.logs import session_in_log
from streaming.metrics import Metrics
from streaming.outlets.table import OutletTable
from streaming.pacing import Pacer, TickFigures, on_grid
from streaming.playback import Playback
from streaming.settings import Settings
from streaming.speaker import Speaker
from streaming.turn import server_ice_servers
from streaming.visitor import VisitorEar
from streaming.voices.base import Voice
from streaming.voices.narration import Witness
from streaming.webrtc.microphone import GAP_S, VISITOR_GAP_S, Microphone
from streaming.webrtc.peer import Peer
from streaming.webrtc.sdp import Offer
from streaming.webrtc.viewer import Viewer

logger = logging.getLogger(__name__)

_IN_USE_S = 5.0
"""Long enough for who has just opened a session, or lost a connection to it, to connect."""

TickListener = Callable[[int, Tick], None]
"""Hears of each tick and its slot, on the event loop, when it is handed out; must not block."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What all sessions share."""

    settings: Settings
    cast: Cast
    voice: Voice
    workers: Workers
    metrics: Metrics
    drain: Drain = field(default_factory=Drain)
    open_encoder: OpenEncoder = SOFTWARE.open
    name: str = ""  # stands before the ids of sessions; tells the servers of a cluster apart


class Session:
    """One presenter with its microphone, its texts and its viewers. `run` is its whole life."""

    def __init__(self, part: Part, stage: Stage, room: MouthRoom, phase: int = 0) -> None:
        self.id = f"{stage.name}{secrets.token_urlsafe(12)}"
        self.figures = TickFigures()
        self.viewers: dict[str, Viewer] = {}
        self.encoders = EncodeHub(
            part.size,
            stage.settings.video_bitrate_kbps,
            stage.workers,
            stage.open_encoder,
            stage.metrics,
            self.figures.add_picture,
        )
        self.on_tick: list[TickListener] = []
        self.outlets = OutletTable(self.encoders, stage.settings, stage.metrics, self.id, self.on_tick)
        self.microphone: Microphone | None = None
        self.visitor: Microphone | None = None
        """A microphone that the presenter does not speak for, but listens to."""
        self.speaking = False
        self._settings = stage.settings
        self._room = room
        self.phase = phase
        """Which of the moments of `streaming.pacing.on_grid` its ticks are due at."""
        self._metrics = stage.metrics
        self._presenter = part.presenter
        self._label = label_style(stage.settings)
        self._core = asyncio.Lock()
        """Held while a tick is computed."""
        self.events = Events()
        self.casting = Casting(
            part, stage.cast, self.events, self._core, self._label, lambda: self.encoders.running(alpha=True)
        )
        self._greeted = not stage.settings.greeting
        self.playback = Playback(part.presenter, self.events)
        self.voice_error: str | None = None
        """What was wrong with a voice when one failed last."""
        self._speaker = Speaker(
            stage.voice,
            stage.settings.text_queue,
            self.playback.say,
            lambda: self.backlog_s,
            fallback=stage.settings.fallback_voice or None,
            patience_s=stage.settings.voice_patience_s,
            witness=Witness(self._voice_failed, stage.metrics.first_sound),
        )
        self.feed = AudioFeed(
            self.playback,
            lambda: self.backlog_s,
            lambda: not (self._speaker.busy or self.playback.text_is_heard),
            stage.settings.audio_buffer_s,
        )
        self._ear = VisitorEar(
            self.events,
            lambda: self._speaker.busy or self.playback.busy,
            lambda: self.interrupt("visitor"),
        )
        self.on_tick.append(self._ear.see)
        self._clock = stage.workers.clock
        self._began = self._busy_at = self._clock()

    @property
    def part(self) -> Part:
        """The presenter, and which avatar it is now; pictures keep the size of the first one."""
        return self.casting.part

    @property
    def uptime_s(self) -> float:
        """Seconds since it was created."""
        return self._clock() - self._began

    @property
    def idle_s(self) -> float:
        """Seconds since it was last used: watched, talked to, speaking, or opened."""
        return self._clock() - self._busy_at

    @property
    def backlog_s(self) -> float:
        """Seconds of speech not yet spoken."""
        return self._presenter.backlog_s

    @property
    def state(self) -> str:
        """ "live" while anybody is connected, else "waiting"."""
        return "live" if self._connected else "waiting"

    @property
    def _connected(self) -> bool:
        peers = self.microphone or self.visitor or self.viewers
        return bool(peers or self.feed.taken or self.outlets.busy)

    def speak(self, text: str, voice_id: str | None) -> str:
        """Queue a text; returns the voice. Unprocessable, TooMany, or Conflict while an agent speaks."""
        if self.feed.unheard:
            raise Conflict("An agent is speaking through the audio socket; wait for it, or interrupt.")
        voice = self._speaker.add(text, voice_id)
        self._metrics.text_taken()
        return voice

    async def interrupt(self, cause: str = "request") -> float:
        """Empty every queue at once; returns the seconds of speech that will not be heard.

        A tick that is being computed is let finish, for a few milliseconds, and then dropped with the others.
        `cause`, for the figures: "request", "visitor" or "agent".
        """
        self._metrics.interrupted(cause)
        self._speaker.clear()
        async with self._core:
            dropped = self._presenter.interrupt()
            self.encoders.clear()
        dropped_s = dropped / SAMPLE_RATE + self.feed.cut()
        self.playback.cut()
        self.events.publish(Interrupted(round(1000 * dropped_s, 1)))
        return dropped_s

    async def clear_audio(self) -> float:
        """Drop the audio producer's sound that has not been heard; returns the seconds of it."""
        unheard = self.feed.unheard
        dropped_s = self.feed.cut()
        if not self.playback.text_is_heard:
            async with self._core:
                dropped_s += self._presenter.interrupt() / SAMPLE_RATE
                self.encoders.clear()
        self.playback.cut(unheard)
        return dropped_s

    async def publish(self, offer: Offer, *, visitor: bool = False) -> tuple[Peer, str]:
        """Take a WHIP offer, of the presenter's voice or a visitor's; returns the connection and the answer.

        Conflict while another publishes as the same.
        """
        if "audio" not in offer.kinds:
            raise NotAcceptable("The offer has no audio; a session takes a microphone.")
        before = self.visitor if visitor else self.microphone
        if before is not None and not before.gone_quiet:
            who = "visitor's microphone" if visitor else "microphone"
            raise Conflict(f"Another {who} publishes to this session; end it first.")
        hear, gap_s = (self._ear.hear, VISITOR_GAP_S) if visitor else (self._hear, GAP_S)
        timeout_s = self._settings.connect_timeout_s
        microphone = Microphone(server_ice_servers(self._settings), timeout_s, hear, gap_s)
        with ExitStack() as undo:
            # Taken before the first wait, so that of two at once only one gets it.
            if visitor:
                self.visitor = microphone
                self._ear.enter()
            else:
                self.microphone = microphone
            undo.callback(self._forget, microphone)
            if before is not None:
                await before.close()
            answer = await microphone.answer(offer, self._forget)
            undo.pop_all()
        return microphone, answer

    async def view(self, offer: Offer, *, alpha: bool = False) -> tuple[Peer, str]:
        """Take a WHEP offer; returns the connection and the answer. Raises Busy when there are too many.

        `alpha`: the presenter cut out, its matte below the picture; Unprocessable where it has none.
        """
        if alpha:
            await self.casting.load_mattes()
        if len(self.viewers) >= self._settings.max_viewers:
            raise Busy(
                "This session has all the viewers it can serve; try again later.", {"Retry-After": "5"}
            )
        ice_servers = server_ice_servers(self._settings)
        viewer = Viewer(ice_servers, self._settings.connect_timeout_s, self.encoders, alpha=alpha)
        self.viewers[viewer.id] = viewer
        with ExitStack() as undo:
            undo.callback(self.viewers.pop, viewer.id, None)
            answer = await viewer.answer(offer, self._forget)
            undo.pop_all()
        return viewer, answer

    def peer(self, kind: str, peer_id: str) -> Peer:
        """A connection of this session, `kind` "whip" or "whep". Raises NotFound."""
        found: Peer | None
        if kind == "whip":
            microphones = (self.microphone, self.visitor)
            found = next((one for one in microphones if one and one.id == peer_id), None)
        else:
            found = self.viewers.get(peer_id)
        if found is None:
            raise NotFound("There is no such connection; it may have ended.")
        return found

    async def run(self) -> None:
        """Tick until cancelled, or until nobody has been here for long enough; leaves nothing behind."""
        session_in_log.set(self.id)
        works = {"speaker": self._speaker.run, "warm": self.casting.warm}
        helpers = [asyncio.create_task(work(), name=f"{what}-{self.id}") for what, work in works.items()]
        try:
            await self._pace()
        finally:
            self._room.leave(self)
            for helper in helpers:
                helper.cancel()
            self.events.close()
            peers = [*self.viewers.values(), *filter(None, (self.microphone, self.visitor))]
            ends = [self.outlets.close(), self._ear.close(), *(peer.close() for peer in peers)]
            await asyncio.gather(asyncio.wait(helpers), *ends)
            await self.encoders.close()

    async def _pace(self) -> None:
        pacer = Pacer(on_grid(self._clock(), self.phase))
        self._room.enter(self)
        while not self._abandoned():
            slot, due = pacer.slot, pacer.due
            self._room.expect(self, due)
            await asyncio.sleep(max(0.0, due - self._clock()))
            async with self._core:
                bare, tick, sounds = await self._room.tick(
                    self, due, self._presenter.begin, partial(self._complete, slot), self.part.role.mouth.add
                )
            now = self._clock()
            self.encoders.show(slot, tick.picture, sounds, self.casting.drawer(bare), due)
            self.casting.left(bare, slot)
            self.playback.left(tick.position, slot)
            for listener in self.on_tick:
                listener(slot, tick)
            skipped = pacer.skipped
            lateness = pacer.advance(now)
            self._metrics.skipped(pacer.skipped - skipped)
            self.speaking = tick.speaking
            self.figures.add(now, lateness, mouth_repeated=tick.mouth_repeated)
            self._metrics.tick(lateness, mouth_repeated=tick.mouth_repeated)
            self._speaker.drained()
            self.feed.pump()
            self._greet()

    def _greet(self) -> None:
        if not self._greeted and any(viewer.connected for viewer in self.viewers.values()):
            self._greeted = True
            self.casting.greet()

    def _complete(
        self, slot: int, pending: Pending, patches: Patches
    ) -> tuple[Tick, Tick, list[EncodedSound]]:
        """A tick with its mouths, bare and labelled, and its encoded sound; runs in a worker thread."""
        bare = self._presenter.complete(pending, patches)
        return bare, labelled(bare, self._label), self.encoders.encode_sound(bare.sound, slot)

    def _abandoned(self) -> bool:
        now = self._clock()
        if self._connected or self._speaker.busy or self.backlog_s > 0:
            self._busy_at = now
        return now - self._busy_at > self._settings.idle_close_s

    def _hear(self, samples: Samples) -> None:
        self._presenter.push(samples, live=True)

    def _voice_failed(self, voice_id: str, sentence: str) -> None:
        self.voice_error = sentence
        self._metrics.voice_failed(voice_id.partition(":")[0])
        self.events.publish(VoiceFailed(voice_id, sentence))

    def _forget(self, peer: Peer) -> None:
        if peer is self.microphone:
            self.microphone = None
        if peer is self.visitor:
            self.visitor = None
            self._ear.leave()
        self.viewers.pop(peer.id, None)
