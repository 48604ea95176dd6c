"""One server with its `config.json` as a target of rollouts."""

from bertqa_deploy.config_file._memory import remembered_versions
from bertqa_deploy.config_file._split_model import SplitModel
from bertqa_deploy.config_file._standing import standing_of
from bertqa_deploy.config_file._target import DRAIN_SECONDS, ConfigTarget

__all__ = [
    "DRAIN_SECONDS",
    "ConfigTarget",
    "SplitModel",
    "remembered_versions",
    "standing_of",
]
