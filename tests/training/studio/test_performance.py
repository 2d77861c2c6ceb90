import numpy as np

from training.studio.performance import idle_loop, mouth_weights, perform
from training.studio.visemes import VISEMES

MOUTH = np.linspace(0, 1, 200 * len(VISEMES), dtype=np.float32).reshape(200, len(VISEMES))


def test_same_seed_same_take_and_another_differs() -> None:
    first, again, other = perform(MOUTH, 1), perform(MOUTH, 1), perform(MOUTH, 2)
    np.testing.assert_array_equal(first.head, again.head)
    np.testing.assert_array_equal(first.blink, again.blink)
    assert not np.array_equal(first.head, other.head)


def test_head_moves_little_and_smoothly() -> None:
    head = np.degrees(perform(MOUTH, 3).head)
    assert 0.5 < np.abs(head).max() < 8
    assert np.abs(np.diff(head, axis=0)).max() < 0.6


def test_eyes_blink_and_open_again() -> None:
    blink = perform(np.zeros((500, len(VISEMES)), np.float32), 4).blink
    assert blink.max() == 1
    assert np.mean(blink > 0) < 0.15


def test_idle_twin_shares_the_pose_and_rests_the_mouth() -> None:
    take = perform(MOUTH, 5)
    speaking, idle = take.spec(120), take.spec(120, speaking=False)
    assert speaking.bones == idle.bones
    assert speaking.face == idle.face
    assert idle.visemes == {}
    assert max(speaking.visemes.values()) > 0.3


def test_idle_loop_closes_without_a_jump() -> None:
    loop = idle_loop(275, 1)
    steps = np.abs(np.diff(np.concatenate([loop.head, loop.head[:1]]), axis=0)).max(axis=1)
    assert steps[-1] <= 1.2 * steps[:-1].max()
    assert loop.mouth.max() == 0
    assert loop.blink[0] == loop.blink[-1] == 0
    assert loop.blink.max() == 1


def test_mouth_weights_name_every_shape() -> None:
    weights = mouth_weights(np.ones(len(VISEMES), np.float32))
    assert set(weights) == set(VISEMES)
    assert weights["MPB"] == 1
    assert weights["AE_AA"] < 1
