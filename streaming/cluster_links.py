"""What a gateway knows of the replicas: a link to each, on which it hears how they do and that one is gone.

A process that dies closes its connections, so a gateway knows within milliseconds, long before anybody's
health checks; a machine that loses power says nothing, and is taken for gone after `SILENCE_S`.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from streaming.cluster_placement import Placement
from streaming.cluster_replica import LINK, SECRET_HEADER, read_load

SILENCE_S = 4.0
"""A replica that says nothing for so long is gone."""

_ASK_S = 0.5
"""How often the directory is asked."""

_CONNECT_S = 2.0
_ANSWER_S = 120.0
"""An answer may take as long as a presenter takes to load."""

_REMEMBERED = 10_000
"""Lost replicas that are told at once; of others a gateway asks the directory first."""

_FAULTS = (OSError, TimeoutError, WebSocketException, ValueError, KeyError, TypeError)

logger = logging.getLogger(__name__)


class Directory(Protocol):
    """Knows where the replicas are."""

    async def replicas(self, gateway: str, waiting: int) -> Mapping[str, str]:
        """Name and URL of each. A gateway tells how many sessions wait for room. Raises OSError when away."""
        ...


@dataclass(slots=True)
class Remote:
    """A replica that can be reached; `lost` is set once it cannot, and never unset."""

    name: str
    url: str
    secret: str
    client: httpx.AsyncClient
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def at(cls, name: str, url: str, secret: str) -> "Remote":
        """The replica at a URL."""
        client = httpx.AsyncClient(
            base_url=url,
            headers={SECRET_HEADER: secret},
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            trust_env=False,
        )
        return cls(name, url, secret, client)

    def websocket(self, target: str) -> connect:
        """A WebSocket to a path of it. Sound is not compressed; whether it lives is told by the link."""
        return connect(
            f"ws{self.url.removeprefix('http')}{target}",
            additional_headers={SECRET_HEADER: self.secret},
            compression=None,
            open_timeout=_CONNECT_S,
            close_timeout=1.0,
            ping_interval=None,
            proxy=None,
        )


class Links:
    """Follows every replica of a directory, and tells a placement what they say.

    `changed` is called after each word of a replica, and when one is lost.
    """

    def __init__(
        self,
        gateway: str,
        directory: Directory,
        placement: Placement,
        secret: str,
        changed: Callable[[], None],
    ) -> None:
        self._gateway = gateway
        self._directory = directory
        self._placement = placement
        self._secret = secret
        self._changed = changed
        self._known: Mapping[str, str] = {}
        self._remotes: dict[str, Remote] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._asked = asyncio.Event()
        self.losses = 0
        """Replicas that were lost so far, those among them that went in order."""

    def get(self, name: str) -> Remote | None:
        """A replica that can be reached."""
        return self._remotes.get(name)

    @property
    def remotes(self) -> list[Remote]:
        """All that can be reached."""
        return list(self._remotes.values())

    async def find(self, name: str) -> Remote | None:
        """A replica, waiting a moment for one that may have been added just now."""
        for _ in range(2):
            if name in self._remotes or name in self._gone:
                break
            self._asked.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), 2 * _ASK_S)
            if name not in self._known:
                continue
            for _ in range(10):  # known, but not linked yet
                if name in self._remotes:
                    break
                await asyncio.sleep(0.05)
        return self._remotes.get(name)

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            while True:
                try:
                    self._known = await self._directory.replicas(self._gateway, self._placement.waiting)
                except OSError as error:
                    logger.warning("the directory of replicas is away: %s", error)
                self._asked.set()
                for name, url in self._known.items():
                    task = self._following.get(name)
                    if task is None or task.done():
                        self._following[name] = asyncio.create_task(
                            self._follow(name, url), name=f"link-{name}"
                        )
                await asyncio.sleep(_ASK_S)
        finally:
            for task in self._following.values():
                task.cancel()
            if tasks := [*self._following.values(), *self._closing]:
                await asyncio.wait(tasks)
            for remote in self.remotes:
                await remote.client.aclose()

    async def _follow(self, name: str, url: str) -> None:
        """Listen until the link breaks and cannot be made again at once."""
        remote = Remote.at(name, url, self._secret)
        try:
            while True:
                try:
                    async with remote.websocket(LINK) as link:
                        await self._listen(link, remote)
                except _FAULTS as error:
                    if name not in self._remotes:
                        logger.debug("no link to replica %s: %s", name, error)
                        return
                    logger.info("the link to replica %s broke: %s", name, error)
                    if not await self._answers(remote):
                        return
        finally:
            self._lose(remote)

    async def _answers(self, remote: Remote) -> bool:
        try:
            answer = await remote.client.get("/healthz", timeout=1.0)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    async def _listen(self, link: ClientConnection, remote: Remote) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            async with asyncio.timeout(SILENCE_S):
                load = read_load(str(await link.recv()))
            if remote.name not in self._remotes:
                logger.info("replica %s is at %s", remote.name, remote.url)
                self._remotes[remote.name] = remote
                self._gone.pop(remote.name, None)
            self._placement.heard(remote.name, load, clock())
            self._changed()

    def _lose(self, remote: Remote) -> None:
        if self._remotes.get(remote.name) is remote:
            del self._remotes[remote.name]
            self._placement.lost(remote.name)
            self.losses += 1
            self._gone[remote.name] = None
            if len(self._gone) > _REMEMBERED:
                self._gone.popitem(last=False)
            remote.lost.set()
            logger.info("replica %s is gone", remote.name)
            self._changed()
        closing = asyncio.create_task(remote.client.aclose(), name=f"close-{remote.name}")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
