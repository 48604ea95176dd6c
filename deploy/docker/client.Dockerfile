# The client, the command `bert-qa` for asking and for verifying a model, and the HTTP API. Build it from the project's root:
#   docker build --file deploy/docker/client.Dockerfile --tag bert-qa-client:0.2.0 .
FROM python:3.11-slim@sha256:db3ff2e1800a8581e2c48a27c3995339d47bdf046da21c7627accd3d51053a93 AS install
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY deploy/docker/wheel.requirements.txt deploy/docker/client.requirements.txt ./
COPY client ./client
COPY serve ./serve
COPY build ./build
COPY deploy/bertqa_deploy ./deploy/bertqa_deploy
COPY cli ./cli
# Each file that is installed has the hash that tools/hashes.py wrote down. The lists are whole, as `pip check` sees, and
# without --no-deps pip would look for what an extra needs, pydantic[email], without its pin.
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement wheel.requirements.txt \
 && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
 && python -m venv /opt/bert-qa \
 && /opt/bert-qa/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement client.requirements.txt \
 && /opt/bert-qa/bin/pip install --no-cache-dir --no-deps /wheel/*.whl \
 && /opt/bert-qa/bin/pip check

FROM python:3.11-slim@sha256:db3ff2e1800a8581e2c48a27c3995339d47bdf046da21c7627accd3d51053a93
# `helm test` asks the HTTP API with it. Debian keeps no older version of a package that one could name.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --no-install-recommends -y curl && rm -rf /var/lib/apt/lists/*
COPY --from=install /opt/bert-qa /opt/bert-qa
ENV PATH=/opt/bert-qa/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 5000:5000
WORKDIR /tmp
CMD ["bert-qa", "--help"]
