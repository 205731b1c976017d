# One image for the pipeline, the page, luigid and the processes of a Spark cluster. Java 21 comes as a Python
# package. 4 GB of memory are enough for the default settings. Containers write only to /srv/data, /srv/models and
# /tmp, so their root may be read-only (see compose.yaml).
#
#   docker build -t encore .
#   docker run --rm encore --help
#   docker run --rm -v encore-data:/srv/data -v encore-models:/srv/models encore
#   docker run --rm -p 127.0.0.1:8000:8000 -e ENCORE_TOKEN -v encore-data:/srv/data -v encore-models:/srv/models \
#       encore serve
FROM python:3.12-slim-bookworm AS build

WORKDIR /opt/encore
COPY requirements.txt ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements.txt
# Remove what the project does not use: the packages' tests, the Spark Connect shell, and RocksDB, in which only
# streaming queries and the external shuffle service store their state.
RUN cd /opt/venv/lib/python3.12/site-packages \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && rm -r pyspark/jars/connect-repl pyspark/jars/rocksdbjni-*.jar
COPY . .
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && /opt/venv/bin/pip uninstall --yes setuptools wheel pip
# Import every module: the build fails if one is missing, and byte code is stored for exactly the imported files.
RUN /opt/venv/bin/python <<'EOF'
import importlib, pkgutil, tomllib

with open("pyproject.toml", "rb") as file:
    packages = tomllib.load(file)["tool"]["setuptools"]["packages"]
for package in packages:
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
EOF

FROM python:3.12-slim-bookworm

# Spark's launch scripts call ps. The user id is fixed, so that volumes can be used with later images.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends procps && rm -rf /var/lib/apt/lists/* \
    && pip uninstall --yes pip \
    && groupadd --gid 10001 encore && useradd --uid 10001 --gid 10001 --no-log-init --create-home encore \
    && mkdir -p /srv/data /srv/models && chown encore:encore /srv/data /srv/models

COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/encore /opt/encore
WORKDIR /opt/encore

# Spark may spill more than fits into a /tmp in memory. Compiled code is kept in the volume for the next run.
ENV PATH=/opt/venv/bin:$PATH \
    SPARK_LOCAL_DIRS=/srv/data/spark \
    NUMBA_CACHE_DIR=/srv/data/numba \
    PYTHONDONTWRITEBYTECODE=1 \
    ENCORE_CONTAINER=docker

USER 10001:10001
VOLUME ["/srv/data", "/srv/models"]
EXPOSE 7077 8000 8082
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/opt/encore/docker-entrypoint.sh", "health"]
ENTRYPOINT ["/opt/encore/docker-entrypoint.sh"]
CMD ["pipeline"]
