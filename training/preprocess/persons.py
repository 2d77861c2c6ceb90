"""Step 5, persons: clips whose faces are alike belong to one person."""

from collections.abc import Sequence

import numpy as np

from training.preprocess.dlib_embedder import DlibEmbedder
from training.preprocess.embedder import FaceEmbedder, Vector
from training.preprocess.hog_embedder import HogEmbedder

SAMPLES_PER_CLIP = 5
"""Pictures of a clip whose vectors are averaged."""


def make_embedder(name: str) -> FaceEmbedder:
    """The embedder called `name`: dlib or hog. Raises MissingToolError, ValueError for another name."""
    if name == "dlib":
        return DlibEmbedder()
    if name == "hog":
        return HogEmbedder()
    raise ValueError(f"there is no embedder called {name}")


def moments(pictures: int) -> list[int]:
    """The pictures of a clip that are embedded, evenly spaced."""
    return sorted({round(p) for p in np.linspace(0, pictures - 1, SAMPLES_PER_CLIP + 2)[1:-1]})


def group(vectors: Sequence[Vector], threshold: float) -> list[int]:
    """A number for each vector, equal for one person; persons are numbered by their first vector, from 1.

    Agglomerative clustering by mean distance, so the result depends on the vectors, not on their order
    (order decides the numbers alone).
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(vectors) < 2:
        return [1] * len(vectors)
    tree = linkage(np.stack(vectors).astype(np.float64), method="average")
    labels = fcluster(tree, threshold, criterion="distance")
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(label), len(numbers) + 1) for label in labels]
