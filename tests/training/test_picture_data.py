from pathlib import Path

import numpy as np
import pytest

from engine.errors import BadMediaError
from tests.training.pairs import write_pairs
from training.picture_data import EMPHASIS, cut, picture_batches, read_pairs, vary


def test_no_pairs_says_how_to_render_some(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="koubo studio dataset"):
        read_pairs(tmp_path)


def test_emphasised_characters_come_more_often(tmp_path: Path) -> None:
    write_pairs(tmp_path, "Ada", 3)
    write_pairs(tmp_path, "Bob", 3)
    assert len(read_pairs(tmp_path)) == 6
    assert len(read_pairs(tmp_path, ["Ada"])) == 3 * EMPHASIS + 3
    with pytest.raises(BadMediaError, match="Cyd"):
        read_pairs(tmp_path, ["Cyd"])


def test_a_face_that_was_not_found_is_left_out(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, "Ada", 3)
    (folder / "faces.json").write_text('{"00001": [112.0, 118.0, 192.0, 0.0, 0.5, 0.5]}')
    assert len(read_pairs(tmp_path)) == 1


def test_idle_and_speaking_are_varied_alike(tmp_path: Path) -> None:
    write_pairs(tmp_path, "Ada", 4)
    pair = read_pairs(tmp_path)[0]
    for seed in range(6):
        idle, speaking, _ = vary(pair, 96, np.random.default_rng(seed))
        corner = np.abs(idle[:16].astype(int) - speaking[:16])
        assert corner.mean() < 2
        assert not np.array_equal(idle, cut(pair, 96)[0])


def test_batches_hold_the_input_the_live_engine_gives(tmp_path: Path) -> None:
    from engine.mouth.features import face_input

    write_pairs(tmp_path, "Ada", 4)
    pairs = read_pairs(tmp_path)
    batch = next(iter(picture_batches(pairs, 96, 4, (0, 0))))
    assert batch.face.shape == (4, 6, 96, 96)
    assert batch.target.shape == (4, 3, 96, 96)
    assert batch.face.abs().max() <= 1
    whole = ((batch.face[:, 3:].permute(0, 2, 3, 1).numpy() + 1) * 127.5).round().astype(np.uint8)
    np.testing.assert_allclose(face_input(whole), batch.face.numpy(), atol=1e-6)


def test_same_seed_same_batches(tmp_path: Path) -> None:
    write_pairs(tmp_path, "Ada", 8)
    pairs = read_pairs(tmp_path)
    first = next(iter(picture_batches(pairs, 96, 4, (3, 1))))
    again = next(iter(picture_batches(pairs, 96, 4, (3, 1))))
    other = next(iter(picture_batches(pairs, 96, 4, (3, 2))))
    assert first.face.equal(again.face)
    assert not first.face.equal(other.face)


def test_batches_go_on_at_any_step(tmp_path: Path) -> None:
    write_pairs(tmp_path, "Ada", 8)
    pairs = read_pairs(tmp_path)
    from_start = iter(picture_batches(pairs, 96, 4, (3, 1)))
    third = [next(from_start) for _ in range(3)][2]
    assert third.face.equal(next(iter(picture_batches(pairs, 96, 4, (3, 1), 2))).face)


def test_few_pairs_fill_a_batch_by_repeating(tmp_path: Path) -> None:
    write_pairs(tmp_path, "Ada", 2)
    assert next(iter(picture_batches(read_pairs(tmp_path), 96, 4, (0,)))).face.shape[0] == 4


def test_a_damaged_picture_is_told(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, "Ada", 1)
    (folder / "00000-idle.jpg").write_bytes(b"no picture")
    with pytest.raises(BadMediaError, match="damaged"):
        cut(read_pairs(tmp_path)[0], 96)
