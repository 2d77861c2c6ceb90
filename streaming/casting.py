"""Who is on stage in one session: its avatar, the change to another, and the clips that are asked for."""

import asyncio
import logging
import time
from collections.abc import Callable

from engine.errors import AvatarError, KouboError
from engine.live import Tick
from engine.picture.label import LabelStyle
from engine.picture.yuv import Frame
from engine.speech.audio import FRAME_RATE
from streaming.cast import Cast, Part, Role
from streaming.cut_out import CutOuts
from streaming.errors import Conflict, NotFound, Unprocessable
from streaming.events import AvatarChanged, ClipEnded, ClipStarted, Events

logger = logging.getLogger(__name__)

_REST = 3.0
"""How long the background rests after a piece of work, in times of what that took."""

_NOTHING_S = 0.0005
"""Work that took less was done before."""


class Casting:
    """The part of one session. Belongs to the event loop, but for `draw`.

    `core` is held while a tick is computed; `cut_out` is true while anybody sees the presenter cut out.
    """

    def __init__(
        self,
        part: Part,
        cast: Cast,
        events: Events,
        core: asyncio.Lock,
        label: LabelStyle | None,
        cut_out: Callable[[], object],
    ) -> None:
        self.part = part
        self._cast = cast
        self._events = events
        self._core = core
        self._label = label
        self._cut_out = cut_out
        self._cut_outs = CutOuts(part.role.mattes, label)
        self._changing = False
        self._changed = asyncio.Event()
        self._arrived = True
        self.clip: str | None = None
        """The greeting or gesture that is being shown."""

    @property
    def role(self) -> Role:
        """The avatar that is on stage now."""
        return self.part.role

    async def change(self, name: str) -> None:
        """Have another avatar take over, in pictures of the same size; the one before goes on meanwhile.

        Raises NotFound, Unprocessable for a damaged one, Conflict while another change is under way.
        """
        self._refuse_while_changing()
        self._changing = True
        try:
            role, cut_outs = await self._prepare(name)
            if role.loaded is self.role.loaded:
                return
            async with self._core:
                role.join(self.part.presenter)
                self.part = Part(self.part.presenter, role)
                self._cut_outs = cut_outs
                self._arrived = False
        finally:
            self._changing = False
        self._changed.set()

    async def prepare(self, name: str) -> None:
        """Load what a change to this avatar needs, so that it is quick. Raises NotFound or Unprocessable."""
        await self._prepare(name)

    def show(self, name: str) -> None:
        """Ask for a clip. Raises NotFound, or Conflict when it is on already."""
        clip = next((clip for clip in self.role.clips if clip.name == name), None)
        if clip is None:
            known = ", ".join(clip.name for clip in self.role.clips)
            raise NotFound(f"This presenter has no clip {name!r}; it has {known}.")
        self._refuse_while_changing()
        if not self.part.presenter.show(name) and _is_shown_once(clip.kind):
            raise Conflict(f"The clip {name} is being shown, or waits for it, already.")

    def greet(self) -> None:
        """Show the greeting of the avatar, if it has one."""
        greeting = next((clip.name for clip in self.role.clips if clip.kind == "greeting"), None)
        if greeting:
            self.part.presenter.show(greeting)

    def left(self, tick: Tick, slot: int) -> None:
        """A tick has left: tell what began or ended with it."""
        at = slot / FRAME_RATE
        shown = next((clip for clip in self.role.clips if clip.name == tick.clip), None)
        clip = shown.name if shown and _is_shown_once(shown.kind) else None
        if self.clip and (self.clip != clip or not self._arrived):
            self._events.publish(ClipEnded(self.clip, at))
            self.clip = None
        if not self._arrived:
            self._arrived = True
            self._events.publish(AvatarChanged(self.role.name, at))
        if clip and clip != self.clip:
            self._events.publish(ClipStarted(clip, at))
        self.clip = clip

    async def load_mattes(self) -> None:
        """Have mattes at hand. Raises Unprocessable where the presenter has none, or AvatarError."""
        await self._cut_outs.load()

    def drawer(self, bare: Tick) -> Callable[[], Frame]:
        """What draws this tick cut out, whoever is on stage by then."""
        cut_outs = self._cut_outs
        return lambda: cut_outs.draw(bare)

    async def warm(self) -> None:
        """Compute in small steps what the avatar on stage will need, until cancelled."""
        while True:
            self._changed.clear()
            try:
                await self._warm(self.role)
            except KouboError as error:
                logger.warning("the presenter %s was not made ready: %s", self.role.name, error)
            await self._changed.wait()

    async def _prepare(self, name: str) -> tuple[Role, CutOuts]:
        try:
            role = await self._cast.role(name, self.part.size)
            cut_outs = CutOuts(role.mattes, self._label, self.role.mattes)
            if role.mattes and self._cut_out():
                await cut_outs.load()
        except AvatarError as error:
            raise Unprocessable(str(error)) from error
        return role, cut_outs

    async def _warm(self, role: Role) -> None:
        at_once, later = role.loaded.frames()
        for frame in (*at_once, *later):
            took = await asyncio.to_thread(_timed, role, frame)
            if role is not self.role:
                return
            if took > _NOTHING_S:
                await asyncio.sleep(_REST * took)

    def _refuse_while_changing(self) -> None:
        if self._changing:
            raise Conflict("The presenter of this session is being changed; try again in a moment.")


def _is_shown_once(kind: str) -> bool:
    return kind in ("greeting", "gesture")


def _timed(role: Role, frame: int) -> float:
    start = time.perf_counter()
    role.loaded.warm(frame)
    return time.perf_counter() - start
