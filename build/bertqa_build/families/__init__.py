"""The families of models that can be built: a module each, named after its `model_type`."""

from __future__ import annotations

import importlib
import pkgutil

from bertqa_build.families._family import MASKED, Family, LayerNames

__all__ = ["MASKED", "Family", "LayerNames", "family_of", "model_types"]


def model_types() -> list[str]:
    """Return the `model_type` of every family that can be built, in alphabetical order."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))


def family_of(model_type: str) -> Family:
    """Return a family.

    Args:
        model_type: The `model_type` of its `config.json`, one of `model_types()`.

    Raises:
        KeyError: There is no such family.
    """
    if model_type not in model_types():
        raise KeyError(model_type)
    module = importlib.import_module(f"{__name__}.{model_type.replace('-', '_')}")
    family: Family = module.FAMILY
    return family
