"""Pictures of the page to ask on and of a comparison, as the documentation shows them.

    python -m tools.screenshots docs/images --repository model_repository \\
        --data build/recipes/demo/evaluation-sample.json

Needs two published versions, and a Chromium on PATH or in the variable CHROMIUM.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tools.serving import served

_SIZE = {"width": 1000, "height": 960}
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_MILLISECONDS = 120_000


def program() -> str:
    """Return the browser's program.

    Raises:
        SystemExit: There is none.
    """
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if found is None:
        raise SystemExit("There is no chromium on PATH, and CHROMIUM names none.")
    return found


def ask_side_by_side(page: Page, url: str) -> None:
    """Ask both versions on the page of the HTTP API.

    Args:
        page: The browser's page.
        url: The address of the HTTP API.
    """
    page.goto(url)
    page.wait_for_selector("#choice:not([hidden])")
    page.check("#both")
    # The first question opens connections, and has kernels compiled for its length.
    for _ in range(2):
        with page.expect_response("**/v1/answers"):
            page.click("#ask")
        page.wait_for_selector("#ask:enabled")
    page.wait_for_selector("#results mark")


def main() -> None:
    """Take the pictures, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repository", default="model_repository")
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=["--no-sandbox"])
        with served(options.repository) as server:
            page = _page(browser)
            ask_side_by_side(page, server["http_url"])
            page.screenshot(path=options.folder / "page.png")
        report = Path(folder, "comparison.html")
        compare = ["compare", "1", "2", "--data", options.data, "--html", str(report)]
        _run(*compare, "--repository", options.repository)
        page = _page(browser)
        page.goto(report.as_uri())
        page.screenshot(path=options.folder / "comparison.png")
        browser.close()


def _page(browser: Browser) -> Page:
    context: Any = {"viewport": _SIZE, "color_scheme": "light"}
    page = browser.new_page(**context)
    page.set_default_timeout(_MILLISECONDS)
    return page


def _run(*arguments: str) -> None:
    command = [sys.executable, "-m", "bertqa_cli.main", *arguments]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
