"""What a microphone hears besides the sound that was played to its room."""

import numpy as np
from numpy.typing import NDArray

from engine.speech.audio import SAMPLE_RATE, Samples

ECHO_BLOCK = SAMPLE_RATE // 50
"""320 samples, 20 ms: the step of the canceller."""

REACH_S = 0.64
"""Longest way of an echo that is modelled: delay and room together."""

_PARTS = round(REACH_S * SAMPLE_RATE / ECHO_BLOCK)
_BINS = ECHO_BLOCK + 1
_FORGET = 0.999**2  # a room that changes is followed within seconds
_DOUBT = 1.0  # variance of each coefficient before anything was learnt

# Found by trial: less, and echoes are heard as voices; more, and voices are taken for echoes.
_DOUBT_MARGIN = 4.0
_ALIKE_MARGIN = 16.0
_LINGER = 0.7  # of the echo's power per block, for a room longer than the model
_SCALE_STEP = 1.02
_SCALES = (0.25, 30.0)

_QUIET = 1e-6
_NOTHING = 1e-12

_Spectrum = NDArray[np.complex64]
_Power = NDArray[np.float32]


class EchoCanceller:
    """Learns how the played sound comes back, of unknown delay and gain, and takes it away.

    A partitioned-block frequency-domain Kalman filter (Enzner and Vary 2006, Kuech et al. 2014). It knows how
    much it does not know yet: that much of what remains is still taken for echo and suppressed, so it is
    silent, not wrong, before it has learnt. Somebody who speaks into the echo does not lead it astray. What
    is no louder than the echo may be at its frequency goes as well, so that shifts of phase do little harm.
    """

    def __init__(self) -> None:
        self._played: _Spectrum = np.zeros((_PARTS, _BINS), np.complex64)
        self._power: _Power = np.zeros((_PARTS, _BINS), np.float32)
        self._last: Samples = np.zeros(ECHO_BLOCK, np.float32)
        self._newest = 0
        self._room: _Spectrum = np.zeros((_PARTS, _BINS), np.complex64)
        self._doubt: _Power = np.full((_PARTS, _BINS), _DOUBT, np.float32)
        self._other: _Power = np.full(_BINS, _QUIET, np.float32)
        self._echo: _Power = np.zeros(_BINS, np.float32)
        self._scale: _Power = np.ones(_BINS, np.float32)
        self._constrained = 0

    def push(self, heard: Samples, played: Samples) -> Samples:
        """One block of both, float32 (320,) at 16 kHz; returns what in `heard` was not played, likewise.

        Block n of `played` must have left before, or when, block n of `heard` was recorded, by less than
        `REACH_S`, and always by about as much.
        """
        self._play(played)
        order = (self._newest + np.arange(_PARTS)) % _PARTS
        spoken, power = self._played[order], self._power[order]
        echo = np.fft.irfft(np.sum(spoken * self._room, axis=0))[ECHO_BLOCK:].astype(np.float32)
        rest = _spectrum(heard - echo)
        rest_power = _square(rest)
        unknown = 0.5 * np.sum(power * self._doubt, axis=0)
        self._learn(spoken, rest, rest_power, unknown)
        heard_power = _square(_spectrum(heard))
        self._expect(np.sum(power * _square(self._room), axis=0), heard_power)
        uncertain = _DOUBT_MARGIN * unknown / np.maximum(rest_power, _NOTHING)
        alike = _ALIKE_MARGIN * self._echo / np.maximum(heard_power, _NOTHING)
        kept = np.fft.irfft(rest * np.clip(1 - np.maximum(uncertain, alike), 0, 1))[ECHO_BLOCK:]
        return np.asarray(kept, np.float32)

    def _expect(self, modelled: _Power, heard: _Power) -> None:
        """How loud the echo should be, whatever its phase: clocks that differ spoil the phase alone."""
        sure = modelled > _QUIET
        louder = heard > self._scale * modelled
        self._scale[sure & louder] *= _SCALE_STEP
        self._scale[sure & ~louder] /= _SCALE_STEP
        np.clip(self._scale, *_SCALES, out=self._scale)
        self._echo = np.maximum(self._scale * modelled, _LINGER * self._echo)

    def doubt(self) -> None:
        """The two sounds have been shifted against each other: be careful until it is learnt anew."""
        self._doubt[:] = np.maximum(self._doubt, _DOUBT)

    def _play(self, played: Samples) -> None:
        self._newest = (self._newest - 1) % _PARTS
        block = np.concatenate([self._last, played]).astype(np.float32, copy=False)
        self._played[self._newest] = np.fft.rfft(block)
        self._power[self._newest] = _square(self._played[self._newest])
        self._last = played

    def _learn(self, spoken: _Spectrum, rest: _Spectrum, rest_power: _Power, unknown: _Power) -> None:
        self._other = np.maximum(0.8 * self._other + 0.2 * rest_power, _QUIET)
        gain = self._doubt * spoken.conj() / (2 * unknown + 2 * self._other)
        self._room += gain * rest
        self._doubt *= 1 - 0.5 * (gain * spoken).real
        self._doubt *= _FORGET
        self._doubt += (1 - _FORGET) * _square(self._room)
        # Each part is a filter of one block: bring one after the other back into that shape.
        part = np.fft.irfft(self._room[self._constrained])
        part[ECHO_BLOCK:] = 0
        self._room[self._constrained] = np.fft.rfft(part)
        self._constrained = (self._constrained + 1) % _PARTS


def _spectrum(block: Samples) -> _Spectrum:
    return np.fft.rfft(np.concatenate([np.zeros(ECHO_BLOCK, np.float32), block])).astype(np.complex64)


def _square(spectrum: _Spectrum) -> _Power:
    return np.asarray(spectrum.real**2 + spectrum.imag**2, np.float32)
