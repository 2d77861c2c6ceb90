"""What several browser tests do."""

import asyncio
from typing import Any

from playwright.async_api import BrowserContext, Page

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
