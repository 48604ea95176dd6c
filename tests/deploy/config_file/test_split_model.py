from __future__ import annotations

from pathlib import Path

import pytest

from bertqa.artifact import Repository
from bertqa_deploy.config_file import SplitModel
from bertqa_deploy.errors import DeployError


@pytest.mark.parametrize("content", [b"<net/>", b"\xff\xff"])
def test_a_damaged_split_is_named_with_the_way_out(content: bytes, tmp_path: Path) -> None:
    version = tmp_path / "bert-qa-traffic" / "1"
    version.mkdir(parents=True)
    (version / "model.xml").write_bytes(content)
    with pytest.raises(DeployError, match=r"is damaged: remove .*bert-qa-traffic/1\.$"):
        SplitModel(Repository(tmp_path), "bert-qa").history()
