"""Refused requests, counted by reason at the outermost door."""

import asyncio
from collections import Counter

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message, Receive, Scope, Send

from streaming.errors import Refusal
from streaming.refusals import RefusalsCounted


async def counted(app: FastAPI) -> Counter[str]:
    """The reasons that /metrics of a running app tells."""
    text = app.state.stage.metrics.text().decode()
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "koubo_rejected_requests_total":
                found[sample.labels["reason"]] = int(sample.value)
    return found


async def test_each_reason_is_counted(app: FastAPI, http: httpx.AsyncClient) -> None:
    assert await counted(app) == {}
    await http.get("/v1/sessions/nobody")
    await http.get("/nowhere")
    await http.put("/v1/avatars")
    await http.post("/v1/sessions", json={"avatar": 5})
    opened = [(await http.post("/v1/sessions")).json()["id"] for _ in range(3)]
    await http.post("/v1/sessions")
    await http.post(f"/v1/sessions/{opened[0]}/whep", content="v=0", headers={"Content-Type": "text/plain"})
    assert await counted(app) == {
        "not_found": 2,
        "method_not_allowed": 1,
        "unprocessable": 1,
        "busy": 1,
        "wrong_media_type": 1,
    }


async def test_what_is_served_and_what_machines_ask_is_not_counted(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    app.state.stage.drain.begin()
    assert (await http.get("/readyz")).status_code == 503
    assert (await http.get("/healthz")).status_code == 200
    assert (await http.get("/v1/avatars")).status_code == 200
    assert await counted(app) == {}


async def serve(kind: str, *messages: Message) -> list[str]:
    """The reasons counted for an app that answers with these messages."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def receive() -> Message:
        await asyncio.sleep(3600)
        raise AssertionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    reasons: list[str] = []
    await RefusalsCounted(app, reasons.append)({"type": kind, "path": "/x"}, receive, send)
    assert sent == list(messages)
    return reasons


@pytest.mark.parametrize(
    ("status", "reasons"),
    [
        (200, []),
        (304, []),
        (401, ["unauthorized"]),
        (429, ["too_many"]),
        (500, ["fault"]),
        (503, ["busy"]),
        (418, ["other"]),
    ],
)
async def test_an_answer_is_counted_once_by_its_status(status: int, reasons: list[str]) -> None:
    start: Message = {"type": "http.response.start", "status": status, "headers": []}
    body: Message = {"type": "http.response.body", "body": b""}
    assert await serve("http", start, body) == reasons


async def test_a_websocket_is_refused_only_before_it_is_accepted() -> None:
    close: Message = {"type": "websocket.close", "code": 1008}
    assert await serve("websocket", close) == ["websocket"]
    assert await serve("websocket", {"type": "websocket.accept"}, close) == []
    denied: Message = {"type": "websocket.http.response.start", "status": 401, "headers": []}
    assert await serve("websocket", denied) == ["unauthorized"]


def test_every_refusal_has_a_status_of_its_own() -> None:
    """Reasons are told from statuses; two classes of one status could not be told apart."""
    statuses = [kind.status for kind in Refusal.__subclasses__() if kind.__module__ == "streaming.errors"]
    assert len(statuses) == len(set(statuses))
