"""What is kept of what was loaded, and what is let go. Time is an argument."""

import gc

import pytest

from streaming.shelf import Shelf


class Thing:
    """Something that weighs."""

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight


@pytest.fixture
def shelf() -> Shelf[str, Thing]:
    return Shelf(10.0, 100.0, lambda thing: thing.weight)


def put(shelf: Shelf[str, Thing], name: str, weight: float, now: float) -> None:
    """Put a thing that nobody else holds."""
    shelf.put(name, Thing(weight), now)


def names(shelf: Shelf[str, Thing], *asked: str) -> list[str]:
    """Those that are still there, without asking for them anew."""
    gc.collect()
    return [name for name in asked if name in shelf]


def test_what_was_put_is_found(shelf: Shelf[str, Thing]) -> None:
    thing = Thing()
    shelf.put("a", thing, 0.0)
    assert shelf.get("a", 1.0) is thing
    assert shelf.get("b", 1.0) is None


def test_what_nobody_asks_for_is_let_go_in_time(shelf: Shelf[str, Thing]) -> None:
    put(shelf, "a", 1, 0.0)
    put(shelf, "b", 1, 50.0)
    shelf.trim(99.0)
    assert names(shelf, "a", "b") == ["a", "b"]
    shelf.trim(100.0)
    assert names(shelf, "a", "b") == ["b"]
    assert shelf.get("b", 120.0)
    shelf.trim(160.0)
    assert names(shelf, "b") == ["b"], "asking for it keeps it longer"
    shelf.trim(220.0)
    assert names(shelf, "b") == []


def test_the_oldest_give_way_to_the_weight_of_others(shelf: Shelf[str, Thing]) -> None:
    for number, name in enumerate("abcd"):
        put(shelf, name, 4, float(number))
    shelf.trim(4.0)
    assert names(shelf, *"abcd") == ["c", "d"]
    assert len(shelf) == 2


def test_what_is_too_heavy_alone_is_not_kept(shelf: Shelf[str, Thing]) -> None:
    put(shelf, "a", 11, 0.0)
    shelf.trim(0.0)
    assert names(shelf, "a") == []


def test_weights_may_grow(shelf: Shelf[str, Thing]) -> None:
    growing = Thing(1)
    put(shelf, "a", 4, 0.0)
    shelf.put("b", growing, 1.0)
    shelf.trim(1.0)
    assert names(shelf, "a", "b") == ["a", "b"]
    growing.weight = 7
    shelf.trim(1.0)
    assert names(shelf, "a", "b") == ["b"]


def test_what_somebody_holds_is_found_though_it_is_not_kept(shelf: Shelf[str, Thing]) -> None:
    held = Thing(4)
    shelf.put("a", held, 0.0)
    shelf.trim(500.0)
    assert len(shelf) == 0
    assert shelf.get("a", 501.0) is held
    assert len(shelf) == 1, "and kept again"
    shelf.trim(1000.0)
    del held
    assert names(shelf, "a") == []


def test_another_of_the_same_name_takes_its_place(shelf: Shelf[str, Thing]) -> None:
    old, new = Thing(6), Thing(6)
    shelf.put("a", old, 0.0)
    shelf.put("a", new, 1.0)
    shelf.trim(1.0)
    assert shelf.get("a", 2.0) is new
    assert len(shelf) == 1
