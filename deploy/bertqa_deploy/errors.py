"""What can go wrong while versions are published elsewhere and traffic moves between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bertqa.errors import BertQAError

if TYPE_CHECKING:
    from bertqa_deploy.rollout import Moved


class DeployError(BertQAError):
    """The root of all errors of this room.

    Attributes:
        moved: What a rollout had come to when it raised the error.
    """

    moved: Moved | None = None


class NothingToDoError(DeployError):
    """Everything is already as requested."""


class RolledBackError(DeployError):
    """A version did not prove itself; the traffic is where it was before."""


class InconclusiveError(DeployError):
    """The evidence does not suffice; the traffic is held where it is."""


class MetricMissingError(DeployError):
    """A server does not count what an analysis needs."""


class SwitchUnfinishedError(DeployError):
    """The target is away or too slow; run the same command again to resume where this one ended."""


class SwitchedMeanwhileError(DeployError):
    """Another process moved the traffic meanwhile; it was left as it is."""


class ClusterError(DeployError):
    """The cluster cannot be reached, refuses, or lacks what was requested."""


class AzureError(DeployError):
    """Azure ML cannot be reached, refuses, or lacks what was requested."""


class AzureFileError(AzureError):
    """A file of `deploy/azureml/` is missing, or not what Azure's schema allows."""


class AzureNotFoundError(AzureError):
    """The workspace has no such thing."""


class VersionExistsError(DeployError):
    """Where a version was to go, another one exists."""


class VersionNeededError(DeployError):
    """A version is served, or is the last good one, and must not be deleted."""


class StorageError(DeployError):
    """A directory or store cannot be reached, read or written."""
