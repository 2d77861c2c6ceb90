"""From a film to the first word, nothing acted: uploaded, tracked, made, put on stage, seen to speak."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page

from engine.anchor.mediapipe_tracker import known_face_model
from engine.anchor.package import Avatar
from tests.browser.conftest import ROOT, serving
from tests.browser.lips import distance, loop_pictures, mouth_box, record

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

MAKING_MS = 900_000
"""Making waits for whatever else the machine has to do."""

TEXT = "Papa, Mama, aha! Pub and papa, ha ha ha. Maybe, papa, maybe. Aha, Mama, papa."


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's folder of avatars."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def server(chromium: str, own: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a `koubo serve` that can make presenters."""
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed; `pip install 'koubo[prepare]'`")
    model = known_face_model()
    if model is None:
        pytest.skip("the face model is not on this machine; set KOUBO_FACE_MODEL")
    log = tmp_path_factory.mktemp("server") / "output.txt"
    environment = {"KOUBO_AVATARS": str(own), "KOUBO_FACE_MODEL": str(model.resolve())}
    with serving(log, "koubo", "serve", environment=environment) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, server: str) -> AsyncIterator[BrowserContext]:
    """A small page without animations: what counts is the stream."""
    made = await browser.new_context(
        base_url=server, locale="en-US", viewport={"width": 900, "height": 700}, reduced_motion="reduce"
    )
    made.set_default_timeout(60_000)
    yield made
    await made.close()


async def make(page: Page, film: Path, name: str) -> None:
    """Drive the dialog from the film to the result."""
    await page.click("#create-open")
    await page.set_input_files("#film-file", film)
    await page.click("#create-next")
    await page.fill("#create-name", name)
    await page.check("#create-agree")
    await page.click("#create-go")
    over = "#create[data-step=result], #create-open[data-state=failed]"
    await page.wait_for_selector(over, timeout=MAKING_MS, state="attached")
    findings = await page.locator("#making-findings li").all_inner_texts()
    assert await page.get_attribute("#create", "data-step") == "result", (
        findings,
        await page.inner_text("#create-error"),
    )


async def speaks(page: Page, avatar: Avatar) -> tuple[float, float]:
    """How unlike any picture of the idle loop the mouth is while it waits, and while it says TEXT.

    The 90th percentile of the root mean square, of 255 levels.
    """
    box = mouth_box(avatar.card)
    loop = loop_pictures(avatar, box)
    # The first pictures are coarse until the encoder has caught up.
    await page.wait_for_timeout(2000)
    waiting = await record(page, box, 2.0)
    await page.fill("#text", TEXT)
    await page.press("#text", "Enter")
    await page.wait_for_selector("#tally[data-state=speaking]")
    speaking = await record(page, box, 4.0)
    assert speaking.sound.max() > 1e-3
    waits, speaks = (np.percentile(distance(each.pictures, loop), 90) for each in (waiting, speaking))
    return float(waits), float(speaks)


async def from_film_to_talking(page: Page, own: Path, film: Path, name: str) -> None:
    await make(page, film, name)
    await page.click("#result-closer summary")
    await page.wait_for_function("document.getElementById('result-sheet').naturalWidth > 800")
    await page.click("#create-talk")
    await page.wait_for_selector("#stage[data-playing]")
    avatar = Avatar.load(own / name)
    consent = avatar.card.consent
    assert consent is not None
    assert (consent.shown, consent.by) == ("person", name)
    waiting, speaking = await speaks(page, avatar)
    print(f"{film.name}: the mouth is {waiting:.1f} levels from the idle loop, speaking {speaking:.1f}")
    assert speaking > 1.5 * waiting


@pytest.mark.slow
async def test_a_rendered_film(page: Page, own: Path) -> None:
    await from_film_to_talking(page, own, ROOT / "avatars" / "ada" / "anchor.mp4", "rendered")


@pytest.mark.slow
@pytest.mark.parametrize("clip", ["musetalk-sun-silent", "hdtf-WDA_KatieHill_000"])
async def test_a_filmed_person(page: Page, own: Path, data_folder: Path, clip: str) -> None:
    film = data_folder / "clips" / f"{clip}.mp4"
    if not film.is_file():
        pytest.skip(f"{film.name} is not in {film.parent}")
    await from_film_to_talking(page, own, film, clip.lower().replace("_", "-"))


async def test_what_only_calls_itself_a_video_is_explained(page: Page, own: Path, tmp_path: Path) -> None:
    film = tmp_path / "me.mp4"
    film.write_bytes(os.urandom(200_000))
    await page.click("#create-open")
    await page.set_input_files("#film-file", film)
    await page.click("#create-next")
    await page.fill("#create-name", "nobody")
    await page.check("#create-agree")
    await page.click("#create-go")
    await page.wait_for_selector("#create-open[data-state=failed]", timeout=MAKING_MS, state="attached")
    shown = await page.locator("#making-findings li").all_inner_texts()
    assert any("cannot be read as a video" in text for text in shown), await page.inner_text("#create-error")
    assert not (own / "nobody").exists()
