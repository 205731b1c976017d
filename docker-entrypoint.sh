#!/bin/sh
set -eu

usage() {
    cat <<'EOF'
Usage: docker run [OPTIONS] encore [COMMAND] [ARGUMENTS]

Runs and services:
  pipeline [FLAGS]        run the pipeline (default command); FLAGS as of `luigi --module workflow RecommendAll`
  serve                   the page, on port 8000; needs ENCORE_TOKEN
  luigid                  Luigi's scheduler and its page, on port 8082
  master, worker ADDRESS  one process of a standalone Spark cluster

Versions and runs; each has --help:
  recommend [--dataset NAME] USER
  versions, promote, rollback, verify, forget, prune
  runs, run, graph

Anything else is run as a program, for example `python`. Flags alone belong to `pipeline`.

Volumes:      /srv/data (raw files, stage outputs, run records) and /srv/models (published versions)
Environment:  LUIGID=HOST              register runs with the luigid on that host
              SPARK_MASTER=spark://…   run on that cluster instead of inside the container
              ENCORE_TOKEN             the token of the page
EOF
}

[ $# -gt 0 ] || set -- pipeline
case $1 in
    -h | --help | help) usage; exit ;;
    -*) set -- pipeline "$@" ;;
esac
command=$1
shift

# The health check needs to know which service runs in this container.
service_file=${TMPDIR:-/tmp}/encore-service
case $command in
    serve | luigid | master | worker) echo "$command" > "$service_file" ;;
esac

case $command in
    pipeline)
        if [ -n "${LUIGID:-}" ]; then set -- --scheduler-host "$LUIGID" "$@"; else set -- --local-scheduler "$@"; fi
        if [ -n "${SPARK_MASTER:-}" ]; then
            # Executors connect to the driver by address: they cannot resolve the name of its container.
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
    recommend | versions | promote | rollback | verify) exec python -m models "$command" --models /srv/models "$@" ;;
    forget) exec python -m models forget --models /srv/models --data /srv/data "$@" ;;
    runs | run | graph) exec python -m workflow "$command" --data /srv/data "$@" ;;
    prune) exec python -m workflow prune --models /srv/models --data /srv/data "$@" ;;
    health)
        case $(cat "$service_file" 2>/dev/null) in
            serve) page=8000/healthz ;;
            luigid) page=8082/api/resource_list ;;
            master) page=8080/json/ ;;
            worker) page=8081/json/ ;;
            *) exit 0 ;; # not a service: its exit code is the result
        esac
        # Ignore proxies from the environment.
        exec python -c 'import sys; from urllib.request import ProxyHandler, build_opener
build_opener(ProxyHandler({})).open(sys.argv[1], timeout=3)' "http://127.0.0.1:$page" ;;
    *) exec "$command" "$@" ;;
esac
