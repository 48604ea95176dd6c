"""Publishing a split of traffic as a model: the way to tell it on the server's own port.

The model is two operations that nobody runs; what counts is its `rt_info`, which OVMS and the local
engine give to whoever asks. A change is a new version, since edits of a loaded one go unnoticed.
The versions that stay are the history of what was asked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

from bertqa.artifact import (
    IR_FILE,
    SPLIT_KEY,
    Repository,
    format_split,
    parse_split,
    split_model_name,
)
from bertqa_deploy.config_file import Entry, beside, write_whole
from bertqa_deploy.errors import DeployError

VERSIONS_KEPT = 10

_IR = """<?xml version="1.0"?>
<net name={name} version="11">
  <layers>
    <layer id="0" name="unused" type="Parameter" version="opset1">
      <data shape="1" element_type="f32"/>
      <output><port id="0" precision="FP32" names="unused"><dim>1</dim></port></output>
    </layer>
    <layer id="1" name="positive" type="ReLU" version="opset1">
      <input><port id="0" precision="FP32"><dim>1</dim></port></input>
      <output><port id="1" precision="FP32" names="positive"><dim>1</dim></port></output>
    </layer>
    <layer id="2" name="positive/result" type="Result" version="opset1">
      <input><port id="0" precision="FP32"><dim>1</dim></port></input>
    </layer>
  </layers>
  <edges>
    <edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
    <edge from-layer="1" from-port="1" to-layer="2" to-port="0"/>
  </edges>
  <rt_info><model_info><{key} value={split}/></model_info></rt_info>
</net>
"""


class SplitModel:
    """The splits that were published for one model of a repository."""

    def __init__(self, repository: Repository, model: str) -> None:
        self.name = split_model_name(model)
        self._repository = repository
        self._plain = repository.root / f"{model}.split"

    def history(self) -> list[dict[int, float]]:
        """Return the splits that are kept, the newest last."""
        return [self._split_of(number) for number in self._repository.versions(self.name)]

    def publish(self, split: Mapping[int, float], work_directory: Path) -> None:
        """Publish a split: staged on the same file system, then renamed into place.

        Raises DeployError.
        """
        numbers = self._repository.versions(self.name)
        text = format_split(split)
        staged = work_directory / "split"
        target = self._repository.version_dir(max(numbers, default=0) + 1, self.name)
        try:
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir()
            ir = _IR.format(name=quoteattr(self.name), key=SPLIT_KEY, split=quoteattr(text))
            write_whole(staged / IR_FILE, ir)
            # OVMS looks for both files of an IR, and this one has no weights.
            write_whole(staged / Path(IR_FILE).with_suffix(".bin").name, "\0")
            target.parent.mkdir(exist_ok=True)
            staged.rename(target)
            for number in numbers[: 1 - VERSIONS_KEPT]:
                shutil.rmtree(self._repository.version_dir(number, self.name))
        except OSError as error:
            raise DeployError(f"{target} cannot be written: {error.strerror}.") from error

    def write_file(self, split: Mapping[int, float]) -> None:
        """Have `<model>.split` say the same, for clients that mount the repository.

        Raises DeployError.
        """
        text = f"{format_split(split)}\n"
        try:
            present = self._plain.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            present = ""
        if text != present:
            write_whole(self._plain, text)

    def entry(self, model: Entry) -> Entry:
        """Return its configuration, beside that of the model that it is about."""
        settings = {"plugin_config": model["plugin_config"]} if "plugin_config" in model else {}
        return {
            "name": self.name,
            "base_path": beside(model, self.name),
            "model_version_policy": {"latest": {"num_versions": 1}},
            **settings,
        }

    def _split_of(self, number: int) -> dict[int, float]:
        path = self._repository.version_dir(number, self.name) / IR_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise DeployError(f"{path} cannot be read: {error.strerror}.") from error
        _, _, rest = text.partition(f'<{SPLIT_KEY} value="')
        return parse_split(rest.partition('"')[0])
