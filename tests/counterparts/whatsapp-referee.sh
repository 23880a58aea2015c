#!/usr/bin/env bash
# pywa, a client of WhatsApp's Cloud API by others, which judges the stand-in of the tests.
#
#   whatsapp-referee.sh --install                      only fetches what it needs
#   whatsapp-referee.sh client URL TOKEN NUMBER        a business by pywa, at the Graph API at URL
#   whatsapp-referee.sh mirror URL TOKEN NUMBER FILE   sends each message of the file anew, as pywa makes it
#   whatsapp-referee.sh receiver PORT NUMBER SECRET VERIFY
#                                                      hears webhooks on 127.0.0.1:PORT, and answers with what it read
#
# The first two end with 0 if all is as the library expects, and say what is not.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$here/install.sh"

usage() { sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

install_python whatsapp-python "$here/whatsapp/requirements.txt"
case "${1:-}" in
  --install) ;;
  client | mirror | receiver) exec "$python" "$here/whatsapp/referee.py" "$@" ;;
  *) usage ;;
esac
