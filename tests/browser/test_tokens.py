"""The pages against a server that needs tokens: signing in, and links that watch."""

import asyncio
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page

from tests.browser.conftest import ROOT, _free_port, _wait_until_healthy
from tests.browser.helpers import FRAMES, alert_text, connect, frames_in

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OPERATE = "operate-0123456789"
WATCH = "watch-0123456789ab"


@pytest.fixture(scope="module")
def guarded(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a server with fake mouths that needs tokens."""
    folder = tmp_path_factory.mktemp("guarded")
    log, port = folder / "output.txt", _free_port()
    tokens = {"KOUBO_OPERATE_TOKENS": f'["{OPERATE}"]', "KOUBO_WATCH_TOKENS": f'["{WATCH}"]'}
    command = [sys.executable, "-m", "tests.streaming.fake_server", str(port), str(folder)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **tokens}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)
    for secret in (OPERATE, WATCH, "token="):
        assert secret not in log.read_text()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, guarded: str) -> AsyncIterator[BrowserContext]:
    """A fresh profile that looks at the guarded server."""
    made = await browser.new_context(base_url=guarded, locale="en-US", permissions=["microphone"])
    made.set_default_timeout(20_000)
    yield made
    await made.close()


async def sign_in(page: Page, token: str = OPERATE) -> None:
    await page.wait_for_selector("#sign-in[open]")
    await page.fill("#token", token)
    await page.keyboard.press("Enter")


async def choose(page: Page) -> None:
    """Choose the presenter that the fake mouth fits."""
    await page.wait_for_selector(".presenter")
    await page.check("input[value=fake]", force=True)


async def test_the_console_asks_for_a_token_once_and_then_works(visit: BrowserContext, guarded: str) -> None:
    page = await visit.new_page()
    await page.goto("/")
    await sign_in(page, "wrong-0123456789")
    await sign_in(page)
    await choose(page)
    # Pictures that only a token shows are shown.
    assert await page.evaluate("() => document.querySelector('.presenter img').decode().then(() => true)")
    await connect(page)
    await page.click("#mic-on")
    await page.wait_for_selector("body[data-mic=live]")
    await page.fill("#text", "Good day.")
    await page.click("#say")
    link = await page.input_value("#link")
    assert OPERATE not in link
    await page.reload()
    await page.wait_for_selector(".presenter")
    assert not await page.locator("#sign-in[open]").count()


async def test_the_console_without_a_token_says_what_is_missing(visit: BrowserContext) -> None:
    page = await visit.new_page()
    await page.goto("/")
    await page.wait_for_selector("#sign-in[open]")
    await page.keyboard.press("Escape")
    assert "token" in await alert_text(page)


async def test_a_player_link_plays_without_any_other_token(visit: BrowserContext, browser: Browser) -> None:
    console = await visit.new_page()
    await console.goto("/")
    await sign_in(console)
    await choose(console)
    await connect(console)
    await console.wait_for_function("document.getElementById('link').value")
    link = await console.input_value("#link")
    stranger = await browser.new_context()
    player = await stranger.new_page()
    await player.goto(link)
    await player.wait_for_selector("#video", state="visible")
    assert await frames_in(player, 1.0) >= 10
    # The same token is nothing to another session.
    parts = urlsplit(link)
    token = parse_qs(parts.query)["token"][0]
    await player.goto(f"{parts.scheme}://{parts.netloc}/player?session=another&token={token}")
    await player.wait_for_selector("#message:has-text('another session')")
    await player.goto(f"{parts.scheme}://{parts.netloc}/player?session={parse_qs(parts.query)['session'][0]}")
    await player.wait_for_selector("#message:has-text('expired')")
    assert await player.evaluate(FRAMES) == 0
    await stranger.close()


async def test_leaving_the_page_ends_the_session_with_the_token(visit: BrowserContext, guarded: str) -> None:
    page = await visit.new_page()
    await page.goto("/")
    await sign_in(page)
    await choose(page)
    session = await connect(page)
    await page.goto("about:blank")

    def gone() -> bool:
        request = urllib.request.Request(
            f"{guarded}/v1/sessions/{session}", headers={"Authorization": f"Bearer {OPERATE}"}
        )
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except urllib.error.HTTPError as error:
            return error.code == 404
        return False

    for _ in range(50):
        if await asyncio.to_thread(gone):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the session goes on")
