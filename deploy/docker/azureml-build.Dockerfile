# `bert-qa build` for Azure ML, which builds it itself: the torch of PyPI, which uses a GPU where there is one,
# MLflow to log scores with, and root, as Azure's mounts want it.
FROM python:3.11-slim
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY client ./client
COPY serve ./serve
COPY build ./build
COPY deploy/bertqa_deploy ./deploy/bertqa_deploy
COPY cli ./cli
RUN pip install --no-cache-dir --constraint constraints.txt ".[build]" azureml-mlflow mlflow-skinny
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /tmp
CMD ["bert-qa", "build", "--help"]
