"""The dialog that makes a presenter, driven as its user drives it; the makers behind it only act."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, FilePayload, Page

from tests.browser.conftest import serving
from tests.browser.helpers import connect, read_session
from tests.browser.test_access import CONTRAST, unnamed_controls
from tests.streaming.conftest import eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

JOBS = "/v1/avatars/jobs"


def film(play: str, name: str = "me.mp4") -> FilePayload:
    """A "video" that tells the acting maker what to do."""
    return {"name": name, "mimeType": "video/mp4", "buffer": play.encode()}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The acting server's folder of avatars."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def server(chromium: str, own: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a server whose makers act."""
    log = tmp_path_factory.mktemp("server") / "output.txt"
    with serving(log, "tests.browser.acting_server", str(own)) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, server: str) -> AsyncIterator[BrowserContext]:
    """A fresh English profile at desktop size that may use camera and microphone; its jobs end with it."""
    made = await browser.new_context(
        base_url=server,
        locale="en-US",
        viewport={"width": 1440, "height": 900},
        permissions=["microphone", "camera"],
    )
    made.set_default_timeout(20_000)
    yield made
    for job in await jobs(made):
        await made.request.delete(f"{JOBS}/{job['id']}")
    for avatar in await (await made.request.get("/v1/avatars")).json():
        if avatar["own"] and avatar["name"] != "fake":
            await made.request.delete(f"/v1/avatars/{avatar['name']}")
    await made.close()


async def jobs(context: BrowserContext) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await (await context.request.get(JOBS)).json()
    return found


async def open_dialog(page: Page) -> None:
    await page.click("#create-open")
    await page.wait_for_selector("#create[open]")


async def choose_film(page: Page, play: str) -> None:
    await page.set_input_files("#film-file", film(play))
    await page.click("#create-next")
    await page.wait_for_selector("#create[data-step=consent]")


async def consent(page: Page, name: str = "Lin") -> None:
    await page.fill("#create-name", name)
    await page.check("#create-agree")
    await page.click("#create-go")


async def make(page: Page, play: str, name: str = "Lin") -> None:
    """From the closed dialog until the film is on its way."""
    await open_dialog(page)
    await choose_film(page, play)
    await consent(page, name)


def go_on(own: Path) -> None:
    """Let the maker that waits go on."""
    for pid in own.glob(".workroom-*/*/pid"):
        (pid.parent / "go").touch()


async def error_text(page: Page) -> str:
    await page.wait_for_selector("#create-error.shown")
    return await page.inner_text("#create-error")


async def test_from_a_film_to_a_session(page: Page, context: BrowserContext) -> None:
    await open_dialog(page)
    assert await page.is_disabled("#create-next")
    assert await page.locator(".tips li").count() == 5
    await choose_film(page, "good")
    assert await page.evaluate("document.activeElement.id") == "create-name"
    await consent(page)
    await page.wait_for_selector("#create[data-step=result]")
    assert await page.inner_text("#create-result-title") == "Lin is ready"
    assert await page.inner_text("#result-findings li .finding-kind") == "To make it even better"
    # Chosen already, behind the dialog.
    assert await page.input_value(".presenter input:checked") == "lin"
    await page.click("#create-talk")
    await page.wait_for_selector("#stage[data-playing]")
    link = await page.input_value("#link")
    _, body = await read_session(context, link.partition("session=")[2])
    assert body["avatar"] == "lin"
    # The next one begins anew.
    await open_dialog(page)
    assert await page.get_attribute("#create", "data-step") == "film"
    assert await page.input_value("#create-name") == ""
    assert not await page.is_checked("#create-agree")


async def test_the_consent_is_stored_as_it_was_given(page: Page, context: BrowserContext) -> None:
    sent: list[Any] = []
    page.on("request", lambda r: sent.append(r.post_data_json) if r.url.endswith(JOBS) else None)
    await open_dialog(page)
    await choose_film(page, "good")
    await page.fill("#create-name", "Lin")
    assert await page.input_value("#create-by") == "Lin"
    await page.fill("#create-by", "Lin Wei")
    await page.fill("#create-name", "Xiao Lin")
    assert await page.input_value("#create-by") == "Lin Wei"
    await page.check("#create-agree")
    await page.click("#create-go")
    await page.wait_for_selector("#create[data-step=result]")
    (wanted,) = [body for body in sent if body]
    assert wanted["title"] == {"en": "Xiao Lin", "zh": "Xiao Lin"}
    assert wanted["consent"]["by"] == "Lin Wei"
    assert wanted["consent"]["accepted"] is True
    assert wanted["consent"]["statement"].startswith("I agree that a speaking presenter")
    assert wanted["bytes"] == len("good")


async def test_nothing_is_made_before_everything_is_said(page: Page) -> None:
    await open_dialog(page)
    await choose_film(page, "good")
    assert await page.is_disabled("#create-go")
    await page.fill("#create-name", "Lin")
    assert await page.is_disabled("#create-go")
    await page.check("#create-agree")
    assert await page.is_enabled("#create-go")
    for field in ("#create-name", "#create-by", "#create-statement"):
        before = await page.input_value(field)
        await page.fill(field, "  ")
        assert await page.is_disabled("#create-go")
        await page.fill(field, before)
        assert await page.is_enabled("#create-go")
    await page.uncheck("#create-agree")
    assert await page.is_disabled("#create-go")


async def test_what_is_wrong_with_the_film_is_told_in_the_pages_language(page: Page) -> None:
    await make(page, "unfit")
    await page.wait_for_selector("#making-findings li")
    kinds = await page.locator("#making-findings .finding-kind").all_inner_texts()
    assert kinds == ["To be mended", "To make it even better"]
    problem = page.locator("#making-findings li[data-severity=problem]")
    assert "The face is too small; come closer to the camera." in await problem.inner_text()
    assert "0:01" in await problem.inner_text()
    await page.evaluate("import('/static/i18n.js').then(({setLanguage}) => setLanguage('zh'))")
    assert "脸太小；请离镜头近一点。" in await problem.inner_text()
    await page.evaluate("import('/static/i18n.js').then(({setLanguage}) => setLanguage('en'))")
    assert await page.inner_text("#create-open-text") == "Lin: another video is needed"
    # What was said of the person stays for the next try.
    await page.click("#create-retry")
    await choose_film(page, "good")
    assert await page.input_value("#create-name") == "Lin"
    await page.click("#create-go")
    await page.wait_for_selector("#create[data-step=result]")


async def test_a_closed_dialog_and_a_reloaded_page_lose_nothing(page: Page, own: Path) -> None:
    await make(page, "wait")
    await page.wait_for_selector("#making-steps [data-step=look][data-state=now]")
    await page.keyboard.press("Escape")
    await page.wait_for_selector("#create:not([open])", state="attached")
    assert await page.evaluate("document.activeElement.id") == "create-open"
    assert await page.inner_text("#create-open-text") == "Making Lin"
    assert await page.is_visible("#create-open-bar")
    await page.reload()
    await page.wait_for_selector("#create-open[data-state=going]")
    await open_dialog(page)
    assert await page.get_attribute("#create", "data-step") == "making"
    await page.click("#create-close")
    go_on(own)
    await page.wait_for_selector("#create-open[data-state=done]")
    assert await page.inner_text("#create-open-text") == "Lin is ready"
    await page.wait_for_selector(".presenter input[value=lin]", state="attached")
    await open_dialog(page)
    assert await page.get_attribute("#create", "data-step") == "result"


async def test_cancelling_leaves_nothing(page: Page, context: BrowserContext, own: Path) -> None:
    await make(page, "wait")
    await page.wait_for_selector("#making-steps [data-step=look][data-state=now]")
    await page.click("#create-cancel")
    await page.wait_for_selector("#create[data-step=consent]")

    async def none_left() -> bool:
        return await jobs(context) == []

    await eventually(none_left)
    assert await page.get_attribute("#create-open", "data-state") == "none"
    assert not (own / "lin").exists()
    # The film and the consent are still there.
    assert await page.is_enabled("#create-go")


async def test_an_upload_that_breaks_off_can_be_sent_again(page: Page, context: BrowserContext) -> None:
    await page.route("**/video", lambda route: route.abort("connectionreset"))
    await make(page, "good")
    assert await error_text(page) == "The upload broke off; send the video again."
    assert await page.get_attribute("#create", "data-step") == "consent"
    await page.unroute("**/video")
    await page.click("#create-go")
    await page.wait_for_selector("#create[data-step=result]")


async def test_a_film_that_is_too_large_is_refused_before_it_is_sent(page: Page) -> None:
    await make(page, "good" + " " * (2 << 20))
    assert await error_text(page) == "The file is larger than 1 MB; send a shorter or smaller one."
    assert await page.get_attribute("#create", "data-step") == "consent"


async def test_what_is_no_video_is_refused_in_the_page(page: Page) -> None:
    await open_dialog(page)
    text: FilePayload = {"name": "me.txt", "mimeType": "text/plain", "buffer": b"text"}
    await page.set_input_files("#film-file", text)
    assert await error_text(page) == "This is no video; choose an MP4, MOV or WebM file."
    await page.set_input_files("#film-file", film(""))
    assert await error_text(page) == "This file is empty; choose another one."
    assert await page.is_disabled("#create-next")


async def test_a_server_that_is_busy_says_so(page: Page) -> None:
    busy = {"detail": "Other presenters are being made or wait to be; try again in a while."}
    await page.route(f"**{JOBS}", lambda route: route.fulfill(status=503, json=busy))
    await make(page, "good")
    assert await error_text(page) == "Other presenters are being made; try again in a while."


async def test_a_film_can_be_dropped(page: Page) -> None:
    await open_dialog(page)
    await page.evaluate(
        """() => {
             const files = new DataTransfer();
             files.items.add(new File(['good'], 'me.mov', {type: 'video/quicktime'}));
             document.getElementById('film-drop').dispatchEvent(
               new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true}));
           }"""
    )
    assert await page.inner_text("#film-name") == "me.mov · 0.0 MB"
    assert await page.is_enabled("#create-next")


async def test_a_film_can_be_recorded_here(page: Page) -> None:
    await open_dialog(page)
    await page.click("#film-camera")
    await page.wait_for_selector("#film[data-state=camera]")
    await page.wait_for_function("document.getElementById('film-video').videoWidth > 0")
    await page.click("#film-start")
    assert await page.inner_text("#film-cue-text") == "Be silent and look into the camera"
    await page.wait_for_function("document.getElementById('film-cue-left').textContent <= '0:08'")
    await page.click("#film-stop")
    await page.wait_for_selector("#film[data-state=file]")
    assert (await page.inner_text("#film-name")).startswith("recording.")
    # The recording can be watched, and the camera is let go.
    await page.wait_for_function("document.getElementById('film-video').readyState >= 2")
    assert await page.evaluate("document.getElementById('film-video').srcObject") is None
    await page.click("#create-next")
    assert await page.get_attribute("#create", "data-step") == "consent"


async def test_closing_the_dialog_lets_go_of_the_camera(page: Page) -> None:
    await open_dialog(page)
    await page.click("#film-camera")
    await page.wait_for_selector("#film[data-state=camera]")
    stream = await page.evaluate_handle("document.getElementById('film-video').srcObject")
    await page.keyboard.press("Escape")
    ended = "(s) => s.getTracks().every((track) => track.readyState === 'ended')"
    await page.wait_for_function(ended, arg=stream)


async def test_a_blocked_camera_is_explained(page: Page, context: BrowserContext) -> None:
    await context.clear_permissions()
    await open_dialog(page)
    await page.click("#film-camera")
    assert await error_text(page) == "The camera is blocked; allow it beside the address bar, then try again."
    assert await page.get_attribute("#film", "data-state") == "none"


async def test_a_package_is_taken_in_and_given_out(page: Page, own: Path) -> None:
    await open_dialog(page)
    package: FilePayload = {"name": "lin.zip", "mimeType": "application/zip", "buffer": b"a package"}
    await page.set_input_files("#film-file", package)
    assert await page.inner_text("#create-next") == "Import presenter"
    await page.click("#create-next")
    await page.wait_for_selector("#create[data-step=result]")
    await page.click("#create-done")
    assert await page.input_value(".presenter input:checked") == "imported"
    async with page.expect_download() as download:
        await page.click("#own-export")
    assert (await download.value).suggested_filename == "imported.zip"
    page.on("dialog", lambda dialog: dialog.accept())
    await page.click("#own-delete")
    await page.wait_for_selector(".presenter input[value=imported]", state="detached")
    assert not (own / "imported").exists()


async def test_shipped_presenters_cannot_be_deleted(page: Page) -> None:
    await page.click(".presenter:has(input[value=ada])")
    assert not await page.is_visible("#own-tools")
    await page.click(".presenter:has(input[value=fake])")
    assert await page.is_visible("#own-tools")


async def test_escape_closes_the_dialog_and_does_not_interrupt(page: Page) -> None:
    await page.click(".presenter:has(input[value=fake])")
    await connect(page)
    posts: list[str] = []
    page.on("request", lambda sent: posts.append(sent.url) if sent.method == "POST" else None)
    await open_dialog(page)
    await page.keyboard.press("Escape")
    await page.wait_for_selector("#create:not([open])", state="attached")
    assert [url for url in posts if "interrupt" in url] == []
    await page.keyboard.press("Escape")
    await page.wait_for_function("document.getElementById('status').textContent === 'Interrupted.'")


async def test_by_keyboard_alone(page: Page) -> None:
    async def tab_to(wanted: str) -> None:
        for _ in range(30):
            await page.keyboard.press("Tab")
            if await page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
                return
        pytest.fail(f"{wanted} cannot be reached by Tab")

    await tab_to("#create-open")
    await page.keyboard.press("Enter")
    await tab_to("#film-file")
    await page.set_input_files("#film-file", film("good"))
    await tab_to("#create-next")
    await page.keyboard.press("Enter")
    await page.keyboard.type("Lin")
    await tab_to("#create-agree")
    await page.keyboard.press("Space")
    await tab_to("#create-go")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#create[data-step=result]")
    for control in ("#create-delete", "#create-done", "#create-talk"):
        await tab_to(control)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#stage[data-playing]")


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("language", ["en", "zh"])
async def test_every_step_is_readable_named_and_fits(
    page: Page, own: Path, width: int, language: str
) -> None:
    await page.emulate_media(reduced_motion="reduce")
    await page.set_viewport_size({"width": width, "height": 844})
    await page.click(f"#lang-{language}")

    async def check() -> None:
        texts = await page.evaluate(CONTRAST)
        assert len(texts) >= 6
        assert [item for item in texts if item["ratio"] < 4.5] == []
        assert await unnamed_controls(page, least=2) == []
        assert await page.evaluate("document.getElementById('create').scrollWidth") <= width
        small = await page.evaluate(
            """() => [...document.querySelectorAll('#create button, #create input')]
                 .filter((control) => control.checkVisibility() && !control.matches('.sr-only'))
                 .filter((control) => Math.min(control.offsetWidth, control.offsetHeight) < 20)
                 .map((control) => control.id)"""
        )
        assert small == []

    await open_dialog(page)
    await check()
    await choose_film(page, "wait")
    await page.fill("#create-name", "Lin")
    await page.check("#create-agree")
    await check()
    await page.click("#create-go")
    await page.wait_for_selector("#making-steps [data-step=look][data-state=now]")
    await check()
    go_on(own)
    await page.wait_for_selector("#create[data-step=result]")
    await check()
