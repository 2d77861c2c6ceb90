"""The lips follow the voice, as a viewer sees and hears it: microphone in, picture and sound out."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from engine.anchor.package import Avatar, find_avatar
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, Samples
from tests.browser.helpers import CHROMIUM_FLAGS, connect, skip_when_busy, wait_for_microphone
from tests.browser.lips import (
    correlations,
    distance,
    loop_pictures,
    mouth_box,
    opening,
    record,
    strongest,
    together,
    words_with_pauses,
)
from tests.fakes import room_noise, write_sound

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PRESENTER = "ada"
RATE = 48_000
SECONDS = 12.0
HEARD = 1e-4
"""Root mean square of a received sound that is not digital silence."""


def quiet_room() -> Samples:
    return room_noise(10.0)


def at_48_khz(samples: Samples) -> Samples:
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray().reshape(-1) for part in parts])


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    """A Chromium of its own, whose microphone hears the test's sound over and over."""
    make: Callable[[], Samples] = request.param
    sound = write_sound(tmp_path / "microphone.wav", at_48_khz(make()), RATE)
    flags = ["--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={sound}"]
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS, *flags])
        yield launched
        await launched.close()


@pytest.fixture(scope="module")
def presenter() -> Avatar:
    return Avatar.load(find_avatar(PRESENTER))


async def connect_presenter(page: Page) -> None:
    # A small page without animations: the machine may be busy, and only the received stream counts.
    await page.set_viewport_size({"width": 800, "height": 600})
    await page.emulate_media(reduced_motion="reduce")
    await page.click(f".presenter:has(input[value={PRESENTER}])")
    await connect(page)


async def turn_microphone_on(page: Page, context: BrowserContext) -> None:
    await page.click("#mic-on")
    await page.wait_for_selector("body[data-mic=live]")
    link = await page.input_value("#link")
    await wait_for_microphone(context, parse_qs(urlsplit(link).query)["session"][0], on=True)


@pytest.mark.usefixtures("quiet_machine")
@pytest.mark.parametrize("browser", [words_with_pauses], indirect=True, ids=["words"])
async def test_lips_open_with_the_sound_that_is_heard(
    page: Page, context: BrowserContext, presenter: Avatar
) -> None:
    box = mouth_box(presenter.card)
    loop = loop_pictures(presenter, box)
    await connect_presenter(page)
    await turn_microphone_on(page, context)
    await page.wait_for_timeout(2000)
    recording = await record(page, box, SECONDS)
    skip_when_busy()
    assert recording.shown.size >= 0.8 * FRAME_RATE * SECONDS
    by_lag = correlations(*together(recording, opening(recording.pictures, loop)))
    lag, r = strongest(by_lag)
    assert abs(lag) <= 1 / FRAME_RATE
    assert r >= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("browser", [quiet_room], indirect=True, ids=["room"])
async def test_quiet_room_leaves_the_mouth_to_the_idle_loop(
    page: Page, context: BrowserContext, presenter: Avatar
) -> None:
    box = mouth_box(presenter.card)
    loop = loop_pictures(presenter, box)
    await connect_presenter(page)
    # The first pictures are coarse until the encoder has caught up.
    await page.wait_for_timeout(2000)
    idle = await record(page, box, 2.0)
    assert idle.sound.max() < HEARD
    await turn_microphone_on(page, context)
    await page.wait_for_timeout(1000)
    listening = await record(page, box, 6.0)
    assert listening.sound.max() > HEARD
    usual = float(np.median(distance(idle.pictures, loop)))
    assert distance(listening.pictures, loop).max() <= usual + 1.5
