# `bert-qa switch --in-cluster`: the command with Helm, for a Job in the cluster. Build it from the project's root:
#   docker build --file deploy/docker/switch.Dockerfile --tag bert-qa-switch:0.2.0 .
FROM alpine/helm:4.1.4 AS helm

FROM python:3.11-slim AS install
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY client ./client
COPY serve ./serve
COPY build ./build
COPY deploy/bertqa_deploy ./deploy/bertqa_deploy
COPY cli ./cli
RUN python -m venv /opt/bert-qa \
 && /opt/bert-qa/bin/pip install --no-cache-dir --constraint constraints.txt ".[deploy]"

FROM python:3.11-slim
COPY --from=install /opt/bert-qa /opt/bert-qa
COPY --from=helm /usr/bin/helm /usr/local/bin/helm
ENV PATH=/opt/bert-qa/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 5000:5000
WORKDIR /tmp
CMD ["bert-qa", "switch", "--help"]
