"""Keyboard, names, focus, contrast and languages: the page is for everyone."""

from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser.helpers import connect, wait_for_tally

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CONTROL_ROLES = {"button", "checkbox", "combobox", "link", "meter", "radio", "slider", "textbox"}

FOCUS = """() => {
  const active = document.activeElement;
  const ring = active.matches('.presenter input') ? active.parentElement : active;
  const style = getComputedStyle(ring);
  const box = ring.getBoundingClientRect();
  return {id: active.id || active.value || active.className, ring: style.outlineStyle !== 'none' &&
          parseFloat(style.outlineWidth) >= 2, inside: box.width > 0 && box.left >= 0 && box.top >= 0};
}"""

# WCAG 2 contrast of every visible text on the page, against the worst of black and white behind the picture.
CONTRAST = """() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return {r, g, b, a};
  };
  const over = (top, under) => ({
    r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a),
    b: top.b * top.a + under.b * (1 - top.a), a: 1,
  });
  const light = ({r, g, b}) => {
    const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const ratio = (one, two) => {
    const [high, low] = [light(one), light(two)].sort((a, b) => b - a);
    return (high + .05) / (low + .05);
  };
  const backdrop = (element, base) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      if (at.id === 'stage') return layers.reverse().reduce((under, top) => over(top, under), base);
      layers.push(parse(getComputedStyle(at).backgroundColor));
    }
    return layers.reverse().reduce((under, top) => over(top, under), {r: 11, g: 13, b: 18, a: 1});
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (element.closest(':disabled, .sr-only, .skip, option, .presenter, noscript')) continue;
    const ink = parse(getComputedStyle(element).color);
    const ratios = [0, 255].map((v) => ratio(ink, backdrop(element, {r: v, g: v, b: v, a: 1})));
    found.push({text: text.slice(0, 40), ratio: Math.min(...ratios)});
  }
  return found;
}"""


async def unnamed_controls(page: Page, least: int = 6) -> list[str]:
    """Roles of controls in Chromium's accessibility tree that have no name."""
    client = await page.context.new_cdp_session(page)
    tree: dict[str, Any] = await client.send("Accessibility.getFullAXTree")
    seen = [node for node in tree["nodes"] if node.get("role", {}).get("value") in CONTROL_ROLES]
    assert len(seen) >= least
    return [node["role"]["value"] for node in seen if not node.get("name", {}).get("value", "").strip()]


async def test_every_control_has_a_name(page: Page) -> None:
    assert await unnamed_controls(page) == []
    await connect(page)
    assert await unnamed_controls(page) == []
    await page.click("#mic-on")
    await page.wait_for_selector("body[data-mic=live]")
    await page.click("#lang-zh")
    assert await unnamed_controls(page) == []


async def test_whole_visit_by_keyboard_alone(page: Page) -> None:
    visited: list[dict[str, Any]] = []

    async def tab_to(wanted: str) -> None:
        for _ in range(30):
            await page.keyboard.press("Tab")
            focus = await page.evaluate(FOCUS)
            visited.append(focus)
            if await page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
                return
        pytest.fail(f"{wanted} cannot be reached by Tab; visited {[focus['id'] for focus in visited]}")

    first = await page.inner_text("#stage-name")
    await tab_to(".presenter input")
    await page.keyboard.press("ArrowRight")
    assert await page.inner_text("#stage-name") != first
    await tab_to("#connect")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#stage[data-playing]")
    assert await page.evaluate("document.activeElement.id") == "mic-on"
    await tab_to("#text")
    await page.keyboard.type("Good evening, everybody, and welcome to the evening show. " * 5)
    await page.keyboard.press("Enter")
    await wait_for_tally(page, "speaking")
    await page.keyboard.press("Escape")
    await wait_for_tally(page, "standby")
    for control in ("#voice", "#say", "#interrupt", "#link", "#copy", "#stage-mute", "#stage-full", "#end"):
        await tab_to(control)
    await page.keyboard.press("Enter")
    await wait_for_tally(page, "start")
    assert await page.evaluate("document.activeElement.id") == "connect"
    assert [focus["id"] for focus in visited if not (focus["ring"] and focus["inside"]) and focus["id"]] == []


async def test_text_contrast_is_aa_in_every_state(page: Page) -> None:
    async def check() -> None:
        texts = await page.evaluate(CONTRAST)
        assert len(texts) >= 10
        assert [item for item in texts if item["ratio"] < 4.5] == []

    await check()
    await connect(page)
    await page.click("#mic-on")
    await page.wait_for_selector("body[data-mic=live]")
    await check()
    await page.fill("#text", "Good evening, everybody, and welcome to the evening show. " * 5)
    await page.press("#text", "Enter")
    await wait_for_tally(page, "speaking")
    await page.press("#text", "Enter")
    await page.wait_for_selector("#alert.shown")
    await check()


async def test_phone_has_no_sideways_scrolling_and_big_targets(page: Page) -> None:
    await page.set_viewport_size({"width": 390, "height": 844})
    await connect(page)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    small = await page.evaluate(
        """() => [...document.querySelectorAll('button, select, textarea')]
             .filter((control) => control.checkVisibility())
             .filter((control) => Math.min(control.offsetWidth, control.offsetHeight) < 24)
             .map((control) => control.id)"""
    )
    assert small == []


async def test_both_languages_say_everything(context: BrowserContext, server: str) -> None:
    page = await context.new_page()
    await page.goto("/player")
    tables = await page.evaluate(
        """async () => Promise.all(['en', 'zh'].map(async (code) =>
             (await import(`/static/strings/${code}.js`)).default))"""
    )
    english, chinese = tables
    assert english.keys() == chinese.keys()
    assert all(text.strip() for table in tables for text in table.values())
    assert not [key for key, text in chinese.items() if text == english[key]]
    await page.goto("/")
    used = await page.evaluate(
        """() => [...document.querySelectorAll('*')].flatMap((element) => Object.entries(element.dataset))
             .filter(([name]) => name.startsWith('i18n')).map(([, key]) => key)"""
    )
    assert len(used) > 30
    assert set(used) <= english.keys()
