"""A session without a server, for frameworks that run the presenter in their own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streaming.cast import Cast
from streaming.drawing import Workers
from streaming.metrics import Metrics
from streaming.server import open_cast
from streaming.session_table import SessionTable
from streaming.sessions import Session, Stage
from streaming.settings import Settings
from streaming.voices.espeak import EspeakVoice


@asynccontextmanager
async def open_session(
    avatar: str | None = None, settings: Settings | None = None, cast: Cast | None = None
) -> AsyncIterator[Session]:
    """A presenter that ticks until the block ends; the default avatar when none is named.

    `cast` stands in for the installed avatars. Raises NotFound or AvatarError.
    """
    settings = settings or Settings()
    metrics = Metrics()
    cast = cast or open_cast(settings, metrics)
    with Workers(settings.tick_workers, metrics) as workers:
        table = SessionTable(Stage(settings, cast, EspeakVoice(settings.default_voice), workers, metrics))
        try:
            yield await table.create(avatar)
        finally:
            await table.close()
