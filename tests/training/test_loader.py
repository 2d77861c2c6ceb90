import threading

import numpy as np
import pytest

from training.loader import Ahead, Random


def number(random: Random) -> int:
    return int(random.integers(1 << 40))


def taken(source: Ahead[int], count: int) -> list[int]:
    batches = iter(source)
    return [next(batches) for _ in range(count)]


def test_a_batch_is_a_function_of_its_number_alone() -> None:
    whole = taken(Ahead(number, (3, 0)), 20)
    assert whole == [number(np.random.default_rng([3, 0, step])) for step in range(20)]
    for start in (1, 7, 19):
        assert taken(Ahead(number, (3, 0), start), 20 - start) == whole[start:]


def test_ranks_and_seeds_see_different_batches() -> None:
    assert not set(taken(Ahead(number, (3, 0)), 9)) & set(taken(Ahead(number, (3, 1)), 9))
    assert not set(taken(Ahead(number, (3, 0)), 9)) & set(taken(Ahead(number, (4, 0)), 9))


def test_slow_batches_do_not_overtake() -> None:
    import time

    def slow(random: Random) -> int:
        value = number(random)
        time.sleep(0.02 * (value % 3))
        return value

    assert taken(Ahead(slow, (1,)), 12) == taken(Ahead(number, (1,)), 12)


def test_batches_are_made_ahead_by_threads() -> None:
    names: set[str] = set()

    def noted(random: Random) -> int:
        names.add(threading.current_thread().name)
        return 0

    taken(Ahead(noted, (0,)), 5)
    assert all(name.startswith("batches") for name in names)


def test_a_failing_batch_is_told_where_it_is_wanted() -> None:
    def failing(random: Random) -> int:
        raise ValueError("bad clip")

    with pytest.raises(ValueError, match="bad clip"):
        taken(Ahead(failing, (0,)), 1)


def test_threads_end_with_the_loop() -> None:
    batches = iter(Ahead(number, (0,)))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]
