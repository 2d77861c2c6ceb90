"""What happens in a session, told to whoever listens: agents, logs, the audio socket."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, ClassVar

from streaming.mailbox import Closed, Mailbox

EVENTS_WAITING = 256
"""Events one listener may be behind before the oldest gives way."""


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. `type` is its name on the wire."""

    type: ClassVar[str]

    def as_json(self) -> dict[str, Any]:
        """`{"type": ..., field: value, ...}`."""
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True, slots=True)
class SpeakStarted(Event):
    """The first sound of an utterance has left, `at` seconds after the session's clock began (slot / 25)."""

    type: ClassVar[str] = "speak_started"
    utterance: str
    at: float


@dataclass(frozen=True, slots=True)
class SpeakEnded(Event):
    """An utterance is over: `played_ms` of it really left, all of it unless `interrupted`."""

    type: ClassVar[str] = "speak_ended"
    utterance: str
    played_ms: float
    interrupted: bool


@dataclass(frozen=True, slots=True)
class Interrupted(Event):
    """Everything that waited was dropped, texts included; `dropped_ms` of it was sound already."""

    type: ClassVar[str] = "interrupted"
    dropped_ms: float


@dataclass(frozen=True, slots=True)
class BufferCleared(Event):
    """An audio producer took back what it had sent and was not yet heard."""

    type: ClassVar[str] = "buffer_cleared"
    dropped_ms: float


@dataclass(frozen=True, slots=True)
class SpeechStarted(Event):
    """A visitor began to speak, noticed `at` seconds after the session's clock began."""

    type: ClassVar[str] = "speech_started"
    at: float


@dataclass(frozen=True, slots=True)
class SpeechStopped(Event):
    """The visitor has been silent for a moment, at `at` seconds of the session's clock."""

    type: ClassVar[str] = "speech_stopped"
    at: float


@dataclass(frozen=True, slots=True)
class VoiceFailed(Event):
    """A voice did not speak a text, or a piece of it; `sentence` says why and whether another goes on."""

    type: ClassVar[str] = "voice_failed"
    voice: str
    sentence: str


@dataclass(frozen=True, slots=True)
class AvatarChanged(Event):
    """Another presenter has taken over, its first picture `at` seconds after the session's clock began."""

    type: ClassVar[str] = "avatar_changed"
    avatar: str
    at: float


@dataclass(frozen=True, slots=True)
class ClipStarted(Event):
    """The first picture of a greeting or gesture has left, `at` seconds of the session's clock."""

    type: ClassVar[str] = "clip_started"
    clip: str
    at: float


@dataclass(frozen=True, slots=True)
class ClipEnded(Event):
    """A greeting or gesture is over, its last picture left before `at` seconds of the session's clock."""

    type: ClassVar[str] = "clip_ended"
    clip: str
    at: float


class Subscription:
    """Events from the moment of `Events.subscribe` on, as an async iterator; use it in a `with` block.

    Bounded: a listener that does not keep up loses the oldest ones, counted in `dropped`.
    """

    def __init__(self, events: "Events", size: int) -> None:
        self._events = events
        self._mailbox: Mailbox[Event] = Mailbox(size)

    @property
    def dropped(self) -> int:
        """Events this listener was too slow for."""
        return self._mailbox.dropped

    def put(self, event: Event) -> None:
        """Queue an event; never waits."""
        self._mailbox.put(event)

    def close(self) -> None:
        """Stop listening; the iteration ends."""
        self._events.forget(self.put)
        self._events.ending.discard(self)
        self._mailbox.close()

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._mailbox.get()
        except Closed:
            raise StopAsyncIteration from None


class Events:
    """The broadcaster of one session. Belongs to its event loop; publishing never waits for a listener."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []
        self.ending: set[Subscription] = set()
        """Subscriptions that end with the session."""
        self._closed = False

    def __len__(self) -> int:
        return len(self._listeners)

    def publish(self, event: Event) -> None:
        """Tell every listener."""
        for listener in [*self._listeners]:
            listener(event)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call this with every event, at once; it must neither wait nor fail."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[Event], None]) -> None:
        """Call it no more; one that is not known is no matter."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def subscribe(self, size: int = EVENTS_WAITING) -> Subscription:
        """Listen from now on, at most `size` events behind; one that comes after the end hears nothing."""
        subscription = Subscription(self, size)
        if self._closed:
            subscription.close()
        else:
            self.listen(subscription.put)
            self.ending.add(subscription)
        return subscription

    def close(self) -> None:
        """The session is over: every iteration ends."""
        self._closed = True
        for subscription in [*self.ending]:
            subscription.close()
