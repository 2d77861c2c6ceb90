"""The console page, driven as its user drives it, against the real server."""

import asyncio
import re

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.browser.helpers import (
    alert_text,
    connect,
    frames_in,
    read_session,
    skip_when_busy,
    wait_for_microphone,
    wait_for_tally,
)

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LONG_TEXT = "Good evening and welcome to the show. " * 12


async def test_page_loads_without_console_errors(context: BrowserContext) -> None:
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    failed: list[str] = []
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    await page.goto("/")
    await page.wait_for_selector(".presenter")
    await page.wait_for_load_state("networkidle")
    assert complaints == []
    assert failed == []
    assert await page.title() == "Koubo console"
    assert await page.evaluate(
        "performance.getEntriesByType('resource').every(e => e.name.startsWith(origin))"
    )


async def test_choosing_a_presenter_changes_stage_and_session(page: Page, context: BrowserContext) -> None:
    names = await page.eval_on_selector_all(".presenter input", "all => all.map(input => input.value)")
    assert len(names) >= 2
    await page.click(".presenter:nth-of-type(2)")
    shown = await page.inner_text(".presenter:nth-of-type(2)")
    assert await page.inner_text("#stage-name") == shown.strip()
    assert names[1] in str(await page.get_attribute("#poster", "src"))
    session = await connect(page)
    _, body = await read_session(context, session)
    assert body["avatar"] == names[1]


@pytest.mark.usefixtures("quiet_machine")
async def test_presenter_is_there_soon_and_moves(page: Page, context: BrowserContext) -> None:
    avatars = await (await context.request.get("/v1/avatars")).json()
    await connect(page)
    assert await frames_in(page, 3.0) >= 45
    assert await page.evaluate("document.getElementById('video').videoWidth") == avatars[0]["size"][0]
    await wait_for_tally(page, "standby")
    assert not await page.is_visible("#lower-third")


@pytest.mark.usefixtures("quiet_machine")
async def test_first_picture_comes_within_a_second(page: Page) -> None:
    # Once before, so that the server has the presenter loaded.
    await connect(page)
    await page.click("#end")
    await wait_for_tally(page, "start")
    waited_ms = await page.evaluate(
        """() => new Promise((resolve) => {
             const start = performance.now();
             const presented = () => resolve(performance.now() - start);
             document.getElementById('video').requestVideoFrameCallback(presented);
             document.getElementById('connect').click();
           })"""
    )
    skip_when_busy()
    assert waited_ms <= 1000


async def test_text_is_spoken_and_escape_interrupts(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    await page.fill("#text", LONG_TEXT)
    await page.press("#text", "Enter")
    await wait_for_tally(page, "speaking")
    assert await page.input_value("#text") == ""
    await page.keyboard.press("Escape")
    await wait_for_tally(page, "standby")
    await asyncio.sleep(0.5)
    _, body = await read_session(context, session)
    assert body["speaking"] is False
    assert body["backlog_ms"] < 200


async def test_interrupt_button_and_shift_enter(page: Page) -> None:
    await connect(page)
    await page.focus("#text")
    await page.keyboard.type("One.")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type(LONG_TEXT)
    assert (await page.input_value("#text")).startswith("One.\nGood")
    await page.click("#say")
    await wait_for_tally(page, "speaking")
    await page.click("#interrupt")
    await wait_for_tally(page, "standby")


async def test_enter_that_ends_a_composition_does_not_send(page: Page) -> None:
    await connect(page)
    await page.fill("#text", "nihao")
    await page.evaluate(
        """() => document.getElementById('text').dispatchEvent(
             new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))"""
    )
    await page.wait_for_timeout(300)
    assert await page.input_value("#text") == "nihao"


async def test_empty_text_is_refused_with_a_sentence(page: Page) -> None:
    await connect(page)
    await page.fill("#text", " …! ")
    await page.press("#text", "Enter")
    assert await alert_text(page) == "There is nothing to say yet; write a sentence first."
    await page.click("#alert-close")
    assert not await page.is_visible("#alert")


async def test_text_beyond_the_limit_keeps_the_text_and_explains(page: Page) -> None:
    await connect(page)
    await page.fill("#text", "word " * 5000)
    await page.press("#text", "Enter")
    assert await alert_text(page) == "The text is too long; say it in shorter pieces."
    assert len(await page.input_value("#text")) > 20_000


async def test_microphone_goes_on_air_is_muted_and_goes_off(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    assert await page.get_attribute("#stage", "data-muted") == "false"
    await page.click("#mic-on")
    await page.wait_for_selector("body[data-mic=live]")
    # The page itself must not give the user's voice back while it is live.
    assert await page.get_attribute("#stage", "data-muted") == "true"
    await page.wait_for_function("Number(document.getElementById('meter').ariaValueNow) > -40")
    await wait_for_microphone(context, session, on=True)
    assert await page.locator("#microphone option").count() >= 2
    await page.click("#mic-mute")
    assert await page.get_attribute("#mic-mute", "aria-pressed") == "true"
    assert await page.get_attribute("#stage", "data-muted") == "false"
    await page.wait_for_function("Number(document.getElementById('meter').ariaValueNow) <= -59")
    await page.click("#mic-off")
    await page.wait_for_selector("body[data-mic=off]")
    await wait_for_microphone(context, session, on=False)


async def test_another_microphone_is_taken_without_a_new_connection(page: Page) -> None:
    await connect(page)
    posts: list[str] = []
    page.on("request", lambda sent: posts.append(sent.url) if sent.method == "POST" else None)
    await page.click("#mic-on")
    await page.wait_for_selector("body[data-mic=live]")
    await page.select_option("#microphone", index=2)
    await page.wait_for_timeout(500)
    assert await page.get_attribute("body", "data-mic") == "live"
    assert not await page.is_visible("#alert")
    assert len(posts) == 1


async def test_blocked_microphone_is_explained(page: Page, context: BrowserContext) -> None:
    await context.clear_permissions()
    await connect(page)
    await page.click("#mic-on")
    assert (
        await alert_text(page)
        == "The microphone is blocked; allow it beside the address bar, then try again."
    )
    assert await page.is_visible("#mic-on")


async def test_figures_are_live(page: Page) -> None:
    await connect(page)
    await page.wait_for_function(
        "Number(document.querySelector('[data-figure=fps] .value').textContent) > 10"
    )
    for figure in ("fps", "delay", "roundTrip", "late", "bitrate", "loss"):
        value = await page.inner_text(f"[data-figure={figure}] .value")
        assert re.fullmatch(r"\d+(\.\d+)?", value), f"{figure} shows {value}"
    assert await page.inner_text("#elapsed") > "00:00:00"


async def test_player_link_can_be_copied(page: Page) -> None:
    session = await connect(page)
    await page.click("#copy")
    await page.wait_for_function("document.getElementById('copy').textContent === 'Copied'")
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith(f"/player?session={session}")


async def test_language_switches_and_is_remembered(page: Page) -> None:
    await page.click("#lang-zh")
    assert await page.inner_text("#connect") == "连接"
    assert await page.get_attribute("html", "lang") == "zh-Hans"
    assert await page.title() == "口播控制台"
    assert await page.get_attribute("#lang-zh", "aria-pressed") == "true"
    await page.reload()
    await page.wait_for_selector(".presenter")
    assert await page.inner_text("#connect") == "连接"
    await page.click("#lang-en")
    assert await page.inner_text("#connect") == "Connect"


async def test_browser_language_is_the_default(browser: Browser, server: str) -> None:
    context = await browser.new_context(base_url=server, locale="zh-CN")
    page = await context.new_page()
    await page.goto("/")
    assert await page.inner_text("h2#talk-title") == "说话"
    await context.close()


async def test_ending_frees_the_session(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    await page.click("#end")
    await wait_for_tally(page, "start")
    await asyncio.sleep(0.5)
    assert (await read_session(context, session))[0] == 404
    assert await page.is_visible("#connect")


async def test_leaving_the_page_frees_the_session(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    await page.goto("about:blank")
    await asyncio.sleep(1.0)
    assert (await read_session(context, session))[0] == 404


async def test_session_ended_by_the_server_is_explained(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    await context.request.delete(f"/v1/sessions/{session}")
    assert await alert_text(page) == "The session has ended on the server; connect again to go on."
    await page.click("#lang-zh")
    assert await alert_text(page) == "会话已在服务器上结束；请重新连接。"
    await page.click("#lang-en")
    await connect(page)
    assert not await page.is_visible("#alert")


async def test_cut_view_comes_back(page: Page, context: BrowserContext) -> None:
    async with page.expect_response(lambda r: r.url.endswith("/whep") and r.status == 201) as view:
        await connect(page)
    cut = await context.request.delete((await view.value).headers["location"])
    assert cut.ok
    await wait_for_tally(page, "reconnecting")
    await wait_for_tally(page, "standby")
    assert not await page.is_visible("#alert")
    assert await frames_in(page, 2.0) >= 25


async def test_server_that_does_not_answer_is_explained(page: Page) -> None:
    await page.route("**/v1/sessions", lambda route: route.abort("connectionrefused"))
    await page.click("#connect")
    text = await alert_text(page)
    assert text == "The server does not answer; check that it is running, then try again."
    assert await page.inner_text("#connect") == "Connect"
