# Java 21 comes with the Python packages. 4 GB of memory are plenty for the default settings. Nothing is written outside
# /srv/data, /srv/models and /tmp, so the root may be read-only: see compose.yaml.
#
#   docker build -t encore .
#   docker run --rm --init -v encore-data:/srv/data -v encore-models:/srv/models encore
#   docker run --rm --init -p 127.0.0.1:8000:8000 -e ENCORE_TOKEN -v encore-data:/srv/data -v encore-models:/srv/models \
#       encore serve
FROM python:3.12-slim-bookworm AS built

# What the project runs on, as the lock file has it, digest by digest. What only installing needs does not come along.
WORKDIR /opt/encore
COPY requirements.txt ./
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && /opt/venv/bin/python -m compileall -q common config models run_records spark webapp workflow \
    && /opt/venv/bin/pip uninstall --yes setuptools wheel pip

FROM python:3.12-slim-bookworm

# Spark's launch scripts call ps. The user's number is fixed, so that volumes outlive the image.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends procps && rm -rf /var/lib/apt/lists/* \
    && pip uninstall --yes pip \
    && groupadd --gid 10001 encore && useradd --uid 10001 --gid 10001 --no-log-init --create-home encore \
    && mkdir -p /srv/data /srv/models && chown encore:encore /srv/data /srv/models

COPY --from=built /opt/venv /opt/venv
COPY --from=built /opt/encore /opt/encore
WORKDIR /opt/encore

# What Spark spills may be more than a /tmp in memory holds; compiled code is kept for the next run.
ENV PATH=/opt/venv/bin:$PATH \
    SPARK_LOCAL_DIRS=/srv/data/spark \
    NUMBA_CACHE_DIR=/srv/data/numba \
    PYTHONDONTWRITEBYTECODE=1

USER 10001:10001
VOLUME ["/srv/data", "/srv/models"]
EXPOSE 7077 8000 8082
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/opt/encore/docker-entrypoint.sh", "health"]
ENTRYPOINT ["/opt/encore/docker-entrypoint.sh"]
CMD ["pipeline"]
