# Torch for CPUs; with CUDA, which is what PyPI has, by
#   docker build --build-arg TORCH_INDEX=https://pypi.org/simple -t playground .
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --create-home --uid 1000 playground \
    && mkdir -p /home/playground/data /home/playground/hub \
    && chown playground: /home/playground/data /home/playground/hub

WORKDIR /app

# The requirements by themselves: a change of the program does not fetch torch again.
COPY requirements.txt ./
RUN pip install --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple "$(grep '^torch==' requirements.txt)" \
    && pip install -r requirements.txt

COPY app.py models.yaml LICENSE README.md ./
COPY demo demo
COPY playground playground

ENV GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    PLAYGROUND_HOME=/home/playground/data \
    HF_HOME=/home/playground/hub

USER playground
VOLUME ["/home/playground/data", "/home/playground/hub"]
EXPOSE 7860

HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['GRADIO_SERVER_PORT']}/healthz\", timeout=4)"]

ENTRYPOINT ["python", "app.py"]
