#!/bin/sh
# `pipeline [flags of luigi]` (the default), `serve`, `luigid`, and Spark's `master` and `worker ADDRESS`, on the
# mounted volumes; `health` asks what of them runs here; anything else is run as it is.
# LUIGID=host: the pipeline registers with the luigid there. SPARK_MASTER=spark://host:7077: it works on that cluster.
set -eu
running=${TMPDIR:-/tmp}/encore-verb
verb=$1
shift
case $verb in
    pipeline | serve | luigid | master | worker) echo "$verb" > "$running" ;;
esac
case $verb in
    pipeline)
        if [ -n "${LUIGID:-}" ]; then set -- --scheduler-host "$LUIGID" "$@"; else set -- --local-scheduler "$@"; fi
        if [ -n "${SPARK_MASTER:-}" ]; then
            # Executors have to reach the run, and need not know the name of its container.
            SPARK_LOCAL_HOSTNAME=${SPARK_LOCAL_HOSTNAME:-$(hostname -i | cut -d ' ' -f 1)}
            export SPARK_LOCAL_HOSTNAME
            set -- --spark-session-master "$SPARK_MASTER" "$@"
        fi
        exec luigi --module workflow RecommendAll \
            --paths-data-root /srv/data --paths-models-root /srv/models "$@" ;;
    serve) exec python -m webapp --host 0.0.0.0 --data /srv/data --models /srv/models "$@" ;;
    luigid) exec python -m workflow luigid --address 0.0.0.0 --data /srv/data "$@" ;;
    master) exec python -m spark.runtime.standalone master "$@" ;;
    worker) exec python -m spark.runtime.standalone worker --directory /srv/data/cluster "$@" ;;
    health)
        case $(cat "$running") in
            serve) page=8000/healthz ;;
            luigid) page=8082/api/resource_list ;;
            master) page=8080/json/ ;;
            worker) page=8081/json/ ;;
            *) exit 0 ;; # a run: its exit code says how it went
        esac
        # Not by way of a proxy that the environment may name.
        exec python -c 'import sys; from urllib.request import ProxyHandler, build_opener
build_opener(ProxyHandler({})).open(sys.argv[1], timeout=3)' "http://127.0.0.1:$page" ;;
    *) exec "$verb" "$@" ;;
esac
