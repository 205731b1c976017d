# Java 21 comes with the Python packages. 4 GB of memory are plenty for the default settings.
#
#   docker build -t encore .
#   docker run --rm -v encore-data:/srv/data -v encore-models:/srv/models encore
#   docker run --rm -p 8000:8000 -v encore-data:/srv/data -v encore-models:/srv/models encore serve
FROM python:3.12-slim

# Spark's launch scripts call ps.
RUN apt-get update && apt-get install -y --no-install-recommends procps && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home encore && mkdir -p /srv/data /srv/models && chown encore /srv/data /srv/models

WORKDIR /opt/encore
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e .

USER encore
VOLUME ["/srv/data", "/srv/models"]
EXPOSE 8000
ENTRYPOINT ["./docker-entrypoint.sh"]
CMD ["pipeline"]
