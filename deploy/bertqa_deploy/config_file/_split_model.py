"""Publishing a split of traffic as a model: the way to report it on the server's own port.

The model is two operations that are never run; what counts is its `rt_info`, which OVMS and the
local engine return with the metadata. A change is a new version, since edits of a loaded one go
unnoticed. The versions that stay are the history of the splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from bertqa._reason import reason_of
from bertqa.artifact import (
    IR_FILE,
    LATEST_VERSION,
    SPLIT_KEY,
    WEIGHTS_FILE,
    Arrival,
    Entry,
    Repository,
    RepositoryWriter,
    format_split,
    parse_split,
    sibling_base_path,
    split_model_name,
)
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
        """Look at one model's splits.

        Args:
            repository: The repository that holds them.
            model: The model whose traffic they split.
        """
        self.name = split_model_name(model)
        self._repository = repository
        self._plain = repository.root / f"{model}.split"

    def history(self) -> list[dict[int, float]]:
        """Return the splits that are kept, the newest last.

        Raises:
            DeployError: One of them cannot be read.
        """
        return [self._split_of(number) for number in self._repository.versions(self.name)]

    def publish(self, split: Mapping[int, float], writer: RepositoryWriter) -> None:
        """Publish a split as a new version, and remove the oldest of those that are kept.

        Args:
            split: Percents by version.
            writer: The writer of the repository.

        Raises:
            RepositoryError: The repository cannot be written.
        """
        numbers = self._repository.versions(self.name)
        number = writer.next_number(self.name)
        ir = _IR.format(
            name=quoteattr(self.name), key=SPLIT_KEY, split=quoteattr(format_split(split))
        )
        # OVMS looks for both files of an IR, and this one has no weights.
        staged = writer.stage(f"{self.name}-{number}", {IR_FILE: ir, WEIGHTS_FILE: "\0"})
        writer.appear([Arrival(staged, self.name, number)])
        for old in numbers[: 1 - VERSIONS_KEPT]:
            writer.remove(self._repository.version_dir(old, self.name))

    def write_file(self, split: Mapping[int, float], writer: RepositoryWriter) -> None:
        """Have `<model>.split` say the same, for clients that mount the repository.

        Args:
            split: Percents by version.
            writer: The writer of the repository.

        Raises:
            RepositoryError: The file cannot be written.
        """
        writer.write(self._plain, _line(split))

    def file_says(self, split: Mapping[int, float]) -> bool:
        """Return whether `<model>.split` is there and says a split.

        Args:
            split: Percents by version.
        """
        try:
            return self._plain.read_text(encoding="utf-8") == _line(split)
        except (OSError, UnicodeDecodeError):
            return False

    def entry(self, model: Entry) -> Entry:
        """Return its configuration, beside that of the model that it is about.

        Args:
            model: The model's entry in `config.json`.
        """
        settings = {"plugin_config": model["plugin_config"]} if "plugin_config" in model else {}
        return {
            "name": self.name,
            "base_path": sibling_base_path(model, self.name),
            "model_version_policy": LATEST_VERSION,
            **settings,
        }

    def _split_of(self, number: int) -> dict[int, float]:
        path = self._repository.version_dir(number, self.name) / IR_FILE
        try:
            text = path.read_text(encoding="utf-8")
            _, _, rest = text.partition(f'<{SPLIT_KEY} value="')
            return parse_split(rest.partition('"')[0])
        except OSError as error:
            raise DeployError(f"{path} cannot be read: {reason_of(error)}.") from error
        except ValueError as error:
            raise DeployError(
                f"{path} should hold a split of traffic, and is damaged: remove {path.parent}."
            ) from error


def _line(split: Mapping[int, float]) -> str:
    return f"{format_split(split)}\n"
