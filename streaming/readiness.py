"""Whether new sessions should be sent to this server."""

import asyncio
import gc
import logging

from engine.errors import KouboError
from streaming.cast import Cast

RETRY_S = 10.0
"""Seconds until the default presenter is tried again after a fault."""

logger = logging.getLogger(__name__)


class Readiness:
    """Loads the default presenter, and knows what stands in the way until that is done."""

    def __init__(self, cast: Cast, retry_s: float = RETRY_S) -> None:
        self._cast = cast
        self._retry_s = retry_s
        self.obstacle: str | None = "The default presenter is still being loaded."
        """One sentence, None once the first session can be opened without waiting."""

    async def run(self) -> None:
        """Load it; after a fault that may be mended (a missing file, say) try again until it works."""
        while True:
            try:
                await self._cast.warm_up()
            except KouboError as error:
                if self.obstacle != str(error):
                    logger.warning("the default presenter is not ready: %s", error)
                self.obstacle = str(error)
                await asyncio.sleep(self._retry_s)
            else:
                _spare_the_collector()
                self.obstacle = None
                break
        try:
            await self._cast.fill()
        except KouboError as error:
            logger.warning("the default presenter was not made ready to its end: %s", error)


def _spare_the_collector() -> None:
    """What is there now stays: collections, during which nothing ticks, need not go through it each time."""
    gc.collect()
    gc.freeze()
