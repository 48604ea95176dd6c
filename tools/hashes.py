"""What the images install, with the hash of each file, from pyproject.toml and constraints.txt.

    python -m tools.hashes            # write deploy/docker/*.requirements.txt, with uv
    python -m tools.hashes --check    # whether they still fit, without a network

Images with torch have none: which build of it they take is said when they are built.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools import programs

ROOT = Path(__file__).parents[1]
EXTRAS: dict[str, tuple[str, ...]] = {"client": ("api", "sign"), "switch": ("deploy",)}
"""The extras of the distribution that go into an image."""
WHEEL = "wheel"
"""What builds the distribution's wheel, which no image keeps."""

_COMPILE = (
    *("pip", "compile", "--no-config", "--quiet", "--generate-hashes", "--no-header"),
    *("--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
    *("--default-index", "https://pypi.org/simple", "--constraint", "constraints.txt"),
    *("--python-version", "3.11", "--python-platform", "x86_64-unknown-linux-gnu"),
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ \\;\n]+)(.*(?:(?<=\\)\n.*)*)", re.MULTILINE)


def path_of(name: str, root: Path = ROOT) -> Path:
    """Return the file of an image, or of the wheel.

    Args:
        name: Its name.
        root: The project's root.
    """
    return root / "deploy" / "docker" / f"{name}.requirements.txt"


def write() -> None:
    """Write all files, with the versions of constraints.txt."""
    for image, extras in EXTRAS.items():
        _compile(image, "pyproject.toml", *(f"--extra={each}" for each in extras))
    _compile(WHEEL, "-", requirements="\n".join(_needed(WHEEL, ROOT)))


def _compile(name: str, source: str, *options: str, requirements: str = "") -> None:
    command: tuple[str | Path, ...] = (
        programs.uv(),
        *_COMPILE,
        *options,
        "--output-file",
        path_of(name),
        source,
    )
    subprocess.run(
        command, cwd=ROOT, check=True, input=requirements.encode(), stdout=subprocess.DEVNULL
    )


def faults(root: Path = ROOT) -> list[str]:
    """Return what does not fit, as sentences; packages that others bring are not looked for.

    Args:
        root: The project's root.
    """
    pinned = dict(_pins((root / "constraints.txt").read_text(encoding="utf-8")))
    found: list[str] = []
    for name in (*EXTRAS, WHEEL):
        path = path_of(name, root)
        text = path.read_text(encoding="utf-8")
        versions = dict(_pins(text))
        found += [
            f"{path.name} lacks {each}, which pyproject.toml asks for."
            for each in map(_normal, _needed(name, root))
            if each not in versions
        ]
        found += [
            f"{path.name} has {each} {version}, and constraints.txt {pinned[each]}."
            for each, version in versions.items()
            if pinned.get(each, version) != version
        ]
        found += [
            f"{path.name} has no hash for {match[1]}."
            for match in _PIN.finditer(text)
            if "--hash=sha256:" not in match[3]
        ]
    return found


def _pins(text: str) -> list[tuple[str, str]]:
    return [(_normal(match[1]), match[2]) for match in _PIN.finditer(text)]


def _needed(name: str, root: Path) -> list[str]:
    """Return the requirements that pyproject.toml has for an image, or for the wheel."""
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    if name == WHEEL:
        return list(project["build-system"]["requires"])
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    found, waiting = list(project["project"]["dependencies"]), list(EXTRAS[name])
    while waiting:
        for each in extras[waiting.pop()]:
            own = re.fullmatch(r"bertqa\[(.+)\]", each)
            if own:
                waiting += own[1].split(",")
            else:
                found.append(each)
    return found


def _normal(requirement: str) -> str:
    """Return the name in a requirement, as PyPI writes it."""
    named = _NAME.match(requirement)
    assert named is not None, requirement
    return re.sub(r"[-_.]+", "-", named[0]).lower()


def main(arguments: Sequence[str]) -> int:
    """Write the files, or check them.

    Args:
        arguments: Nothing, or `--check`.

    Returns:
        The exit status: 1 where a file does not fit.
    """
    if "--check" not in arguments:
        write()
        return 0
    found = faults()
    for each in found:
        print(f"{each} Run python -m tools.hashes.", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
