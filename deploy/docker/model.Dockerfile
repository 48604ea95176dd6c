# A model repository as an image, for `model.image` of the chart: all of its models but those in ONNX, as
# the ignore file beside this says. Build it from the project's root:
#   docker build --file deploy/docker/model.Dockerfile --tag bert-qa-model:2 .
# busybox brings the `cp` that clusters without image volumes need, in a few megabytes.
FROM busybox:1.37@sha256:9db7b59979c38555a39def84a31fb98b5296952f9e3afd4f6f11f05b07adfab0
COPY --chown=5000:5000 model_repository /models
USER 5000:5000
CMD ["ls", "-R", "/models"]
