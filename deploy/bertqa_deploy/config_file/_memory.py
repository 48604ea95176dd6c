"""What a repository remembers of its rollouts, in a small file beside the split's own."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from bertqa._reason import reason_of
from bertqa.artifact import (
    Repository,
    RepositoryWriter,
    Split,
    format_split,
    parse_split,
    split_model_name,
)
from bertqa_deploy.config_file._split_model import SplitModel
from bertqa_deploy.errors import DeployError
from bertqa_deploy.rollout import Memory


@dataclass(frozen=True, slots=True)
class _Content:
    """The file's keys; those of a later release are ignored."""

    good: str
    goal: str | None = None
    previous: str | None = None
    returning: bool = False
    held: str = ""


_CONTENT = TypeAdapter(_Content)


class MemoryFile:
    """The memory of one model's rollouts.

    Args:
        repository: The repository.
        model: The model's name.
    """

    def __init__(self, repository: Repository, model: str) -> None:
        self.path = repository.root / f"{model}.rollout.json"
        # An older release noted the split of a return that was under way, and nothing else.
        self._returning = repository.root / split_model_name(model) / "returning"

    def stored(self) -> Memory | None:
        """Return what the file says, None where there is none.

        Raises:
            DeployError: It cannot be read.
        """
        try:
            content = _CONTENT.validate_json(self.path.read_text(encoding="utf-8"))
            return Memory(
                parse_split(content.good),
                None if content.goal is None else parse_split(content.goal),
                None if content.previous is None else parse_split(content.previous),
                content.returning,
                content.held,
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DeployError(f"{self.path} cannot be read: {reason_of(error)}.") from error
        except ValueError as error:
            raise DeployError(
                f"{self.path} should hold where traffic was and goes, and is damaged: remove it, "
                "and the splits that were published are gone by.",
                detail=str(error) if isinstance(error, ValidationError) else None,
            ) from error

    def read(self, history: list[dict[int, float]], split: Split) -> Memory:
        """Return what is remembered.

        Without the file, or where an older release has switched since, that follows from the
        splits that were published.

        Args:
            history: These splits, the newest last.
            split: The split now.

        Raises:
            DeployError: The file cannot be read.
        """
        memory = self.stored()
        if memory is not None and (memory.goal is not None or memory.good == split):
            return memory
        goal = self._return_under_way()
        if goal is not None:
            good = next((each for each in reversed(history) if each != goal), split)
            return Memory(good, goal, goal, returning=True)
        return Memory(split, None, next((e for e in reversed(history) if e != split), None))

    def write(self, memory: Memory, writer: RepositoryWriter) -> None:
        """Write the file whole.

        Args:
            memory: What is to be remembered.
            writer: The writer of the repository.

        Raises:
            RepositoryError: It cannot be written.
        """
        content = _Content(
            format_split(memory.good),
            None if memory.goal is None else format_split(memory.goal),
            None if memory.previous is None else format_split(memory.previous),
            memory.returning,
            memory.held,
        )
        writer.write(self.path, _CONTENT.dump_json(content, indent=1).decode() + "\n")

    def _return_under_way(self) -> dict[int, float] | None:
        try:
            return parse_split(self._returning.read_text(encoding="utf-8").strip())
        except (OSError, ValueError):
            return None


def remembered_versions(repository: Repository, model: str) -> dict[int, str]:
    """Return the versions that a model's rollouts may need.

    Args:
        repository: The repository.
        model: The model's name.

    Returns:
        The reason by the version's number, as the end of a sentence that begins with the version.

    Raises:
        DeployError: What is remembered cannot be read.
    """
    history = SplitModel(repository, model).history()
    split = history[-1] if history else {}
    memory = MemoryFile(repository, model).read(history, split)
    needed: dict[int, str] = {}
    for remembered, reason in (
        (memory.previous, "may have the traffic again, by `bert-qa switch --back`"),
        (memory.goal, "is what a switch leads to that has not ended"),
        (memory.good, "has traffic"),
        (split, "has traffic"),
    ):
        needed |= {number: reason for number, percent in (remembered or {}).items() if percent}
    return needed
