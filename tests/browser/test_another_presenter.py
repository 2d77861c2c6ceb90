"""Another presenter on air, and gestures, driven as their user drives them against the real server."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, Request, Route

from engine.anchor.card import Clip, ClipKind, write_card
from engine.anchor.package import Avatar, find_avatar
from engine.anchor.walk import Loop
from engine.picture.fit import Fit
from engine.picture.video import VideoWriter
from tests.browser.conftest import serving
from tests.browser.helpers import alert_text, connect, frames_in, read_session, wait_for_tally

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LONG_TEXT = "Good evening and welcome to the show. " * 20
LIVELY = "lively"
SIZE = (480, 640)
CLIPS: dict[str, tuple[ClipKind, range]] = {
    "idle": ("idle", range(75)),
    "hello": ("greeting", range(100, 130)),
    "look-aside": ("gesture", range(150, 200)),
}

COLOUR = """() => {
  const video = document.getElementById('video');
  const canvas = Object.assign(document.createElement('canvas'), {width: 8, height: 8});
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 8, 8);
  return [...context.getImageData(0, 3, 1, 1).data].slice(0, 3);
}"""
"""The colour at the left edge of the picture, where the wall is."""


@pytest.fixture(scope="module")
def server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with one more presenter, in portrait and with gestures."""
    folder = tmp_path_factory.mktemp("presenters")
    make_lively(folder / LIVELY)
    log = tmp_path_factory.mktemp("server") / "output.txt"
    with serving(
        log, "koubo", "serve", "--host", "127.0.0.1", environment={"KOUBO_AVATARS": str(folder)}
    ) as url:
        yield url


def make_lively(package: Path) -> None:
    """Stretches of a shipped presenter as clips of another one, in another size."""
    avatar = Avatar.load(find_avatar("ada"))
    card, idle = avatar.card, avatar.card.idle
    fit = Fit(avatar.size, SIZE)
    backdrop = fit.backdrop(avatar.frame(0))
    shutil.copytree(avatar.mouth, package / "mouth")
    (package / "clips").mkdir()
    clips = []
    for name, (kind, frames) in CLIPS.items():
        file = idle.file if name == "idle" else f"clips/{name}.mp4"
        kept = slice(frames.start, frames.stop)
        loop: Loop = "pingpong" if name == "idle" else "once"
        crops = tuple(map(fit.crop, idle.crops[kept]))
        clips.append(Clip(name, kind, file, loop, crops, idle.outlines[kept], idle.shares[kept]))
        with VideoWriter(package / file, SIZE) as video:
            for index in frames:
                video.write(fit.frame(avatar.frame(index), backdrop))
    title = {"en": "Lively", "zh": "活泼"}
    write_card(package, replace(card, name=LIVELY, title=title, size=SIZE, clips=tuple(clips), mouth="mouth"))


@pytest.fixture
def asked(page: Page) -> list[tuple[str, str, Any]]:
    """Requests that the page sends to change something: (method, last part of the path, body)."""
    sent: list[tuple[str, str, Any]] = []

    def note(request: Request) -> None:
        if request.method != "GET":
            is_json = request.headers.get("content-type") == "application/json"
            body = json.loads(request.post_data or "null") if is_json else None
            sent.append((request.method, request.url.rsplit("/", 1)[-1], body))

    page.on("request", note)
    return sent


async def choose(page: Page, name: str) -> None:
    """Click on a presenter's card."""
    await page.click(f".presenter:has(input[value={name}])")


async def chosen(page: Page) -> str:
    """Whose card is checked."""
    return str(await page.eval_on_selector(".presenter input:checked", "input => input.value"))


async def is_done(page: Page) -> None:
    """Wait until no change is under way."""
    await page.wait_for_selector("#presenters[aria-busy=false]")


async def holds(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something comes to hold."""
    for _ in range(150):
        if await check():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come to hold in time")


async def shows(context: BrowserContext, session: str, name: str) -> None:
    """Wait until the server says that the session shows this presenter."""

    async def is_on() -> bool:
        _, body = await read_session(context, session)
        return bool(body["avatar"] == name)

    await holds(is_on)


async def test_another_presenter_goes_on_with_the_sentence(
    page: Page, context: BrowserContext, asked: list[tuple[str, str, Any]]
) -> None:
    session = await connect(page)
    width = await page.evaluate("document.getElementById('video').videoWidth")
    await page.fill("#text", LONG_TEXT)
    await page.press("#text", "Enter")
    await wait_for_tally(page, "speaking")
    before = await page.evaluate(COLOUR)
    asked.clear()
    await choose(page, "kai")
    await page.wait_for_selector("#presenters[aria-busy=true] .presenter[data-busy]:has(input[value=kai])")
    await is_done(page)
    await shows(context, session, "kai")

    async def wall_is_another() -> bool:
        now = await page.evaluate(COLOUR)
        return bool(max(abs(one - other) for one, other in zip(before, now, strict=True)) > 25)

    await holds(wall_is_another)
    assert [sent for sent in asked if sent[0] == "PATCH"] == [("PATCH", session, {"avatar": "kai"})]
    assert not [sent for sent in asked if sent[1] in ("whep", "sessions")], (
        "no new connection, no new session"
    )
    assert await frames_in(page, 2.0) > 5
    assert await page.evaluate("document.getElementById('video').videoWidth") == width
    assert await page.inner_text("#status") == "Another presenter is on stage."
    assert await page.get_attribute("#tally", "data-state") == "speaking"
    _, body = await read_session(context, session)
    assert (body["viewers"], body["backlog_ms"] > 0) == (1, True)
    assert not await page.is_visible("#alert")


async def test_a_presenter_of_another_size_is_fitted(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    _, before = await read_session(context, session)
    await choose(page, LIVELY)
    await is_done(page)
    await shows(context, session, LIVELY)
    _, after = await read_session(context, session)
    assert after["size"] == before["size"]
    assert await frames_in(page, 1.0) > 2
    assert await page.evaluate("document.getElementById('video').videoWidth") == before["size"][0]


async def test_who_ends_begins_again_with_the_one_on_stage(page: Page, context: BrowserContext) -> None:
    await connect(page)
    await choose(page, "kai")
    await is_done(page)
    await page.click("#end")
    await wait_for_tally(page, "start")
    assert await chosen(page) == "kai"
    assert await page.inner_text("#stage-name") == (await page.inner_text(".presenter:has(:checked)")).strip()
    session = await connect(page)
    _, body = await read_session(context, session)
    assert body["avatar"] == "kai"


async def test_a_refused_presenter_leaves_the_other_on_stage(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    sentence = "The avatar kai is damaged: its film is empty; create it again."

    async def refuse(route: Route) -> None:
        if route.request.method == "PATCH":
            await route.fulfill(status=422, json={"detail": sentence})
        else:
            await route.continue_()

    await page.route(f"**/v1/sessions/{session}", refuse)
    await choose(page, "kai")
    assert await alert_text(page) == sentence
    assert await chosen(page) == "ada"
    await is_done(page)
    assert await frames_in(page, 1.0) > 2
    await page.unroute(f"**/v1/sessions/{session}")
    await choose(page, "kai")
    await shows(context, session, "kai")
    await is_done(page)
    assert not await page.is_visible("#alert")


async def test_arrow_keys_pass_over_presenters_without_stopping_at_each(
    page: Page, context: BrowserContext, asked: list[tuple[str, str, Any]]
) -> None:
    session = await connect(page)
    names = await page.eval_on_selector_all(".presenter input", "all => all.map(input => input.value)")
    await page.focus(".presenter input:checked")
    for _ in range(len(names) - 1):
        await page.keyboard.press("ArrowRight")
    await shows(context, session, names[-1])
    await is_done(page)
    assert [body for method, _, body in asked if method == "PATCH"] == [{"avatar": names[-1]}]
    assert await page.evaluate("document.activeElement.value") == names[-1]


async def test_of_several_choices_the_last_one_wins(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    let_go = asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "PATCH":
            await let_go.wait()
        await route.continue_()

    await page.route(f"**/v1/sessions/{session}", hold)
    await choose(page, "kai")
    await page.wait_for_timeout(500)
    await choose(page, LIVELY)
    await page.wait_for_timeout(1500)
    # Meanwhile the server was asked how it does, and nothing was taken back for that.
    assert await chosen(page) == LIVELY
    let_go.set()
    await shows(context, session, LIVELY)
    await is_done(page)
    assert await chosen(page) == LIVELY


async def test_who_is_pointed_at_is_loaded_ahead(page: Page, asked: list[tuple[str, str, Any]]) -> None:
    await page.hover(f".presenter:has(input[value={LIVELY}])")
    await page.wait_for_timeout(400)
    assert asked == [], "without a session there is nothing to prepare"
    await connect(page)
    asked.clear()
    for _ in range(2):
        await page.hover(".presenter:has(input[value=ada])")
        await page.hover(f".presenter:has(input[value={LIVELY}])")
        await page.wait_for_timeout(400)
    assert asked == [("POST", "prepare", {"avatar": LIVELY})]


async def test_a_change_from_elsewhere_is_shown(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    changed = await context.request.patch(f"/v1/sessions/{session}", data={"avatar": LIVELY})
    assert changed.ok
    await page.wait_for_selector(f".presenter:has(input[value={LIVELY}]:checked)")
    await page.wait_for_selector(".clip")
    assert await page.text_content("#stage-name") == "Lively"


async def test_gestures_have_buttons_and_are_lit_while_shown(
    page: Page, context: BrowserContext, asked: list[tuple[str, str, Any]]
) -> None:
    session = await connect(page)
    assert not await page.is_visible("#clips"), "Ada has none"
    await choose(page, LIVELY)
    await page.wait_for_selector(".clip")
    assert await page.locator(".clip").all_inner_texts() == ["Hello", "Look aside"]
    assert await page.get_attribute("#clips", "aria-label") == "Gestures"
    # As a keyboard reaches them: the next stop after the presenters.
    await page.focus(".presenter input:checked")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_selector(".clip[value=look-aside][data-on]")
    assert ("POST", "clips", {"clip": "look-aside"}) in asked

    async def is_shown() -> bool:
        _, body = await read_session(context, session)
        return bool(body["clip"] == "look-aside")

    await holds(is_shown)
    await page.click(".clip[value=look-aside]")
    assert await alert_text(page) == "This gesture is being shown already."
    await page.wait_for_selector(".clip[value=look-aside]:not([data-on])")
    await choose(page, "kai")
    await page.wait_for_selector("#clips", state="hidden")


async def test_gestures_are_named_in_chinese(page: Page) -> None:
    await page.click("#lang-zh")
    await choose(page, LIVELY)
    await connect(page)
    await page.wait_for_selector(".clip")
    assert await page.get_attribute("#clips", "aria-label") == "动作"


async def test_an_ended_session_takes_its_gestures_along(page: Page) -> None:
    await choose(page, LIVELY)
    await connect(page)
    await page.wait_for_selector(".clip")
    await page.click("#end")
    await page.wait_for_selector("#clips", state="hidden")


@pytest.mark.parametrize("width", [320, 390, 768])
async def test_narrow_screens_hold_presenters_and_gestures(page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 800})
    await choose(page, LIVELY)
    await connect(page)
    await page.wait_for_selector(".clip")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = await page.eval_on_selector_all(
        ".presenter, .clip",
        "all => all.map(e => e.getBoundingClientRect()).map(b => [b.left, b.right, b.height])",
    )
    assert len(boxes) >= 5
    for left, right, height in boxes:
        assert left >= 0
        assert right <= width
        assert height >= 34, "large enough for a finger"
