"""Speech waiting to be spoken, and the mel windows and voice decisions that follow from it."""

import numpy as np

from engine.speech.audio import SAMPLES_PER_TICK, Samples
from engine.speech.gate import GATE_FRAME, VoiceGate
from engine.speech.mel import (
    HOP,
    LOOKAHEAD_SAMPLES,
    MEL_BANDS,
    N_FFT,
    SILENCE,
    WINDOW_COLUMNS,
    Mel,
    mel_column,
    window_start,
)

LIVE_SPARE_TICKS = 3
"""A microphone may run ahead of the look-ahead by this much; what is older is left out."""

_LIVE_CALM_TICKS = 1  # while nobody speaks, this much is enough
_STARVED_TICKS = 5  # a microphone silent for so long has stopped; its last words need not wait
_VOICE_FRAMES = 6  # the tick itself and, where known, two ticks ahead: the mouth opens before the sound
_LISTEN_FRAMES = _VOICE_FRAMES + 3  # the gate is sure of a frame only this much later
_HALF = N_FFT // 2
_HISTORY = 4 * SAMPLES_PER_TICK  # past sound that a window can reach: 3 ticks and half an FFT window


class SpeechBuffer:
    """What is to be heard, in one line from past to future; it knows no clock but its own ticks.

    Queued speech (from text) is never dropped. Live speech (a microphone) is kept short, and left out while
    queued speech waits. Each `advance` takes 640 samples of sound when they are there together with their
    look-ahead, silence otherwise; the mel windows see exactly the sound that was given out.
    """

    def __init__(self) -> None:
        self._tick = 0
        self.position = 0
        """Where the next sample lies on the line of all that was ever pushed; grows as sound is given out."""
        self._past: Samples = np.zeros(_HISTORY + 1, np.float32)
        self._queue: Samples = np.zeros(0, np.float32)
        self._flags: list[bool] = []  # voice or not, one per gate frame of the queue's beginning
        self._padding = 0  # samples of silence at the queue's end that only complete its look-ahead
        self._live = False
        self._starved = 0
        self._live_gate = VoiceGate()  # kept, for it knows the room
        self._text_gate = VoiceGate()
        self._columns: dict[int, Mel] = {}

    @property
    def backlog(self) -> int:
        """Samples of speech not yet given out."""
        return max(0, self._queue.size - self._padding)

    @property
    def ready(self) -> bool:
        """Whether the next tick has its sound and its look-ahead."""
        return self._queue.size >= LOOKAHEAD_SAMPLES

    @property
    def voiced(self) -> bool:
        """Whether somebody speaks in the next tick or in what it can see ahead."""
        self._listen(min(self._queue.size, _LISTEN_FRAMES * GATE_FRAME))
        return self.ready and any(self._flags[:_VOICE_FRAMES])

    def push(self, speech: Samples, *, live: bool) -> int:
        """Add float32 samples in [-1, 1]; returns where they end on the line that `position` walks."""
        if live and not self._live and self.backlog:
            return self.position + self._queue.size
        self._live = live
        self._padding = 0  # after a finished speech, the silence that completed it becomes part of the line
        self._starved = 0
        self._queue = np.concatenate([self._queue, speech.astype(np.float32, copy=False)])
        if live:
            self._listen(self._queue.size)
            self._trim()
        return self.position + self._queue.size

    def finish(self) -> None:
        """The speech ends here: complete its last ticks with silence, so that they need not wait."""
        if not self.backlog:
            return
        whole = -self._queue.size % SAMPLES_PER_TICK
        padding = whole + LOOKAHEAD_SAMPLES
        self._queue = np.concatenate([self._queue, np.zeros(padding, np.float32)])
        self._padding += padding

    def clear(self) -> int:
        """Forget everything that waits; the number of samples of speech dropped."""
        dropped = self.backlog
        self._drop_queue()
        self._past[:] = 0
        self._columns.clear()
        return dropped

    def advance(self) -> Samples:
        """The sound of the next tick, float32 (640,); silence when its speech is not there yet."""
        self._tick += 1
        if self.ready:
            sound = self._queue[:SAMPLES_PER_TICK]
            self._take(SAMPLES_PER_TICK)
        else:
            sound = np.zeros(SAMPLES_PER_TICK, np.float32)
            self._columns.clear()  # those ahead saw sound that now comes later
            self._starve()
        self._past = np.concatenate([self._past[SAMPLES_PER_TICK:], sound])
        if self._queue.size <= self._padding:
            self._drop_queue()
        return sound

    def window(self) -> Mel:
        """The mel window float32 (80, 16) of the next tick; call when `ready`, before `advance`."""
        start = window_start(self._tick)
        self._columns = {k: column for k, column in self._columns.items() if k >= start}
        origin = self._tick * SAMPLES_PER_TICK - self._past.size  # sample number of the line's first sample
        line = np.concatenate([self._past, self._queue[:LOOKAHEAD_SAMPLES]])
        for k in range(start, start + WINDOW_COLUMNS):
            if k not in self._columns:
                first = k * HOP - _HALF - 1 - origin
                self._columns[k] = self._column(k, line[first : first + N_FFT + 1])
        return np.stack([self._columns[k] for k in range(start, start + WINDOW_COLUMNS)], axis=1)

    def _column(self, number: int, span: Samples) -> Mel:
        # Before the first column there is silence by definition, as in `mel.window`.
        return mel_column(span) if number >= 0 else np.full(MEL_BANDS, SILENCE, np.float32)

    def _listen(self, limit: int) -> None:
        """Let the gate hear the queue up to `limit` samples; never further, so that a long text costs no
        time.
        """
        gate = self._live_gate if self._live else self._text_gate
        heard = len(self._flags) * GATE_FRAME
        for is_open in gate.push(self._queue[heard : limit - limit % GATE_FRAME]):
            self._flags.append(is_open)
            if is_open and len(self._flags) > 1 and not self._flags[-2]:
                # The gate opens late; the voice began with the frames that opened it.
                begin = max(0, len(self._flags) - gate.delay_frames)
                self._flags[begin:] = [True] * (len(self._flags) - begin)

    def _take(self, count: int) -> None:
        self._queue = self._queue[count:]
        self.position += count
        self._flags = self._flags[count // GATE_FRAME :]

    def _trim(self) -> None:
        """Keep a microphone's delay bounded: leave out silence first, then the oldest speech."""
        calm = LOOKAHEAD_SAMPLES + _LIVE_CALM_TICKS * SAMPLES_PER_TICK
        limit = LOOKAHEAD_SAMPLES + LIVE_SPARE_TICKS * SAMPLES_PER_TICK
        while self._queue.size - GATE_FRAME >= calm and False in self._flags:
            self._cut(self._flags.index(False))
        while self._queue.size > limit:
            self._cut(0)

    def _cut(self, frame: int) -> None:
        start = frame * GATE_FRAME
        self._queue = np.concatenate([self._queue[:start], self._queue[start + GATE_FRAME :]])
        self.position += GATE_FRAME
        del self._flags[frame]
        self._columns.clear()

    def _starve(self) -> None:
        self._starved += 1
        if self._live and self._starved == _STARVED_TICKS:
            self.finish()

    def _drop_queue(self) -> None:
        self.position += self._queue.size
        self._queue = np.zeros(0, np.float32)
        self._flags = []
        self._padding = 0
        self._live = False
        self._text_gate = VoiceGate()
