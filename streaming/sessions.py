"""A session: speech in, one presenter, ticks out to its viewers; and the table of all sessions."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field

from engine.live import Tick
from engine.speech.audio import SAMPLE_RATE, Samples
from streaming.audio_feed import AudioFeed
from streaming.cast import Cast, Part
from streaming.casting import Casting
from streaming.drain import Drain
from streaming.encoding.base import EncodedSound
from streaming.encoding.choose import SOFTWARE
from streaming.encoding.hub import EncodeHub, OpenEncoder
from streaming.errors import Busy, Conflict, NotAcceptable, NotFound
from streaming.events import Events, Interrupted, VoiceFailed
from streaming.labels import label_style, labelled
from streaming.logs import session_in_log
from streaming.metrics import Metrics
from streaming.outlets.table import OutletTable
from streaming.pacing import Pacer, TickFigures
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
    workers: Executor
    """Threads that compute ticks."""
    metrics: Metrics
    drain: Drain = field(default_factory=Drain)
    open_encoder: OpenEncoder = SOFTWARE.open
    name: str = ""  # stands before the ids of sessions; tells the servers of a cluster apart


class Session:
    """One presenter with its microphone, its texts and its viewers. `run` is its whole life."""

    def __init__(self, part: Part, stage: Stage) -> None:
        self.id = f"{stage.name}{secrets.token_urlsafe(12)}"
        self.figures = TickFigures()
        self.viewers: dict[str, Viewer] = {}
        self.encoders = EncodeHub(
            part.size, stage.settings.video_bitrate_kbps, stage.open_encoder, stage.metrics
        )
        self.on_tick: list[TickListener] = []
        self.outlets = OutletTable(self.encoders, stage.settings, stage.metrics, self.id, self.on_tick)
        self.microphone: Microphone | None = None
        self.visitor: Microphone | None = None
        """A microphone that the presenter does not speak for, but listens to."""
        self.speaking = False
        self._settings = stage.settings
        self._workers = stage.workers
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
        self._clock = asyncio.get_running_loop().time
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
            for helper in helpers:
                helper.cancel()
            self.events.close()
            peers = [*self.viewers.values(), *filter(None, (self.microphone, self.visitor))]
            ends = [self.outlets.close(), self._ear.close(), *(peer.close() for peer in peers)]
            await asyncio.gather(asyncio.wait(helpers), *ends)
            await self.encoders.close()

    async def _pace(self) -> None:
        loop = asyncio.get_running_loop()
        pacer = Pacer(self._clock())
        while not self._abandoned():
            await asyncio.sleep(max(0.0, pacer.due - self._clock()))
            async with self._core:
                bare, tick, sounds = await loop.run_in_executor(self._workers, self._compute, pacer.slot)
            now = self._clock()
            slot = pacer.slot
            self.encoders.show(slot, tick.picture, sounds, self.casting.drawer(bare))
            self.casting.left(bare, slot)
            self.playback.left(tick.position, slot)
            for listener in self.on_tick:
                listener(slot, tick)
            skipped = pacer.skipped
            lateness = pacer.advance(now)
            self._metrics.skipped(pacer.skipped - skipped)
            self.speaking = tick.speaking
            self.figures.add(now, lateness)
            self._metrics.tick(lateness)
            self._speaker.drained()
            self.feed.pump()
            self._greet()

    def _greet(self) -> None:
        if not self._greeted and any(viewer.connected for viewer in self.viewers.values()):
            self._greeted = True
            self.casting.greet()

    def _compute(self, slot: int) -> tuple[Tick, Tick, list[EncodedSound]]:
        """One tick, bare and labelled, and its encoded sound; runs in a worker thread."""
        bare = self._presenter.tick()
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


class SessionTable:
    """Every session of a server, by id."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._sessions: dict[str, Session] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._entering = 0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def in_use(self) -> int:
        """Sessions used in the last seconds; a server that is about to stop waits for these."""
        return sum(session.idle_s < _IN_USE_S for session in self._sessions.values())

    @property
    def on_stage(self) -> set[str]:
        """Names of the avatars that sessions show."""
        return {session.part.role.name for session in self._sessions.values()}

    @property
    def viewers(self) -> int:
        """Viewers of all sessions together."""
        return sum(len(session.viewers) for session in self._sessions.values())

    @property
    def outlets(self) -> Counter[tuple[str, str]]:
        """Outlets of all sessions together, by (kind, state)."""
        entries = (entry for session in self._sessions.values() for entry in session.outlets.list())
        return Counter((entry.kind, entry.state.value) for entry in entries)

    @property
    def encoders(self) -> Counter[str]:
        """Open picture encoders of all sessions together, by codec."""
        return Counter(codec for session in self._sessions.values() for codec in session.encoders.codecs)

    async def create(self, avatar: str | None) -> Session:
        """Open a session. Raises NotFound, AvatarError, or Busy when there are too many."""
        self._stage.drain.admit()
        limit = self._stage.settings.max_sessions
        if len(self._sessions) + self._entering >= limit:
            raise Busy(
                f"All {limit} sessions of this server are taken; end one or try again later.",
                {"Retry-After": "10"},
            )
        self._entering += 1
        try:
            part = await self._stage.cast.enter(avatar)
        finally:
            self._entering -= 1
        session = Session(part, self._stage)
        life = asyncio.create_task(session.run(), name=f"session-{session.id}")
        self._sessions[session.id] = session
        self._lives[session.id] = life
        life.add_done_callback(lambda task: self._ended(session.id, task))
        return session

    def get(self, session_id: str) -> Session:
        """A session by id. Raises NotFound."""
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound("There is no such session; it may have ended.")
        return session

    async def end(self, session_id: str) -> None:
        """End a session and wait until nothing of it is left. Raises NotFound."""
        self.get(session_id)
        del self._sessions[session_id]
        life = self._lives[session_id]
        life.cancel()
        await asyncio.wait([life])

    async def close(self) -> None:
        """End every session."""
        await asyncio.gather(*(self.end(session_id) for session_id in list(self._sessions)))

    def _ended(self, session_id: str, life: asyncio.Task[None]) -> None:
        self._sessions.pop(session_id, None)
        del self._lives[session_id]
        if not life.cancelled() and (error := life.exception()) is not None:
            logger.error("a session ended by a fault of the server", exc_info=error)
