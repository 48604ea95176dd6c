"""Where the files of a version are in a package."""

from __future__ import annotations

from collections.abc import Mapping

from bertqa.artifact import IR_FILE, MANIFEST_FILE, ONNX_FILE, SIGNATURE_FILE, WEIGHTS_FILE

CARD_FILE = "README.md"
PLACES: Mapping[str, Mapping[str, str]] = {
    "openvino": {
        MANIFEST_FILE: "manifests/openvino.json",
        SIGNATURE_FILE: "manifests/openvino.json.sig",
        IR_FILE: "openvino_model.xml",
        WEIGHTS_FILE: "openvino_model.bin",
    },
    "onnx": {
        MANIFEST_FILE: "manifests/onnx.json",
        SIGNATURE_FILE: "manifests/onnx.json.sig",
        ONNX_FILE: "model.onnx",
    },
}
"""Where the files of each format are in a package, by the names that they have in a repository."""
