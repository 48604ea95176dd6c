"""Put bert-qa and what it needs into `.venv`, showing what happens: `make` runs it.

It runs before anything is installed, so it needs Python alone.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

VENV = Path(".venv")
LOG = VENV / "install.log"
CONSTRAINTS = "constraints.txt"
# The one of the CUDA build is gigabytes. TORCH_INDEX names another index, and an empty one none.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
_PROBE_SECONDS = 5.0
_LINE_SECONDS = 10.0
_COLLECTED = re.compile(r"\s*Collecting ([A-Za-z0-9._-]+)")
_INSTALLING = re.compile(r"Installing collected packages: (.+)")


def main() -> int:
    """Install, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", help="the extras of bert-qa, as in build,serve")
    extras = parser.parse_args().extras
    try:
        if not (VENV / "bin" / "python").exists():
            _say(f"Making {VENV} with Python {sys.version.split()[0]}")
            subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        _pip("Updating pip", ["--upgrade", "pip"])
        index = torch_index(os.environ.get("TORCH_INDEX", TORCH_INDEX))
        more = [] if index is None else ["--extra-index-url", index]
        _pip(f"Installing bert-qa[{extras}]", [*more, "--editable", f".[{extras}]"])
    except subprocess.CalledProcessError as error:
        return error.returncode
    except KeyboardInterrupt:
        _say("Interrupted: the same command continues.")
        return 130
    return 0


def torch_index(url: str) -> str | None:
    """Return the index of wheels of torch for CPUs alone, where they are of use and at hand.

    Args:
        url: Its address; empty for none.

    Returns:
        The address; None on a machine with an NVIDIA GPU, on one for which PyPI has a build for
        CPUs alone, and where the index cannot be reached.
    """
    if not url or sys.platform != "linux" or shutil.which("nvidia-smi"):
        return None
    try:
        with urllib.request.urlopen(f"{url}/torch/", timeout=_PROBE_SECONDS):
            return url
    except (OSError, ValueError):
        return None


def shown(lines: Iterable[str]) -> Iterator[str]:
    """Yield what to show of pip's output: how many packages it has found, and what it does.

    Args:
        lines: The lines that pip writes.
    """
    found: dict[str, None] = {}
    for line in lines:
        if collected := _COLLECTED.match(line):
            found[collected[1]] = None
            yield f"{len(found)} packages found: {collected[1]}"
        elif installing := _INSTALLING.match(line):
            yield f"writing {len(installing[1].split(', '))} packages"


def _pip(what: str, arguments: list[str]) -> None:
    """Run `pip install`; what it writes is kept, and shown where it fails."""
    begun = last = time.monotonic()
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--no-compile"]
    _say(what)
    with (
        LOG.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            [*command, "--disable-pip-version-check", "--constraint", CONSTRAINTS, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None

        def kept() -> Iterator[str]:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                yield line

        for sentence in shown(kept()):
            if sys.stdout.isatty():
                print(f"\r\033[K  {sentence}", end="", flush=True)
            elif sentence.startswith("writing") or time.monotonic() - last > _LINE_SECONDS:
                last = time.monotonic()
                _say(f"  {sentence}")
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    if process.returncode:
        _say(LOG.read_text(encoding="utf-8"))
        _say(f"{what} failed: pip's output is above, and in {LOG}. Run the same command again.")
        raise subprocess.CalledProcessError(process.returncode, command)
    _say(f"  done in {time.monotonic() - begun:.0f} s")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
