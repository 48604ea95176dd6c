"""Registries of models: a hub of Hugging Face, MLflow, and a directory in the hub's layout.

Each is a `Registry`; a further one is an entry here, its form in `storage/address.py` and an
extra in `pyproject.toml`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bertqa.errors import InvalidOptionError
from bertqa_deploy.storage.address import HUB, MLFLOW, Address

if TYPE_CHECKING:
    from bertqa_deploy.registries.registry import Registry

REGISTRIES = {
    "": ("directory", "DirectoryRegistry"),
    HUB: ("huggingface", "HubRegistry"),
    MLFLOW: ("mlflow", "MlflowRegistry"),
}
"""The module and the class of each, by scheme: a library is imported when it is used."""


def registry_of(address: Address) -> Registry:
    """Return the registry that an address leads to.

    Args:
        address: The address of a model.

    Returns:
        The registry.

    Raises:
        InvalidOptionError: It is the address of a store.
        ModuleNotFoundError: The registry's extra is not installed.
    """
    if address.scheme not in REGISTRIES:
        raise InvalidOptionError(
            f"{address} is a repository that OVMS reads, not a model of a registry: write "
            "hf://org/name, mlflow://name or a directory that `bert-qa publish --layout hub` wrote."
        )
    module, name = REGISTRIES[address.scheme]
    registry: Registry = getattr(import_module(f"{__name__}.{module}"), name)()
    return registry
