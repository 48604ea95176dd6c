# `bert-qa build`: training, quantising, evaluating, publishing. Build it from the project's root:
#   docker build --file deploy/docker/build.Dockerfile --tag bert-qa-build:0.2.0 .
# For a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
FROM python:3.11-slim@sha256:db3ff2e1800a8581e2c48a27c3995339d47bdf046da21c7627accd3d51053a93 AS install
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY client ./client
COPY serve ./serve
COPY build ./build
COPY deploy/bertqa_deploy ./deploy/bertqa_deploy
COPY cli ./cli
RUN python -m venv /opt/bert-qa \
 && /opt/bert-qa/bin/pip install --no-cache-dir --constraint constraints.txt \
    --extra-index-url "$TORCH_INDEX" ".[build]"

FROM python:3.11-slim@sha256:db3ff2e1800a8581e2c48a27c3995339d47bdf046da21c7627accd3d51053a93
COPY --from=install /opt/bert-qa /opt/bert-qa
COPY build/recipes /opt/recipes
ENV PATH=/opt/bert-qa/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 5000:5000
WORKDIR /tmp
CMD ["bert-qa", "build", "--help"]
