"""The local engine: a development server that answers as OVMS does, on OpenVINO in this process."""

from bertqa_serve.engine.server import LocalServer

__all__ = ["LocalServer"]
