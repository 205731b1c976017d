#!/bin/sh
# `pipeline [flags of luigi]` (the default), `serve` or `luigid`, on the mounted volumes; anything else is run as it is.
# LUIGID=host: the pipeline registers with the luigid there.
set -eu
verb=$1
shift
case $verb in
    pipeline)
        if [ -n "${LUIGID:-}" ]; then set -- --scheduler-host "$LUIGID" "$@"; else set -- --local-scheduler "$@"; fi
        exec luigi --module workflow RecommendAll \
            --paths-data-root /srv/data --paths-models-root /srv/models "$@" ;;
    serve) exec python -m webapp --host 0.0.0.0 --data /srv/data --models /srv/models "$@" ;;
    luigid) exec python -m workflow luigid --address 0.0.0.0 --data /srv/data "$@" ;;
    *) exec "$verb" "$@" ;;
esac
