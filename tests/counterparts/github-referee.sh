#!/usr/bin/env bash
# What others wrote, against the tests' own stand-in for GitHub.
#
#   github-referee.sh --install                         only fetches what it needs
#   github-referee.sh clients URL TOKEN QUERIES         octokit drives the stand-in: every query of the channel, whose answers
#                                                       are held against GitHub's published schema, and REST
#   github-referee.sh requests PORT URL                 passes calls on to the stand-in, in the foreground, and refuses those
#                                                       that are not made as GitHub's OpenAPI description says
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$here/install.sh"
clients=(@octokit/rest@22.0.1 @octokit/graphql-schema@15.26.1 graphql@16.11.0)
prism=(@stoplight/prism-cli@5.14.2)

usage() { sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

case "${1:-}" in
  --install)
    install github-clients "${clients[@]}"
    install prism "${prism[@]}" ;;
  clients)
    [ $# -eq 4 ] || usage
    install github-clients "${clients[@]}"
    exec "$node" "$here/github-referee.mjs" "$home/github-clients/node_modules" "$2" "$3" "$4" ;;
  requests)
    [ $# -eq 3 ] || usage
    install prism "${prism[@]}"
    exec "$node" "$home/prism/node_modules/@stoplight/prism-cli/dist/index.js" proxy --errors \
      -h 127.0.0.1 -p "$2" "$here/../fixtures/github/openapi.json" "$3" ;;
  *) usage ;;
esac
