"""The matte of somebody in front of any wall, by MediaPipe's person segmenter (SelfieSegmentation).

The model (Apache-2.0) is not shipped and not fetched: KOUBO_SEGMENTER names the file, which the mediapipe
0.10.14 wheel carries as mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite.
"""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.anchor.matte import Plane
from engine.errors import MissingToolError

MODEL_SHA256 = "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c"

_RADIUS = 0.011  # of the filter that draws the matte to the picture's edges, share of the longer side
_SMOOTH = 1e-4  # contrast, squared, below which an edge of the picture counts as noise
_LEVELS = (0.3, 0.7)  # of the model's confidence: what is below is wall, what is above is person
_KEEP = 0.5  # share of the matte before that a still picture keeps, against flicker
_MOVED = 6.0  # levels of 255 by which a pixel that moves changes

Values = NDArray[np.float32]


class SegmenterMatter:
    """A Matter for any footage; a context manager."""

    def __init__(self, model: Path) -> None:
        """Raises MissingToolError without MediaPipe, or when `model` is another file than is known."""
        if not model.is_file():
            raise MissingToolError(
                f"KOUBO_SEGMENTER names {model}, which is no file; correct it or unset it."
            )
        if hashlib.sha256(model.read_bytes()).hexdigest() != MODEL_SHA256:
            raise MissingToolError(
                f"{model} is not the segmenter that Koubo knows; take selfie_segmentation.tflite out of a "
                "mediapipe 0.10.14 wheel."
            )
        self._segmenter = _segmenter(model)
        self._before: tuple[Picture, Values] | None = None

    def matte(self, rgb: Picture, timestamp_ms: int) -> Plane:
        """The matte uint8 (h, w), 255 for the person, of RGB uint8 (h, w, 3); timestamps must grow."""
        import mediapipe

        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        found = self._segmenter.segment_for_video(image, timestamp_ms).confidence_masks[0]
        coarse = np.asarray(found.numpy_view(), np.float32).reshape(rgb.shape[:2])
        fine = drawn_to_edges(coarse, rgb)
        low, high = _LEVELS
        matte = np.clip((fine - low) / (high - low), 0, 1)
        matte = self._steadied(rgb, matte)
        return np.asarray(np.rint(255 * matte), np.uint8)

    def _steadied(self, rgb: Picture, matte: Values) -> Values:
        """Mixed with the one before where the picture stands still."""
        if self._before is not None and self._before[0].shape == rgb.shape:
            change = cv2.absdiff(cv2.blur(rgb, (5, 5)), cv2.blur(self._before[0], (5, 5))).max(axis=2)
            keep = _KEEP * np.clip(1 - change.astype(np.float32) / _MOVED, 0, 1)
            matte = np.asarray(matte + (self._before[1] - matte) * keep, np.float32)
        self._before = (rgb, matte)
        return matte

    def close(self) -> None:
        """Give back the graph and its threads."""
        self._segmenter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def known_segmenter() -> Path | None:
    """The file that KOUBO_SEGMENTER names, if it is set."""
    named = os.environ.get("KOUBO_SEGMENTER")
    return Path(named) if named else None


def _segmenter(model: Path) -> Any:
    try:
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise MissingToolError(
            "A matte of any background needs MediaPipe, which is not installed; run `pip install mediapipe`."
        ) from error
    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        output_confidence_masks=True,
        output_category_mask=False,
    )
    return vision.ImageSegmenter.create_from_options(options)


def drawn_to_edges(coarse: Values, rgb: Picture) -> Values:
    """The coarse matte (h, w) with its edge where the picture has one: He, Sun and Tang's guided filter
    (2010), on brightness.
    """
    guide = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32) / 255
    side = 2 * max(2, round(_RADIUS * max(coarse.shape))) + 1

    def mean(values: NDArray[np.floating[Any]]) -> Values:
        return np.asarray(cv2.blur(values, (side, side)), np.float32)

    light, share = mean(guide), mean(coarse)
    slope = (mean(guide * coarse) - light * share) / (mean(guide * guide) - light * light + _SMOOTH)
    return np.asarray(np.clip(mean(slope) * guide + mean(share - slope * light), 0, 1), np.float32)
