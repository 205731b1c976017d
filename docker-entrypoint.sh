#!/bin/sh
# `pipeline [flags of luigi]` (the default) or `serve`, on the mounted volumes.
set -eu
verb=$1
shift
case $verb in
    pipeline) exec luigi --module workflow RecommendAll --local-scheduler \
        --paths-data-root /srv/data --paths-models-root /srv/models "$@" ;;
    serve) exec python -m webapp --host 0.0.0.0 --data /srv/data --models /srv/models "$@" ;;
    *) exec "$verb" "$@" ;;
esac
