"""The page in a real browser, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.deploy.page_server import serving_page

CONTEXT = "The 🌉 bridge was designed by Anna Berg. It was opened in 1932."


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving_page() as url:
        yield url


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Callable[[], Page]]:
    program = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if program is None:
        pytest.skip("there is no chromium on PATH, and CHROMIUM names none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield lambda: browser.new_page(viewport={"width": 1200, "height": 900})
        browser.close()


def test_one_question_is_answered_by_both_by_keyboard_alone(
    browser_page: Callable[[], Page], url: str
) -> None:
    page = browser_page()
    requests: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.goto(url)
    expect(page.get_by_label("Question")).to_be_focused()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("Who designed it?")
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text(CONTEXT)
    page.keyboard.press("Control+Enter")

    for number in (1, 2):
        manifest = page.get_by_label(f"version {number}")
        expect(manifest).to_be_visible()
        expect(manifest).to_contain_text(f"version {number}")
        expect(manifest.locator(".context")).to_have_text(CONTEXT)
        answer = manifest.locator(".answer").inner_text()
        assert answer in CONTEXT
        expect(manifest.locator("mark")).to_have_text(answer)
        expect(manifest.locator(".figures")).to_contain_text(" ms · ")
    expect(page.get_by_role("status")).to_contain_text("answer")
    assert {request.removeprefix(url) for request in requests} == {"/", "/ask"}
    assert not problems


def test_what_is_typed_is_shown_and_not_run(browser_page: Callable[[], Page], url: str) -> None:
    page = browser_page()
    page.goto(url)
    page.get_by_label("Text").fill("<img src=x onerror=\"document.title='run'\"> Anna & Berg")
    page.get_by_label("Question").press("Enter")
    expect(page.get_by_label("version 1").locator(".context")).to_contain_text("Anna & Berg")
    assert page.locator("#answers img").count() == 0
    assert page.title() == "version 1 and version 2"


def test_an_empty_question_is_not_sent(browser_page: Callable[[], Page], url: str) -> None:
    page = browser_page()
    page.goto(url)
    page.get_by_label("Question").fill("")
    page.keyboard.press("Enter")
    expect(page.get_by_label("version 1")).to_be_hidden()


def test_the_slash_key_goes_to_the_question(browser_page: Callable[[], Page], url: str) -> None:
    page = browser_page()
    page.goto(url)
    page.get_by_role("button").focus()
    page.keyboard.press("/")
    expect(page.get_by_label("Question")).to_be_focused()
