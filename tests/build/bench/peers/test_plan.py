from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertqa.artifact import Pruning, Repository
from bertqa.errors import RepositoryError
from bertqa_build.bench.peers.plan import Kind, Peer, peers_of
from bertqa_build.bench.peers.versions import Pruned, Versions, versions_of
from bertqa_build.bench.peers.worker import MODULES
from tests.support.models import write_manifest

WHOLE = Versions(1, 2, ())
BF16 = ("bf16", "INT8, bf16")


def pruning(speedup: float) -> Pruning:
    return Pruning(
        speedup=speedup,
        precision="INT8",
        measured=speedup,
        over_fp32=speedup,
        heads=(4,),
        neurons=(8,),
        batch=1,
        tokens=8,
        threads=1,
        cpu="",
    )


def publish(repository: Path, version: int, precision: str, recipe: str = "a", **rest: Any) -> None:
    directory = repository / "bert-qa" / str(version)
    directory.mkdir(parents=True)
    write_manifest(directory, precision=precision, recipe={"name": recipe}, **rest)


def test_the_newest_fp32_version_of_a_recipe_and_what_was_made_from_it(tmp_path: Path) -> None:
    publish(tmp_path, 1, "FP32")
    publish(tmp_path, 2, "INT8", parent=1)
    publish(tmp_path, 3, "FP32")
    publish(tmp_path, 4, "INT8", parent=3)
    publish(tmp_path, 5, "FP32", parent=3, pruning=pruning(2))
    publish(tmp_path, 6, "INT8", parent=5, pruning=pruning(2))
    publish(tmp_path, 7, "INT8", parent=3)
    publish(tmp_path, 8, "FP32", "b")

    found = versions_of("a", Repository(tmp_path), "bert-qa")

    assert found == Versions(3, 7, (Pruned(5, "FP32", 2), Pruned(6, "INT8", 2)))
    assert found.numbers == [3, 7, 5, 6]
    assert found.named({3, 6, 7}) == "version 3 (FP32), version 7 (INT8), version 6 (INT8 2x)"
    assert versions_of("b", Repository(tmp_path), "bert-qa") == Versions(8, None, ())
    with pytest.raises(RepositoryError, match="that the recipe 'c' made"):
        versions_of("c", Repository(tmp_path), "bert-qa")


def peers(versions: Versions, *kinds: Kind, has_bf16: bool = True, can_compile: bool = True) -> Any:
    return peers_of(versions, kinds, has_bf16=has_bf16, can_compile=can_compile)


def test_ours_are_measured_in_each_version_and_the_others_in_the_whole_ones() -> None:
    versions = Versions(1, 2, (Pruned(3, "FP32", 2), Pruned(4, "INT8", 2)))
    names = [(str(each), each.version) for each in peers(versions, Kind.DEEPSPARSE, Kind.OVMS)]
    assert names == [
        ("DeepSparse FP32", 1),
        ("DeepSparse INT8", 2),
        ("ours, OVMS FP32", 1),
        ("ours, OVMS INT8", 2),
        ("ours, OVMS FP32 2x", 3),
        ("ours, OVMS INT8 2x", 4),
    ]
    without = peers(Versions(1, None, ()), Kind.ONNX_RUNTIME, Kind.LOCAL)
    assert [(str(each), each.version) for each in without] == [
        ("ONNX Runtime FP32", 1),
        ("ONNX Runtime INT8", 1),
        ("ours, local engine FP32", 1),
    ]
    assert "quantize_dynamic" in without[1].note


def test_optimum_intel_quantises_by_itself() -> None:
    found = peers(Versions(1, 2, ()), Kind.OPTIMUM_INTEL)
    assert [(str(each), each.version) for each in found] == [
        ("Optimum Intel FP32", 1),
        ("Optimum Intel INT8", 1),
    ]
    assert [each.note for each in found] == [
        "",
        "INT8 by its own OVQuantizer of the FP32 model.",
    ]


@pytest.mark.parametrize(
    ("has_bf16", "can_compile", "name", "note", "reason"),
    [
        (True, True, "PyTorch, compiled bf16", "", ""),
        (False, True, "PyTorch, compiled FP32", "does not compute in bf16", ""),
        (True, False, "PyTorch bf16", "no C++ compiler", ""),
        (False, False, "PyTorch, compiled bf16", "", "There is no C++ compiler"),
    ],
)
def test_what_a_machine_lacks_is_said(
    has_bf16: bool, can_compile: bool, name: str, note: str, reason: str
) -> None:
    found: Peer
    (found,) = peers(WHOLE, Kind.TORCH_COMPILE, has_bf16=has_bf16, can_compile=can_compile)
    assert str(found) == name
    assert note in found.note
    assert bool(note) == bool(found.note)
    assert found.reason.startswith(reason)
    assert bool(reason) == bool(found.reason)


def test_a_precision_that_openvino_chooses_is_said() -> None:
    kinds = (Kind.OPTIMUM_INTEL, Kind.DEEPSPARSE, Kind.IN_PROCESS, Kind.OVMS)
    default: dict[Kind, str] = dict.fromkeys(kinds, "bf16")
    default[Kind.DEEPSPARSE] = "f32"
    found = peers_of(WHOLE, kinds, has_bf16=True, can_compile=True, by_default=default)
    said = {(each.kind, each.computes_in) for each in found}
    assert said == {
        *((kind, name) for kind in kinds if kind is not Kind.DEEPSPARSE for name in BF16),
        *((Kind.DEEPSPARSE, name) for name in ("f32", "INT8, f32")),
    }
    compiled = peers(WHOLE, Kind.TORCH_COMPILE)
    assert [each.computes_in for each in compiled] == ["bf16"]


def test_every_kind_has_a_module_that_opens_it() -> None:
    assert set(MODULES) == set(Kind)
