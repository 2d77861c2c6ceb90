"""Surveys of footage that nobody filmed: a good one, to be spoilt by each test."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from engine.anchor.crop import Points
from engine.anchor.survey import THUMB, Survey
from engine.picture.source import Source
from tests.turned_faces import turned_face

SIZE = (640, 480)
GOOD_SOURCE = Source(640, 480, 25.0, 20.0, 0, hdr=False, sound=True, codec="h264")


def good_survey(pictures: int = 500, source: Mapping[str, Any] | None = None, **changes: Any) -> Survey:
    """A face at rest in the middle, well lit, whose owner speaks in the second half. `source` changes facts
    of the file, `changes` fields of the survey; a number stands for all its pictures.
    """

    def all_of(value: float) -> Any:
        return np.full(pictures, value, np.float32)

    face = turned_face((320, 180), 110)
    landmarks: list[Points | None] = [face] * pictures
    voiced = np.zeros(pictures, np.bool_)
    voiced[pictures // 2 :] = True
    fields: dict[str, Any] = {
        "landmarks": landmarks,
        "jaw_open": all_of(0.02),
        "yaw": all_of(2),
        "pitch": all_of(-1),
        "faces": np.ones(pictures, np.uint8),
        "sharpness": all_of(200),
        "brightness": all_of(120),
        "contrast": all_of(45),
        "shade": all_of(1.1),
        "covered": all_of(0),
        "thumbs": np.full((pictures, THUMB, THUMB), 90, np.uint8),
        "loudness": all_of(-30),
        "voiced": voiced,
    }
    for name, value in changes.items():
        fields[name] = all_of(value) if isinstance(value, int | float) else value
    facts = replace(GOOD_SOURCE, duration_s=pictures / 25)
    return Survey(source=replace(facts, **(source or {})), size=SIZE, **fields)


def without_face(survey: Survey, first: int, last: int) -> Survey:
    """The survey with no face in pictures `first` to `last` (exclusive)."""
    landmarks = list(survey.landmarks)
    landmarks[first:last] = [None] * (last - first)
    measured = {
        name: getattr(survey, name).copy()
        for name in ("jaw_open", "yaw", "pitch", "sharpness", "brightness", "contrast", "shade", "covered")
    }
    for values in measured.values():
        values[first:last] = np.nan
    faces = survey.faces.copy()
    faces[first:last] = 0
    return replace(survey, landmarks=landmarks, faces=faces, **measured)
