"""What goes into a mouth and comes out; the anchor's features."""

import threading

import numpy as np
import pytest

from engine.anchor.crop import input_mask
from engine.anchor.package import Avatar
from engine.mouth.features import AnchorFeatures, face_input, to_pictures
from tests.fakes import FRAMES, SIZE, FakeMouth


def test_the_input_is_the_masked_and_the_whole_crop() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    tensor = face_input(faces)
    assert tensor.dtype == np.float32
    assert tensor.shape == (2, 6, SIZE, SIZE)
    whole = faces.transpose(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_allclose(tensor[:, 3:], whole, atol=1e-6)
    hidden = input_mask(SIZE)
    assert (tensor[:, :3, hidden] == 0).all()
    np.testing.assert_array_equal(tensor[:, :3, ~hidden], tensor[:, 3:, ~hidden])


def test_pictures_come_back_from_their_tensor_and_are_clipped() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_pictures(face_input(faces)[:, 3:]), faces)
    extremes = np.array([-3, 3, 0], np.float32).reshape(1, 3, 1, 1)
    assert to_pictures(extremes).ravel().tolist() == [0, 255, 128]


def test_features_are_computed_once_and_lazily(avatar: Avatar) -> None:
    mouth = FakeMouth()
    features = AnchorFeatures(avatar, mouth)
    assert (len(features), mouth.encoded) == (0, 0)
    first = features[4]
    assert features[4] is first
    assert (len(features), mouth.encoded) == (1, 1)
    np.testing.assert_array_equal(first[0], avatar.face(4))
    features.fill()
    assert (len(features), mouth.encoded) == (FRAMES, FRAMES)


def test_threads_share_the_work(avatar: Avatar) -> None:
    mouth = FakeMouth()
    features = AnchorFeatures(avatar, mouth)
    threads = [threading.Thread(target=features.fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mouth.encoded == FRAMES


def test_a_mouth_of_another_size_is_refused(avatar: Avatar) -> None:
    with pytest.raises(ValueError, match="96 px"):
        AnchorFeatures(avatar, FakeMouth(96))
