"""A visitor who speaks while the presenter does: heard through the presenter's own echo."""

from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples, from_pcm16
from engine.speech.echo import ECHO_BLOCK, EchoCanceller
from engine.speech.gate import VoiceGate

_STEP = SAMPLE_RATE // 16
"""62 ms: ticks and packets come in steps, so for a moment either sound may be this far ahead."""

_WATCHED = SAMPLE_RATE
"""It must be so for a whole second to be taken for a shift."""

_APART = SAMPLE_RATE // 2
"""This far, they are out of step without a doubt: ticks stalled, or sound was lost."""

_KEPT = 3 * SAMPLE_RATE


class Turn(Enum):
    """What a visitor began to do."""

    STARTED = auto()
    STOPPED = auto()


class BargeIn:
    """Tells when a visitor begins and ceases to speak. No clock and no sleeping here.

    `said` takes every tick's sound, `heard` the visitor's microphone as it comes. Only what is not the
    presenter's echo counts. The gate opens 60 to 80 ms after a voice begins.
    """

    def __init__(self) -> None:
        self._canceller = EchoCanceller()
        self._gate = VoiceGate(2, open_frames=3, hang_frames=25)
        self._line: Samples = np.zeros(0, np.float32)
        self._next_slot: int | None = None
        self._pending: Samples = np.zeros(0, np.float32)
        self._leads: list[int] = []
        self._watched = 0
        self.speaking = False

    def said(self, slot: int, sound: NDArray[np.int16]) -> None:
        """The sound of a tick, int16 (640,), that left in this slot; slots that were skipped were silent."""
        skipped = 0 if self._next_slot is None else slot - self._next_slot
        self._next_slot = slot + 1
        silence = np.zeros(min(skipped * SAMPLES_PER_TICK, _KEPT), np.float32)
        self._line = np.concatenate([self._line, silence, from_pcm16(sound)])[-_KEPT:]

    def heard(self, samples: Samples) -> list[Turn]:
        """Sound of the visitor's microphone, float32 in [-1, 1] at 16 kHz, any length, lost packets included
        as silence.
        """
        self._pending = np.concatenate([self._pending, samples])
        self._keep_step(samples.size)
        turns: list[Turn] = []
        while min(self._pending.size, self._line.size) >= ECHO_BLOCK:
            heard, self._pending = self._pending[:ECHO_BLOCK], self._pending[ECHO_BLOCK:]
            played, self._line = self._line[:ECHO_BLOCK], self._line[ECHO_BLOCK:]
            for is_open in self._gate.push(self._canceller.push(heard, played)):
                if is_open != self.speaking:
                    self.speaking = is_open
                    turns.append(Turn.STARTED if is_open else Turn.STOPPED)
        return turns

    def _keep_step(self, samples: int) -> None:
        """See that what is compared left and came at the same time.

        Both are counted in samples, for that is steady where arrivals are not. Only when one has been ahead
        of the other for long, by clocks that differ or by lost sound, are they set side by side anew.
        """
        self._leads.append(self._line.size - self._pending.size)
        self._watched += samples
        apart = abs(self._leads[-1]) > _APART
        if self._watched < _WATCHED and not apart:
            return
        if apart or min(self._leads) > _STEP or max(self._leads) < -_STEP:
            size = min(self._line.size, self._pending.size)
            self._line = self._line[self._line.size - size :]
            self._pending = self._pending[self._pending.size - size :]
            self._canceller.doubt()
        self._leads.clear()
        self._watched = 0
