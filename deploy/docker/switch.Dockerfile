# `bert-qa switch --in-cluster`: the command with Helm, for a Job in the cluster. Build it from the project's root:
#   docker build --file deploy/docker/switch.Dockerfile --tag bert-qa-switch:0.2.0 .
FROM alpine/helm:4.1.4@sha256:8edcaedab4d9864886b7f443d55731be87d4b5ec7dca714c24551455707a8aac AS helm

FROM python:3.11-slim@sha256:db3ff2e1800a8581e2c48a27c3995339d47bdf046da21c7627accd3d51053a93 AS install
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY deploy/docker/wheel.requirements.txt deploy/docker/switch.requirements.txt ./
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
 && /opt/bert-qa/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement switch.requirements.txt \
 && /opt/bert-qa/bin/pip install --no-cache-dir --no-deps /wheel/*.whl \
 && /opt/bert-qa/bin/pip check

FROM python:3.11-slim@sha256:db3ff2e1800a8581e2c48a27c3995339d47bdf046da21c7627accd3d51053a93
COPY --from=install /opt/bert-qa /opt/bert-qa
COPY --from=helm /usr/bin/helm /usr/local/bin/helm
ENV PATH=/opt/bert-qa/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 5000:5000
WORKDIR /tmp
CMD ["bert-qa", "switch", "--help"]
