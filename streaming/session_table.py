"""Every session of a server."""

import asyncio
import logging
from collections import Counter

from streaming.drawing import MouthRoom
from streaming.errors import Busy, NotFound
from streaming.pacing import SPREAD
from streaming.sessions import Session, Stage

logger = logging.getLogger(__name__)

_IN_USE_S = 5.0
"""Long enough for who has just opened a session, or lost a connection to it, to connect."""


class SessionTable:
    """Every session of a server, by id."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._room = MouthRoom(stage.workers, stage.metrics)
        self._sessions: dict[str, Session] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._entering = 0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def in_use(self) -> int:
        """Sessions used in the last seconds; a server that is about to stop waits for these."""
        return sum(session.idle_s < _IN_USE_S for session in self._sessions.values())

    @property
    def on_stage(self) -> set[str]:
        """Names of the avatars that sessions show."""
        return {session.part.role.name for session in self._sessions.values()}

    @property
    def viewers(self) -> int:
        """Viewers of all sessions together."""
        return sum(len(session.viewers) for session in self._sessions.values())

    @property
    def outlets(self) -> Counter[tuple[str, str]]:
        """Outlets of all sessions together, by (kind, state)."""
        entries = (entry for session in self._sessions.values() for entry in session.outlets.list())
        return Counter((entry.kind, entry.state.value) for entry in entries)

    @property
    def encoders(self) -> Counter[str]:
        """Open picture encoders of all sessions together, by codec."""
        return Counter(codec for session in self._sessions.values() for codec in session.encoders.codecs)

    async def create(self, avatar: str | None) -> Session:
        """Open a session. Raises NotFound, AvatarError, or Busy when there are too many."""
        self._stage.drain.admit()
        limit = self._stage.settings.max_sessions
        if len(self._sessions) + self._entering >= limit:
            raise Busy(
                f"All {limit} sessions of this server are taken; end one or try again later.",
                {"Retry-After": "10"},
            )
        self._entering += 1
        try:
            part = await self._stage.cast.enter(avatar)
        finally:
            self._entering -= 1
        session = Session(part, self._stage, self._room, self._phase())
        life = asyncio.create_task(session.run(), name=f"session-{session.id}")
        self._sessions[session.id] = session
        self._lives[session.id] = life
        life.add_done_callback(lambda task: self._ended(session.id, task))
        return session

    def _phase(self) -> int:
        """The phase that the fewest sessions have, far from the others."""
        taken = Counter(session.phase for session in self._sessions.values())
        return min(SPREAD, key=taken.__getitem__)

    def get(self, session_id: str) -> Session:
        """A session by id. Raises NotFound."""
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound("There is no such session; it may have ended.")
        return session

    async def end(self, session_id: str) -> None:
        """End a session and wait until nothing of it is left. Raises NotFound."""
        self.get(session_id)
        del self._sessions[session_id]
        life = self._lives[session_id]
        life.cancel()
        await asyncio.wait([life])

    async def close(self) -> None:
        """End every session."""
        await asyncio.gather(*(self.end(session_id) for session_id in list(self._sessions)))

    def _ended(self, session_id: str, life: asyncio.Task[None]) -> None:
        self._sessions.pop(session_id, None)
        del self._lives[session_id]
        if not life.cancelled() and (error := life.exception()) is not None:
            logger.error("a session ended by a fault of the server", exc_info=error)
