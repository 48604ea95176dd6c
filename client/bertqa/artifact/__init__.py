"""What a published version is, and the repository that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bertqa._defaults import GRPC_PORT, MODEL_NAME, REST_PORT
from bertqa._late import late_name
from bertqa.artifact._files import (
    failure_of,
    make_readable,
    naming,
    open_regular,
    sha256_of,
    sync,
    write_whole,
)
from bertqa.artifact._hardware import (
    Topology,
    cpu_features,
    cpu_flags,
    cpu_name,
    cpu_title,
    int8_advice,
    int8_products,
    open_files_limit,
    own_precision,
    usable_cores,
    usable_memory,
    usable_topology,
)
from bertqa.artifact._model_info import ModelInfo
from bertqa.artifact._ovms_config import CONFIG_FILE, Entry, OvmsConfig, sibling_base_path
from bertqa.artifact._server_settings import (
    LOG_LEVELS,
    PINNING,
    PRECISIONS,
    SETTING_RANGES,
    ServerSettings,
    plugin_config,
    plugin_conflicts,
    precision_hint,
    server_settings,
)
from bertqa.artifact._split import (
    SPLIT_KEY,
    SPLIT_METRIC,
    WHOLE,
    Split,
    format_split,
    parse_split,
    split_model_name,
    trial_model_name,
)
from bertqa.artifact._synthetic import synthetic_inputs
from bertqa.artifact._tensors import (
    ATTENTION_MASK,
    END_LOGITS,
    INPUT_IDS,
    INPUTS,
    OUTPUTS,
    START_LOGITS,
    TOKEN_TYPE_IDS,
)
from bertqa.artifact._version_policy import (
    LATEST_VERSION,
    VersionPolicy,
    specific_versions,
)

if TYPE_CHECKING:
    from bertqa.artifact._arrivals import Arrival, Draft
    from bertqa.artifact._completion import (
        complete_config,
        publish_served,
        serve_version,
        sign_version,
    )
    from bertqa.artifact._lock import FOR_EVER, acquire, file_lock, holder_of
    from bertqa.artifact._manifest import (
        MANIFEST_FILE,
        Evidence,
        GateResult,
        Pruning,
        Scores,
        VersionManifest,
    )
    from bertqa.artifact._provenance import Provenance
    from bertqa.artifact._repository import (
        IR_FILE,
        ONNX_FILE,
        WEIGHTS_FILE,
        Repository,
        VersionEntry,
        onnx_model_name,
    )
    from bertqa.artifact._signature import (
        SIGNATURE_FILE,
        SigningKey,
        VerifyKey,
        changed_file,
        require_plain_versions,
        require_signed,
        unsigned,
    )
    from bertqa.artifact._work_folder import WORK_FOLDER, remove_path, require_publishable
    from bertqa.artifact._writer import WAIT_SECONDS, RepositoryWriter, settle

__all__ = [
    "ATTENTION_MASK",
    "CONFIG_FILE",
    "END_LOGITS",
    "FOR_EVER",
    "GRPC_PORT",
    "INPUTS",
    "INPUT_IDS",
    "IR_FILE",
    "LATEST_VERSION",
    "LOG_LEVELS",
    "MANIFEST_FILE",
    "MODEL_NAME",
    "ONNX_FILE",
    "OUTPUTS",
    "PINNING",
    "PRECISIONS",
    "REST_PORT",
    "SETTING_RANGES",
    "SIGNATURE_FILE",
    "SPLIT_KEY",
    "SPLIT_METRIC",
    "START_LOGITS",
    "TOKEN_TYPE_IDS",
    "WAIT_SECONDS",
    "WEIGHTS_FILE",
    "WHOLE",
    "WORK_FOLDER",
    "Arrival",
    "Draft",
    "Entry",
    "Evidence",
    "GateResult",
    "ModelInfo",
    "OvmsConfig",
    "Provenance",
    "Pruning",
    "Repository",
    "RepositoryWriter",
    "Scores",
    "ServerSettings",
    "SigningKey",
    "Split",
    "Topology",
    "VerifyKey",
    "VersionEntry",
    "VersionManifest",
    "VersionPolicy",
    "acquire",
    "changed_file",
    "complete_config",
    "cpu_features",
    "cpu_flags",
    "cpu_name",
    "cpu_title",
    "failure_of",
    "file_lock",
    "format_split",
    "holder_of",
    "int8_advice",
    "int8_products",
    "make_readable",
    "naming",
    "onnx_model_name",
    "open_files_limit",
    "open_regular",
    "own_precision",
    "parse_split",
    "plugin_config",
    "plugin_conflicts",
    "precision_hint",
    "publish_served",
    "remove_path",
    "require_plain_versions",
    "require_publishable",
    "require_signed",
    "serve_version",
    "server_settings",
    "settle",
    "sha256_of",
    "sibling_base_path",
    "sign_version",
    "specific_versions",
    "split_model_name",
    "sync",
    "synthetic_inputs",
    "trial_model_name",
    "unsigned",
    "usable_cores",
    "usable_memory",
    "usable_topology",
    "write_whole",
]

# From the bottom up. Those read manifests, and what they take to do so costs a client, which reads
# none, a sixth of its start.
_LATE = (
    *("_lock", "_provenance", "_manifest", "_repository", "_signature", "_arrivals"),
    *("_work_folder", "_writer", "_completion"),
)


def __getattr__(name: str) -> Any:
    """Return a public name of a module that is imported when it is asked for."""
    globals()[name] = value = late_name(__name__, name, __all__, _LATE)
    return value
