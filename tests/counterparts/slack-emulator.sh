#!/usr/bin/env bash
# A Slack that runs on this computer: the Web API, files, Socket Mode and signed events, in memory.
#
#   slack-emulator.sh --install         only fetches what it needs
#   slack-emulator.sh DATA_DIR PORT     runs it in the foreground, on 127.0.0.1:PORT; its sockets are on PORT+1
#
# It is ready when GET http://127.0.0.1:PORT/control answers. Ending the process ends everything.
# People, tokens, channels and the signing secret: slack-seed.json, beside this file.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$here/install.sh"
# The pin is essential: `emulate` without a version is an unrelated package of an earlier owner.
packages=(emulate@0.12.2 ws@8.18.3)

usage() { sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

[ "${1:-}" = "--install" ] && { install slack-emulate "${packages[@]}"; exit; }
[ $# -eq 2 ] || usage
data="$1" port="$2"

install slack-emulate "${packages[@]}"
mkdir -p "$data"
cd "$data"
exec "$node" "$here/slack-emulator.mjs" "$home/slack-emulate" "$port" "$here/slack-seed.json"
