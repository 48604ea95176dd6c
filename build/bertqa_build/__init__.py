"""From a checkpoint to published INT8 versions."""

from openvino_telemetry.utils import sender

# NNCF and OpenVINO's converter report how they are used, each time from a fork of the process that
# trains. Without room in the queue every report is dropped; this comes before they are imported.
sender.MAX_QUEUE_SIZE = 0
