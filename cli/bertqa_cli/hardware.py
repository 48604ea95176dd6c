"""What this machine's CPU means for what a verb does."""

from __future__ import annotations

from typing import Any

from bertqa.artifact import cpu_features, cpu_name, int8_advice, usable_cores
from bertqa_cli.console import print_step


def machine_facts() -> dict[str, Any]:
    """Return the machine on which figures were measured, for JSON."""
    return {"cpu": cpu_name(), "cpu_features": cpu_features(), "cores": usable_cores()}


def say_what_int8_saves(precision: str | None = None) -> None:
    """Print what INT8 saves and what helps, where this CPU has no products for it.

    Args:
        precision: What floating-point operations run in, where the user chose it.
    """
    advice = int8_advice()
    if advice is not None:
        print_step(advice)
    if precision == "f16":
        print_step(
            "In f16, OpenVINO may take minutes for a question to an INT8 version: on a Xeon with "
            "AVX-512 FP16 it took 10.9 s for 64 tokens, and 6 ms in f32. Leave --precision out."
        )
