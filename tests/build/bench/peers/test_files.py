from pathlib import Path

import pytest

from bertqa._progress import ignore
from bertqa_build.bench.peers.files import PeerFiles
from bertqa_build.bench.peers.plan import Kind, Peer, Plan
from bertqa_build.bench.plan import Precision
from bertqa_build.errors import BuildError
from bertqa_build.recipe_data import RecipeData
from tests.support.demo import DemoBuild


def test_what_optimum_cannot_quantise_is_not_run_and_leaves_no_model(
    demo_build: DemoBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = RecipeData(demo_build.recipe).evaluation
    plan = Plan(demo_build.recipe, demo_build.repository, dataset, (0,))
    files = PeerFiles(plan, tmp_path, tmp_path / "files", ignore)
    # What OpenVINO makes of a full disk.
    monkeypatch.setattr("openvino.save_model", _full)

    with pytest.raises(BuildError, match="OVQuantizer of Optimum Intel did not") as caught:
        files.of(Peer(Kind.OPTIMUM_INTEL, Precision.INT8, 1))

    assert caught.value.detail == "basic_ios::clear: iostream error"
    assert not (tmp_path / "files" / "optimum-int8-1").exists()


def _full(*_: object, **__: object) -> None:
    raise RuntimeError("basic_ios::clear: iostream error")
