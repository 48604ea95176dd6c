# `bert-qa build` for Azure ML, which builds this image itself. The torch is PyPI's, which uses a GPU where there
# is one; the user is root, as Azure's mounts want it. MLflow, which scores are logged with, does not go with the
# versions of bert-qa's packages: it is in an environment of its own, whose `python` is the first on PATH.
FROM python:3.11-slim@sha256:db3ff2e1800a8581e2c48a27c3995339d47bdf046da21c7627accd3d51053a93 AS install
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY client ./client
COPY serve ./serve
COPY build ./build
COPY deploy/bertqa_deploy ./deploy/bertqa_deploy
COPY cli ./cli
RUN python -m venv /opt/bert-qa \
 && /opt/bert-qa/bin/pip install --no-cache-dir --constraint constraints.txt ".[build]" \
 && python -m venv /opt/mlflow \
 && /opt/mlflow/bin/pip install --no-cache-dir azureml-mlflow==1.62.0.post6 mlflow-skinny==2.22.5

FROM python:3.11-slim@sha256:db3ff2e1800a8581e2c48a27c3995339d47bdf046da21c7627accd3d51053a93
COPY --from=install /opt/bert-qa /opt/bert-qa
COPY --from=install /opt/mlflow /opt/mlflow
ENV PATH=/opt/mlflow/bin:/opt/bert-qa/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# hadolint ignore=DL3002
USER 0:0
WORKDIR /tmp
CMD ["bert-qa", "build", "--help"]
