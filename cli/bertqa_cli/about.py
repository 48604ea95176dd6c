"""`bert-qa --version`: what runs here, as a report of a bug needs it."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.markup import escape
from rich.table import Table

from bertqa_cli.console import print_json, print_table, stdout

_SECONDS = 20.0
_MISSING, _UNKNOWN = "not installed", "unknown"
_LABELS = {
    "version": "bert-qa",
    "openvino": "OpenVINO",
    "ovms": "OVMS",
    "cpu": "CPU",
    "cpu_features": "CPU features",
    "python": "Python",
}
_LIBRARIES = (
    *("openvino", "nncf", "optimum-intel", "torch", "transformers", "onnx"),
    *("onnxruntime-openvino", "tokenizers", "numpy", "tritonclient", "grpcio", "httpx"),
    *("pydantic", "fastapi", "kubernetes", "typer", "click", "rich"),
)
# What decides how fast INT8 and bf16 are, and what OpenVINO's kernels ask for.
_FEATURES = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
)


def show_version(*, verbose: bool, json: bool) -> None:
    """Print the version of the command, and with `verbose` all that a report of a bug needs.

    Args:
        verbose: Whether to look for OVMS, the CPU and the libraries too.
        json: Whether to print JSON.
    """
    facts = {"version": _installed("bertqa"), **(_facts() if verbose else {})}
    if json:
        print_json(facts)
        return
    if not verbose:
        stdout.print(f"bert-qa {escape(facts['version'] or _UNKNOWN)}")
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(_LABELS.get(name, name), _in_words(name, value))
    print_table(table)


def machine() -> dict[str, Any]:
    """Return the CPU of this machine, what of it matters to inference, and its usable cores."""
    from bertqa.artifact import cpu_flags, cpu_name, usable_cores

    flags = cpu_flags()
    return {
        "cpu": cpu_name(),
        "cpu_features": [name for name in _FEATURES if name in flags],
        "cores": usable_cores(),
    }


def _in_words(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{each} {found or _MISSING}" for each, found in value.items())
    if isinstance(value, list):
        return " ".join(value) or "none that matter here"
    if value is None:
        return _MISSING if name == "openvino" else _UNKNOWN
    return f"{value / 1e9:.1f} GB" if name == "memory" else str(value)


def _facts() -> dict[str, Any]:
    from bertqa.artifact import usable_memory

    libraries = {name: _installed(name) for name in _LIBRARIES}
    return {
        "openvino": libraries.pop("openvino"),
        "ovms": _ovms(),
        **machine(),
        "memory": usable_memory(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": libraries,
    }


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _ovms() -> str:
    """Return what `bert-qa serve` would run, and the version that it has."""
    from bertqa.errors import BertQAError
    from bertqa_serve.command import EngineKind
    from bertqa_serve.selection import choose_engine

    try:
        engine = choose_engine()
    except BertQAError as error:
        return str(error)
    if engine.kind is EngineKind.LOCAL:
        return "none on this machine"
    if engine.kind is EngineKind.CONTAINER:
        return f"{engine.image}, as {engine.reason}"
    try:
        said = subprocess.run(
            [engine.program, "--version"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        said = f"does not say its version: {error}"
    return "; ".join([*said.splitlines(), f"{engine.program}: {engine.reason}"])
