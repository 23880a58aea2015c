#!/usr/bin/env bash
# A GitHub that runs on this computer: the REST API and signed webhooks, in memory.
#
#   github-emulator.sh --install                      only fetches what it needs
#   github-emulator.sh DATA_DIR PORT WEBHOOK_URL      runs it in the foreground, on 127.0.0.1:PORT
#
# It is ready when GET http://127.0.0.1:PORT/rate_limit answers. Ending the process ends everything.
# Users, tokens, repositories and the webhook's secret: github-seed.yaml, beside this file.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$here/install.sh"
# The pin is essential: `emulate` without a version is an unrelated package of an earlier owner.
emulate="emulate@0.12.2"

usage() { sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

[ "${1:-}" = "--install" ] && { install emulate "$emulate"; exit; }
[ $# -eq 3 ] || usage
data="$1" port="$2" webhook_url="$3"

install emulate "$emulate"
mkdir -p "$data"
cd "$data"
# The app's key stands in the seed as lines of their own.
awk -v url="$webhook_url" -v key="$here/../fixtures/github/app.pem" '
  /private_key: APP_KEY/ { sub(/APP_KEY/, "|"); print; while ((getline line < key) > 0) print "        " line; next }
  { sub(/WEBHOOK_URL/, url); print }' "$here/github-seed.yaml" >seed.yaml
exec "$node" "$home/emulate/node_modules/emulate/dist/index.js" start --service github \
  --host 127.0.0.1 --port "$port" --base-url "http://127.0.0.1:$port" --seed seed.yaml
