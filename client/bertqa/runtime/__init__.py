"""Running a model in this process: one module an engine, each imported only when it is used."""

from bertqa.runtime._engine import Engine

__all__ = ["Engine"]
