"""The wire formats that a model server speaks, one codec a module.

`bertqa.transport.codecs.tfserving` is imported only where it is used: it needs `ovmsclient`.
"""

from bertqa.transport.codecs._codec import Codec
from bertqa.transport.codecs._kserve import KServeCodec
from bertqa.transport.codecs._rest import LIVE_PATH, READY_PATH, RestCodec, RestRequest

__all__ = ["LIVE_PATH", "READY_PATH", "Codec", "KServeCodec", "RestCodec", "RestRequest"]
