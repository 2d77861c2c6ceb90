"""The bare player page, as OBS shows it."""

import pytest
from playwright.async_api import BrowserContext, Page, Response

from tests.browser.helpers import connect, frames_in

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def open_player(context: BrowserContext, query: str) -> Page:
    page = await context.new_page()
    await page.goto(f"/player?{query}")
    return page


async def test_player_plays_with_sound_and_shows_nothing_else(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    player = await open_player(context, f"session={session}")
    await player.wait_for_selector("#video", state="visible")
    assert await frames_in(player, 2.0) >= 25
    assert await player.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
    assert await player.evaluate("document.getElementById('video').srcObject.getAudioTracks().length") == 1
    assert await player.inner_text("body") == ""
    assert await player.locator("body > *:visible").count() == 1


async def test_muted_player_stays_silent(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    player = await open_player(context, f"session={session}&muted=1")
    await player.wait_for_selector("#video", state="visible")
    await player.mouse.click(10, 10)
    assert await player.evaluate("document.getElementById('video').muted") is True


async def test_player_comes_back_after_its_view_is_cut(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    player = await context.new_page()
    views: list[str] = []

    def note(response: Response) -> None:
        if response.request.method == "POST" and response.status == 201:
            views.append(response.headers["location"])

    player.on("response", note)
    await player.goto(f"/player?session={session}")
    await player.wait_for_selector("#video", state="visible")
    cut = await context.request.delete(views[0])
    assert cut.ok
    async with player.expect_response(lambda response: response.status == 201):
        pass
    await player.wait_for_timeout(1000)
    assert await frames_in(player, 2.0) >= 25
    assert len(views) == 2


async def test_player_waits_quietly_for_an_unknown_session(context: BrowserContext, server: str) -> None:
    player = await open_player(context, "session=nobody")
    assert await player.inner_text("body") == ""
    await player.wait_for_function(
        "document.getElementById('message').textContent === 'Waiting for the session…'"
    )
    assert not await player.is_visible("#video")


async def test_player_without_a_session_says_so(context: BrowserContext, server: str) -> None:
    player = await open_player(context, "")
    text = await player.inner_text("#message")
    assert text == "No session in the address; copy the player link from the console."
