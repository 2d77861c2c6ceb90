"""What several browser tests do."""

import asyncio
import os
import time
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page

BUSY_LOAD = 4.0
"""Load average a core; the browser, the server and the test alone make about 2."""

BUSY_SHARE = 0.4
"""Share of a core that a busy loop gets; work of higher priority can take it away without much load."""

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
)

FRAMES = "() => document.getElementById('video').getVideoPlaybackQuality().totalVideoFrames"


async def connect(page: Page) -> str:
    """Press Connect and wait for the first picture; returns the session's id."""
    await page.click("#connect")
    await page.wait_for_selector("#stage[data-playing]")
    return str(
        await page.evaluate("new URL(document.getElementById('link').value).searchParams.get('session')")
    )


async def frames_in(page: Page, seconds: float) -> int:
    """Pictures that the page's video shows within `seconds`."""
    before = int(await page.evaluate(FRAMES))
    await page.wait_for_timeout(seconds * 1000)
    return int(await page.evaluate(FRAMES)) - before


async def read_session(context: BrowserContext, session: str) -> tuple[int, dict[str, Any]]:
    """Status and body of GET /v1/sessions/{id}."""
    response = await context.request.get(f"/v1/sessions/{session}")
    return response.status, await response.json()


async def wait_for_microphone(context: BrowserContext, session: str, *, on: bool) -> None:
    """Wait until the server says that the session's microphone is connected, or is not."""
    for _ in range(50):
        _, body = await read_session(context, session)
        if body["mic"] is on:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the server does not say mic={on}")


async def wait_for_tally(page: Page, state: str) -> None:
    """Wait until the tally shows `state`."""
    await page.wait_for_selector(f"#tally[data-state={state}]")


async def alert_text(page: Page) -> str:
    """The error on the page, waited for."""
    await page.wait_for_selector("#alert.shown")
    return await page.inner_text("#alert-text")


def skip_when_busy() -> None:
    """Skip the test on a machine that is starved by other work: its times would judge that work."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    share = _share_of_a_core()
    if load > BUSY_LOAD or share < BUSY_SHARE:
        pytest.skip(
            f"the machine is busy (load {load:.1f} a core, {share:.0%} of a core left); "
            "run timing tests on a quiet one"
        )


def _share_of_a_core() -> float:
    start, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - start < 0.2:
        pass
    return (time.process_time() - used) / (time.perf_counter() - start)
