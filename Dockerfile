# Java 21 comes with the Python packages. 4 GB of memory are plenty for the default settings. Nothing is written outside
# /srv/data, /srv/models and /tmp, so the root may be read-only: see compose.yaml.
#
#   docker build -t encore .
#   docker run --rm -v encore-data:/srv/data -v encore-models:/srv/models encore
#   docker run --rm -p 127.0.0.1:8000:8000 -e ENCORE_TOKEN -v encore-data:/srv/data -v encore-models:/srv/models encore serve
FROM python:3.12-slim

# Spark's launch scripts call ps. The user's number is fixed, so that volumes outlive the image.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends procps && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-log-init --create-home encore \
    && mkdir -p /srv/data /srv/models && chown encore /srv/data /srv/models

WORKDIR /opt/encore
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e .

# What Spark spills may be more than a /tmp in memory holds; compiled code is kept for the next run.
ENV SPARK_LOCAL_DIRS=/srv/data/spark \
    NUMBA_CACHE_DIR=/srv/data/numba \
    PYTHONDONTWRITEBYTECODE=1

USER 10001
VOLUME ["/srv/data", "/srv/models"]
EXPOSE 8000 8082
ENTRYPOINT ["/opt/encore/docker-entrypoint.sh"]
CMD ["pipeline"]
