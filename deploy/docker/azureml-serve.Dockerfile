# OpenVINO Model Server for Azure ML, which passes a container no arguments: they are in its environment.
# A tag can be moved: write the digest behind it (...:2026.4.1@sha256:...) that this prints,
#   docker buildx imagetools inspect openvino/model_server:2026.4.1
FROM openvino/model_server:2026.4.1
USER 5000:5000
# The words of the variable are arguments as they are: no shell evaluates them.
ENTRYPOINT ["/bin/bash", "-c", "read -rd '' -a arguments <<< \"$OVMS_ARGUMENTS\"; exec /ovms/bin/ovms --model_path=\"$AZUREML_MODEL_DIR\" \"${arguments[@]}\""]
