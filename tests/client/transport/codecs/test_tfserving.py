from __future__ import annotations

import numpy as np
import pytest
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
)

from bertqa.errors import ProtocolError
from bertqa.transport.codecs.tfserving import TFServingCodec

CODEC = TFServingCodec("bert-qa")


def response(dtype: int) -> predict_pb2.PredictResponse:
    found = predict_pb2.PredictResponse()
    tensor = found.outputs["start_logits"]
    tensor.dtype = dtype
    tensor.tensor_shape.dim.add().size = 2
    tensor.tensor_content = np.zeros(2, dtype="<f4").tobytes()
    return found


def test_an_output_is_read() -> None:
    result = CODEC.infer_result(response(1), 7)
    assert result.outputs["start_logits"].tolist() == [0, 0]
    assert result.model_version == 7


@pytest.mark.parametrize(
    ("dtype", "text"),
    [(99, "'start_logits' has the data type 99"), (19, "DT_HALF"), (0, "DT_INVALID")],
)
def test_another_data_type_is_refused_by_its_number_or_name(dtype: int, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        CODEC.infer_result(response(dtype), 1)


def test_an_unknown_data_type_in_metadata_is_refused() -> None:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    signatures.signature_def["serving_default"].inputs["input_ids"].dtype = 99
    described = get_model_metadata_pb2.GetModelMetadataResponse()
    described.metadata["signature_def"].value = signatures.SerializeToString()
    with pytest.raises(ProtocolError, match="'input_ids' has the data type 99"):
        CODEC.model_metadata(described)
