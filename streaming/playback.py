"""What of each utterance was really heard. No clock and no sleeping here: ticks are the only time."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, Samples
from streaming.cast import Presenter
from streaming.events import Event, Events, SpeakEnded, SpeakStarted


@dataclass(slots=True, eq=False)
class _Utterance:
    name: str
    parts: deque[tuple[int, int]] = field(default_factory=deque)
    """Stretches of the line not yet heard, (start, end) in samples."""
    played: int = 0
    started: bool = False
    closed: bool = False


class PlaybackLedger:
    """Which samples of the line belong to which utterance, and which of them have left.

    The line is the one that `LiveAvatar.push` and `Tick.position` count on, in samples at 16 kHz.
    """

    def __init__(self) -> None:
        self._utterances: list[_Utterance] = []
        self.played = 0
        """Samples of all utterances together that have left."""

    def __contains__(self, name: str) -> bool:
        return any(utterance.name == name for utterance in self._utterances)

    def __len__(self) -> int:
        return len(self._utterances)

    def open(self, name: str) -> None:
        """An utterance begins; its sound follows."""
        self._utterances.append(_Utterance(name))

    def add(self, name: str, end: int, samples: int) -> None:
        """So many samples of an utterance were pushed; they end at `end` on the line."""
        self._find(name).parts.append((end - samples, end))

    def close(self, name: str) -> list[Event]:
        """No more of this utterance will come. It ends here when all of it has been heard already."""
        self._find(name).closed = True
        return self._ended()

    def advance(self, position: int, slot: int) -> list[Event]:
        """A tick of this slot has left, and the line is at `position`."""
        told: list[Event] = []
        for utterance in self._utterances:
            while utterance.parts and utterance.parts[0][0] < position:
                start, end = utterance.parts.popleft()
                utterance.played += min(end, position) - start
                self.played += min(end, position) - start
                if end > position:
                    utterance.parts.appendleft((position, end))
            if utterance.played and not utterance.started:
                utterance.started = True
                told.append(SpeakStarted(utterance.name, slot / FRAME_RATE))
        return told + self._ended()

    def cut(self, names: Iterable[str] | None = None) -> list[Event]:
        """What has not left never will: end these utterances, all of them by default."""
        wanted = None if names is None else set(names)
        cut = [u for u in self._utterances if wanted is None or u.name in wanted]
        self._utterances = [u for u in self._utterances if u not in cut]
        return [SpeakEnded(u.name, _ms(u.played), interrupted=True) for u in cut]

    def _find(self, name: str) -> _Utterance:
        return next(utterance for utterance in self._utterances if utterance.name == name)

    def _ended(self) -> list[Event]:
        ended: list[_Utterance] = []
        behind = False
        for utterance in self._utterances:
            behind |= bool(utterance.parts)
            # One without sound waits its turn, too.
            if utterance.closed and not utterance.parts and (utterance.played or not behind):
                ended.append(utterance)
        self._utterances = [u for u in self._utterances if u not in ended]
        return [SpeakEnded(u.name, _ms(u.played), interrupted=False) for u in ended]


def _ms(samples: int) -> float:
    return 1000 * samples / SAMPLE_RATE


class Playback:
    """The spoken line of one session: who says what on it, and what of it was heard.

    Texts come through `say`, the sound of a producer through `push` and `finish`. Belongs to the event loop.
    """

    def __init__(self, presenter: Presenter, events: Events) -> None:
        self._presenter = presenter
        self._events = events
        self._ledger = PlaybackLedger()
        self._numbers = count(1)
        self._text: str | None = None
        self._texts: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether any utterance has begun and not ended."""
        return len(self._ledger) > 0

    @property
    def played(self) -> int:
        """Samples of utterances that have left; the rest of the sound was silence or a microphone."""
        return self._ledger.played

    @property
    def text_is_heard(self) -> bool:
        """Whether sound of a text is on the line."""
        return any(self.has(name) for name in self._texts)

    def has(self, utterance: str) -> bool:
        """Whether an utterance of this name has begun and not ended."""
        return utterance in self._ledger

    def say(self, samples: Samples | None) -> None:
        """The next piece of a text's sound; None ends the text. Texts are named text-1, text-2, ..."""
        if samples is None:
            if self._text is not None:
                self.finish(self._text)
            self._text = None
            return
        if self._text is None:
            self._texts = set(filter(self.has, self._texts))
            self._text = f"text-{next(self._numbers)}"
            self._texts.add(self._text)
            self.open(self._text)
        self.push(self._text, samples)

    def open(self, utterance: str) -> None:
        """An utterance begins."""
        self._ledger.open(utterance)

    def push(self, utterance: str, samples: Samples) -> None:
        """Put sound of an open utterance at the end of the line."""
        self._ledger.add(utterance, self._presenter.push(samples), samples.size)

    def finish(self, utterance: str) -> None:
        """An open utterance ends here."""
        self._presenter.finish()
        self._publish(self._ledger.close(utterance))

    def left(self, position: int, slot: int) -> None:
        """A tick of this slot has left, its sound ending at `position` of the line."""
        self._publish(self._ledger.advance(position, slot))

    def cut(self, utterances: Iterable[str] | None = None) -> None:
        """These utterances, all by default, were taken off the line: they are over."""
        if utterances is None:
            self._text = None
        self._publish(self._ledger.cut(utterances))

    def _publish(self, told: list[Event]) -> None:
        for event in told:
            self._events.publish(event)
