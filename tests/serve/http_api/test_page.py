"""The page in a real browser, without a network."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from bertqa import AsyncQAClient
from bertqa.client._local import ThreadedTransport
from bertqa_serve.http_api import HttpApiOptions, SideBySide, System
from tests.support.engines import Served
from tests.support.http_api import options_for, serving
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info, write_config, write_toy_version

CONTEXT = "The 🌉 bridge was designed by Anna Berg. It was opened in 1932."
SECONDS = 60.0
NARROW, WIDE = ViewportSize(width=400, height=800), ViewportSize(width=1400, height=900)


def _systems() -> list[System]:
    def opened() -> AsyncQAClient:
        versions = {1: model_info(), 2: model_info()}
        return AsyncQAClient(transport=ThreadedTransport(InProcessTransport(versions)))

    return [System(f"version {number}", opened, number, number) for number in (1, 2)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(HttpApiOptions(client={}), SideBySide(_systems(), "bert-qa")) as url:
        yield url


@pytest.fixture(scope="module")
def new_page() -> Iterator[Callable[..., Page]]:
    program = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if program is None:
        pytest.skip("there is no chromium on PATH, and CHROMIUM names none")
    with sync_playwright() as playwright:
        expect.set_options(timeout=SECONDS * 1000)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])

        def opened(**options: Any) -> Page:
            page = browser.new_page(**{"viewport": WIDE, **options})
            page.set_default_timeout(SECONDS * 1000)
            return page

        yield opened
        browser.close()


def watched(page: Page) -> tuple[list[str], list[str]]:
    """Return what a page requests, and what goes wrong on it, from now on."""
    requests: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    return requests, problems


def ask(page: Page, question: str, context: str) -> None:
    """Ask by keyboard alone."""
    expect(page.get_by_label("Question")).to_be_focused()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(question)
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text(context)
    page.keyboard.press("Control+Enter")


def test_a_question_is_asked_by_keyboard_and_its_answer_marked(
    new_page: Callable[..., Page], url: str
) -> None:
    page = new_page()
    requests, problems = watched(page)
    page.goto(url)
    ask(page, "Who designed it?", CONTEXT)
    expect(page.get_by_role("status")).to_have_text("Answered.")
    card = page.locator(".card")
    expect(card.locator(".text")).to_have_text(CONTEXT)
    expect(card.locator(".figures")).to_contain_text(" ms · version 1")
    answer = card.locator(".answer").inner_text()
    assert answer in CONTEXT
    expect(card.locator("mark")).to_have_text(answer)
    # Each further answer is marked in the text when it is chosen, by its place in JavaScript.
    others = card.get_by_role("list").get_by_role("button")
    assert others.count() == 5
    others.nth(1).press("Enter")
    expect(others.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(card.locator("mark")).to_have_text(card.locator(".answer").inner_text())
    assert {each.removeprefix(url) for each in requests} == {"/", "/v1/versions", "/v1/answers"}
    assert not problems


def test_two_versions_side_by_side(new_page: Callable[..., Page], url: str) -> None:
    page = new_page()
    page.goto(f"{url}/?compare=1,2")
    expect(page.get_by_label("side by side with")).to_be_checked()
    ask(page, "Who designed it?", CONTEXT)
    expect(page.get_by_role("status")).to_contain_text("answer")
    for number in (1, 2):
        card = page.get_by_role("region", name=f"version {number}")
        expect(card.locator(".figures")).to_contain_text(f"version {number}")
    page.get_by_label("side by side with").uncheck()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".card")).to_have_count(1)


def test_a_model_is_chosen_where_a_request_may_name_several(
    new_page: Callable[..., Page], tmp_path: Path
) -> None:
    write_toy_version(tmp_path, 1)
    for version in (2, 3):
        write_toy_version(tmp_path, version, model="customer-1")
    write_config(tmp_path, "bert-qa", "customer-1")
    with (
        Served("local", tmp_path) as server,
        serving(options_for(server, models=("*",))) as url,
    ):
        page = new_page()
        page.goto(url)
        expect(page.get_by_label("Model")).to_have_value("bert-qa")
        expect(page.get_by_label("Version", exact=True)).to_be_hidden()
        page.get_by_label("Model").select_option("customer-1")
        page.get_by_label("Version", exact=True).select_option("2")
        page.keyboard.press("/")
        page.keyboard.press("Enter")
        expect(page.locator(".figures")).to_contain_text("version 2")
        expect(page.locator("pre")).to_contain_text('"model":"customer-1"')


def test_the_line_of_curl_gets_the_same(new_page: Callable[..., Page], url: str) -> None:
    page = new_page()
    page.goto(url)
    ask(page, "Who designed Anna's bridge?", "It's Anna's \"bridge\" & $HOME `x` \\ 🌉.")
    expect(page.locator(".card")).to_be_visible()
    line = page.locator("#line code").inner_text()
    curl, *arguments = shlex.split(line)
    if shutil.which(curl) is None:
        pytest.skip("there is no curl on PATH")
    answered = subprocess.run([curl, "-sS", *arguments], capture_output=True, text=True, check=True)
    assert f'"text":"{page.locator(".answer").inner_text()}"' in answered.stdout.replace('\\"', '"')


def test_what_is_typed_is_shown_and_not_run(new_page: Callable[..., Page], url: str) -> None:
    page = new_page()
    page.goto(url)
    ask(page, "<b>Who?</b>", "<img src=x onerror=\"document.title='run'\"> Anna & Berg")
    expect(page.locator(".card .text")).to_contain_text("Anna & Berg")
    assert page.locator("#results img").count() == 0
    assert page.title() == "Ask a text · bert-qa"


def test_a_text_file_can_be_dropped_and_a_long_text_is_folded(
    new_page: Callable[..., Page], url: str
) -> None:
    page = new_page()
    page.goto(url)
    long = "It was a long night. " * 200
    page.evaluate(
        """(text) => {
          const data = new DataTransfer();
          data.items.add(new File([text], "night.txt", { type: "text/plain" }));
          document.getElementById("text").dispatchEvent(
            new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        long,
    )
    expect(page.get_by_role("status")).to_have_text("Read night.txt: 4,200 characters.")
    expect(page.get_by_label("Question")).to_be_focused()
    page.keyboard.press("Enter")
    text = page.locator(".card .text")
    expect(text).to_contain_text("…")
    page.get_by_role("button", name="Show all").click()
    expect(text).to_have_text(long)
    page.get_by_role("button", name="Show less").click()
    expect(text).to_contain_text("…")


def test_what_cannot_be_answered_is_a_sentence(new_page: Callable[..., Page], url: str) -> None:
    page = new_page()
    page.goto(url)
    ask(page, " \u200b ", CONTEXT)
    expect(page.get_by_role("status")).to_contain_text("question")
    expect(page.locator(".card")).to_have_count(0)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()


def test_the_page_asks_for_a_token_where_one_is_required(new_page: Callable[..., Page]) -> None:
    options = HttpApiOptions(client={}, token="secret")
    with serving(options, SideBySide(_systems(), "bert-qa")) as url:
        page = new_page()
        page.goto(url)
        expect(page.get_by_label("Bearer token")).to_be_visible()
        page.get_by_label("Bearer token").fill("secret")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("Answered.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [NARROW, WIDE], ids=["narrow", "wide"])
def test_nothing_is_out_of_reach(
    new_page: Callable[..., Page], url: str, viewport: ViewportSize, scheme: str
) -> None:
    """What axe finds wrong, and what is wider than the window."""
    from axe_playwright_python.sync_playwright import Axe

    # The page runs no script but its own, and so not that of axe either.
    page = new_page(viewport=viewport, color_scheme=scheme, bypass_csp=True)
    page.goto(f"{url}/?compare=1,2")
    ask(page, "Who designed it?", CONTEXT + " " + "x" * 300 + " It was a long night." * 100)
    expect(page.locator(".card")).to_have_count(2)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
