"""A client of obs-websocket 5: identify with a password, send requests, get their answers."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import cv2
import numpy as np
from websockets.sync.client import ClientConnection, connect

from engine.anchor.crop import Picture

_HELLO, _IDENTIFY, _IDENTIFIED, _REIDENTIFY, _EVENT, _REQUEST, _RESPONSE = 0, 1, 2, 3, 5, 6, 7
_VOLUME_METERS = 1 << 16
_NOT_READY = 207
_READY_S = 30.0


class Refused(Exception):
    """OBS answered a request with an error; `code` as in the protocol's RequestStatus."""

    def __init__(self, code: int, comment: str) -> None:
        super().__init__(f"{code} {comment}")
        self.code = code


@contextmanager
def reach(url: str, password: str, patience_s: float) -> Iterator["Remote"]:
    """A connection to OBS, tried again while nobody listens. Raises ConnectionRefusedError in the end."""
    deadline = time.monotonic() + patience_s
    with ExitStack() as stack:
        while True:
            try:
                socket = stack.enter_context(connect(url, max_size=64 * 1024 * 1024))
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)
        yield Remote(socket, password)


class Remote:
    """One connection; it identifies when it is made."""

    def __init__(self, socket: ClientConnection, password: str) -> None:
        self._socket = socket
        self._count = 0
        hello = self._receive(_HELLO)
        identify: dict[str, Any] = {"rpcVersion": 1, "eventSubscriptions": 0}
        if "authentication" in hello:
            given = hello["authentication"]
            identify["authentication"] = proof(password, given["salt"], given["challenge"])
        self._send(_IDENTIFY, identify)
        self._receive(_IDENTIFIED)

    def ask(self, kind: str, **data: Any) -> dict[str, Any]:
        """The answer to a request. Waits while OBS still loads; raises Refused."""
        deadline = time.monotonic() + _READY_S
        while True:
            self._count += 1
            request = {"requestType": kind, "requestId": str(self._count), "requestData": data}
            self._send(_REQUEST, request)
            answer = self._receive(_RESPONSE)
            status = answer["requestStatus"]
            if status["result"]:
                return dict(answer.get("responseData") or {})
            if status["code"] != _NOT_READY or time.monotonic() > deadline:
                raise Refused(status["code"], status.get("comment", ""))
            time.sleep(0.3)

    def screenshot(self, source: str) -> Picture:
        """What a source shows now, RGB uint8 (h, w, 3), at its own size. Raises Refused before that."""
        answer = self.ask("GetSourceScreenshot", sourceName=source, imageFormat="png")
        encoded = base64.b64decode(answer["imageData"].split(",", 1)[1])
        picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
        return np.asarray(picture, np.uint8)

    def loudest(self, source: str, seconds: float) -> float:
        """The highest level, in [0, 1], that the mixer shows for a source within so many seconds."""
        self._subscribe(_VOLUME_METERS)
        deadline = time.monotonic() + seconds
        level = 0.0
        while time.monotonic() < deadline:
            event = self._receive(_EVENT)
            for meter in event["eventData"]["inputs"]:
                if meter["inputName"] == source:
                    # Of each channel: magnitude, peak, peak before the fader.
                    level = max([level, *(channel[1] for channel in meter["inputLevelsMul"])])
        self._subscribe(0)
        return level

    def _subscribe(self, events: int) -> None:
        self._send(_REIDENTIFY, {"eventSubscriptions": events})
        self._receive(_IDENTIFIED)

    def _send(self, op: int, data: dict[str, Any]) -> None:
        self._socket.send(json.dumps({"op": op, "d": data}))

    def _receive(self, op: int) -> dict[str, Any]:
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message["op"] == op:
                return dict(message["d"])


def proof(password: str, salt: str, challenge: str) -> str:
    """The authentication string of the protocol."""
    secret = base64.b64encode(hashlib.sha256((password + salt).encode()).digest())
    return base64.b64encode(hashlib.sha256(secret + challenge.encode()).digest()).decode()
