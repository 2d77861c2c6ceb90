"""A small queue between a producer that never waits and one consumer that does."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The mailbox is closed and nothing will come."""


class Mailbox(Generic[T]):
    """Holds at most `size` items; when full, the oldest gives way, so that a slow consumer never lags.

    Belongs to one event loop. `generation` counts the times it was emptied, so that a consumer that holds an
    item back can tell whether that item has been revoked meanwhile.
    """

    def __init__(self, size: int) -> None:
        self._items: deque[T] = deque(maxlen=size)
        self._ready = asyncio.Event()
        self._closed = False
        self.generation = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Add an item; a closed mailbox takes none."""
        if self._closed:
            return
        self.dropped += len(self._items) == self._items.maxlen
        self._items.append(item)
        self._ready.set()

    async def get(self) -> T:
        """The oldest item, waiting for one. Raises Closed."""
        while not self._items:
            if self._closed:
                raise Closed
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()

    def clear(self) -> int:
        """Empty it at once; returns how many items were dropped."""
        count = len(self._items)
        self._items.clear()
        self.generation += 1
        return count

    def close(self) -> None:
        """Empty it for good and wake the consumer."""
        self.clear()
        self._closed = True
        self._ready.set()
