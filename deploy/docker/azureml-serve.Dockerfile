# OpenVINO Model Server for Azure ML, which passes a container no arguments: they are in its environment.
FROM openvino/model_server:2026.4.1
USER 5000:5000
ENTRYPOINT ["/bin/sh", "-c", "eval exec /ovms/bin/ovms \"$OVMS_ARGUMENTS\""]
