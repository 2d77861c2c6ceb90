"""The player as OBS's browser source lays it out: on nothing, at the sizes of OBS's canvases."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import BrowserContext, Page, Route

from engine.anchor.package import Avatar, find_avatar
from engine.picture.label import LabelStyle, label_for
from tests.browser.helpers import connect
from tests.obs.likeness import Anchors

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SIZES = [(800, 600), (1920, 1080), (1080, 1920)]
Rgba = NDArray[np.uint8]


@pytest.fixture(scope="module")
def ada() -> Avatar:
    return Avatar.load(find_avatar("ada"))


@pytest.fixture(scope="module")
def anchors(ada: Avatar) -> Anchors:
    return Anchors(ada)


async def open_player(context: BrowserContext, query: str, size: tuple[int, int], shown: str) -> Page:
    player = await context.new_page()
    await player.set_viewport_size({"width": size[0], "height": size[1]})
    await player.goto(f"/player?{query}")
    await player.wait_for_selector(shown, state="visible")
    await player.wait_for_timeout(500)
    return player


async def look(player: Page) -> Rgba:
    """What OBS would mix: RGBA (h, w, 4), the page's own background only."""
    png = await player.screenshot(omit_background=True)
    bgra = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(cv2.cvtColor(np.asarray(bgra), cv2.COLOR_BGRA2RGBA), np.uint8)


def square(size: tuple[int, int]) -> tuple[slice, slice]:
    """Where a square picture lies in the middle of `size`, as large as it can be."""
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return slice(top, top + side), slice(left, left + side)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
async def test_nothing_but_the_picture_covers_the_scene(
    page: Page, context: BrowserContext, anchors: Anchors, size: tuple[int, int]
) -> None:
    session = await connect(page)
    player = await open_player(context, f"session={session}", size, "#video")
    seen = await look(player)
    assert seen.shape == (size[1], size[0], 4)
    where = square(size)
    assert seen[where][4:-4, 4:-4, 3].min() == 255
    outside = seen[..., 3].copy()
    outside[where] = 0
    assert outside.max() == 0
    likeness = anchors.compare(np.ascontiguousarray(seen[where][..., :3]))
    assert likeness.face < 8


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
async def test_the_presenter_stands_on_the_scene_without_its_wall(
    page: Page, context: BrowserContext, ada: Avatar, anchors: Anchors, size: tuple[int, int]
) -> None:
    session = await connect(page)
    query = f"session={session}&background=transparent"
    player = await open_player(context, query, size, "#cutout")
    seen = await look(player)
    where = square(size)
    alpha = seen[..., 3].copy()
    inside = np.asarray(cv2.resize(alpha[where], (720, 720), interpolation=cv2.INTER_AREA), int)
    assert ada.mattes is not None
    likeness = anchors.compare(np.ascontiguousarray(seen[where][..., :3]))
    assert likeness.face < 8
    # Compared with the matte of the very frame that is shown: the label apart, they are one.
    wanted = ada.mattes[likeness.frame].astype(int)
    unlabelled = np.s_[120:, :]
    assert np.abs(inside - wanted)[unlabelled].mean() < 3
    assert (inside[unlabelled][wanted[unlabelled] == 0] < 8).mean() > 0.98
    assert (inside[unlabelled][wanted[unlabelled] == 255] > 247).mean() > 0.99
    alpha[where] = 0
    assert alpha.max() == 0


async def test_a_presenter_without_a_matte_is_told(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    player = await context.new_page()

    async def refuse(route: Route) -> None:
        detail = {"detail": "This presenter has no matte."}
        await route.fulfill(status=422, json=detail)

    await player.route("**/whep?alpha=1", refuse)
    await player.goto(f"/player?session={session}&background=transparent")
    await player.wait_for_function("document.getElementById('message').textContent.includes('no matte')")
    assert not await player.is_visible("#cutout")


async def test_a_browser_without_webgl_is_told(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    player = await context.new_page()
    await player.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    await player.goto(f"/player?session={session}&background=transparent")
    assert "no WebGL" in await player.inner_text("#message")


async def test_the_label_stays_on_the_scene(page: Page, context: BrowserContext) -> None:
    session = await connect(page)
    player = await open_player(context, f"session={session}&background=transparent", (720, 720), "#cutout")
    seen = await look(player)
    left, top, right, bottom = label_for(LabelStyle(), (720, 720)).box
    alpha = seen[top:bottom, left:right, 3]
    assert np.median(alpha) > 120
    assert (alpha > 240).sum() > 500, "the words are opaque"
