"""`streaming.mouth_worker` with the fake mouth: `python -m tests.streaming.fake_mouth_worker ORDER`.

It keeps the contract, restrictions included, and misbehaves when it hears a mel window that is all of one of
these values.
"""

import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.anchor.crop import Picture
from engine.errors import AvatarError
from engine.mouth.region import Region
from engine.mouth.runtime import Features, MouthRuntime
from engine.speech.mel import Mel
from streaming.mouth_worker import main
from tests.fakes import FakeMouth

CRASH, RAISE, HANG, NAP = 101.0, 102.0, 103.0, 104.0
NAP_S = 0.3

COMMAND = (sys.executable, "-m", "tests.streaming.fake_mouth_worker")


class Faulty(FakeMouth):
    """A fake mouth with faults; a restricted one keeps and draws its region alone."""

    maps_key = "fake"

    def __init__(self, part: Region | None = None) -> None:
        super().__init__()
        self._part = part or Region.whole(self.size)

    @property
    def region(self) -> Region:
        return self._part

    def restricted(self, region: Region) -> MouthRuntime:
        return Faulty(region)

    def encode(self, faces: Picture) -> list[Features]:
        cut = faces[:, self._part.rows, self._part.columns]
        return [(face.astype(np.float16), np.array([face.mean()], np.float16)) for face in cut]

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        for mel in mels:
            _misbehave(float(mel[0, 0]) if np.all(mel == mel[0, 0]) else 0.0)
        whole = np.zeros((len(mels), self.size, self.size, 3), np.uint8)
        whole[:, self._part.rows, self._part.columns] = [face.astype(np.uint8) for face, _ in features]
        drawn = super().decode(mels, [(face,) for face in whole])
        pictures = np.zeros_like(drawn)
        pictures[:, self._part.rows, self._part.columns] = drawn[:, self._part.rows, self._part.columns]
        return pictures


def _misbehave(value: float) -> None:
    if value == CRASH:
        os.abort()
    if value == RAISE:
        raise RuntimeError("the driver is gone")
    if value == HANG:
        threading.Event().wait()
    if value == NAP:
        time.sleep(NAP_S)


def _open(folder: Path, runtime: str) -> tuple[MouthRuntime, str]:
    if not folder.is_dir():
        raise AvatarError(f"There is no mouth in {folder}; export one.")
    return Faulty(), f"The mouth runs on {runtime}."


if __name__ == "__main__":
    main(_open)
