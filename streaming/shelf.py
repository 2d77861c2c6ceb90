"""A bounded store of what is costly to load. No clock here: times are arguments."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Shelf(Generic[Key, Item]):
    """Keeps what was asked for last: as much as weighs `limit`, and for `keep_s` seconds.

    What somebody still holds is found here all the same, and weighs nothing more.
    """

    def __init__(self, limit: float, keep_s: float, weigh: Callable[[Item], float]) -> None:
        self._limit = limit
        self._keep_s = keep_s
        self._weigh = weigh
        self._alive: WeakValueDictionary[Key, Item] = WeakValueDictionary()
        self._kept: OrderedDict[Key, tuple[Item, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many it keeps by itself."""
        return len(self._kept)

    def __contains__(self, key: object) -> bool:
        """Whether there is one, kept here or held by somebody."""
        return key in self._alive

    def get(self, key: Key, now: float) -> Item | None:
        """The item, which is kept from `now` on again; None when there is none any more."""
        item = self._alive.get(key)
        if item is not None:
            self.put(key, item, now)
        return item

    def put(self, key: Key, item: Item, now: float) -> None:
        """Keep an item, in the place of another of that key."""
        self._alive[key] = item
        self._kept[key] = item, now
        self._kept.move_to_end(key)

    def clear(self) -> None:
        """Let go of all that it keeps by itself."""
        self._kept.clear()

    def trim(self, now: float) -> None:
        """Let go of what was not asked for in time, then of the oldest until the rest is not too heavy."""
        for key, (_, since) in list(self._kept.items()):
            if now - since >= self._keep_s:
                del self._kept[key]
        weights = {key: self._weigh(item) for key, (item, _) in self._kept.items()}
        while sum(weights.values()) > self._limit:
            key, _ = self._kept.popitem(last=False)
            del weights[key]
