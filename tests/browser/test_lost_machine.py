"""What the pages do when a cluster has lost the machine of their session: 410, as its gateways answer."""

import json

import pytest
from playwright.async_api import BrowserContext, Page, Route

from streaming.cluster_proxy import GONE
from tests.browser.helpers import alert_text, connect, read_session, wait_for_tally

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def answer_gone(route: Route) -> None:
    body = json.dumps({"type": "about:blank", "title": "Gone", "status": 410, "detail": GONE})
    await route.fulfill(status=410, content_type="application/problem+json", body=body)


async def test_the_console_goes_on_with_a_new_session(page: Page, context: BrowserContext) -> None:
    lost = await connect(page)
    await page.route(f"**/v1/sessions/{lost}", answer_gone)
    async with page.expect_response(
        lambda answer: answer.request.method == "POST" and answer.url.endswith("/v1/sessions")
    ) as opened:
        sentence = await alert_text(page)
    assert sentence == "The machine that held the session is gone; this is a new session on another one."
    session = (await (await opened.value).json())["id"]
    assert session != lost
    await wait_for_tally(page, "standby")
    assert (await read_session(context, session))[1]["viewers"] == 1
    await context.request.delete(f"/v1/sessions/{lost}")


async def test_the_player_says_what_happened(context: BrowserContext) -> None:
    page = await context.new_page()
    await page.route("**/v1/sessions/0123abcd-lost/whep", answer_gone)
    await page.goto("/player?session=0123abcd-lost")
    message = page.get_by_text("The machine that played this is gone; ask for a link to the new session.")
    await message.wait_for()
    assert await page.locator("#video").is_hidden()
