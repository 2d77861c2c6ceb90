"""JSON from a running server."""

import json
from typing import Any

from streaming.bench_server import Server


async def ask(server: Server, method: str, path: str, **body: object) -> dict[str, Any]:
    """The answer to a request with a JSON body; empty where the server has nothing to say."""
    answer = await server.request(method, path, json.dumps(body) if body else None, "application/json")
    return dict(json.loads(answer)) if answer else {}
