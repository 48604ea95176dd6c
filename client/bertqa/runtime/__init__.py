"""Running a model in this process: one module an engine, each imported only when it is used."""

from bertqa.runtime._engine import Engine
from bertqa.runtime._load import find_model, load

__all__ = ["Engine", "find_model", "load"]
