#!/usr/bin/env bash
# Slack's own libraries, which judge the stand-in of the tests: the SDK and Bolt for Python, and those for JavaScript with their
# types.
#
#   slack-referees.sh --install              only fetches what they need
#   slack-referees.sh types FILE             reads what was said, both ways, in the types of @slack/web-api and @slack/bolt
#   slack-referees.sh client URL             calls every method of the channel at the Web API at URL
#   slack-referees.sh app URL                an app by Bolt for Python, in Socket Mode, until its input ends
#   slack-referees.sh app-node URL           the same by Bolt for JavaScript
#   slack-referees.sh receiver URL PORT      the one for Python, which takes signed requests at PORT
#   slack-referees.sh person URL             a person on the emulator, who writes to the channel
#
# Each ends with 0 if all is as its library expects, and says what is not.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$here/install.sh"

usage() { sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

python_referee() { install_python slack-python "$here/slack/requirements.txt"; }
node_referee() { install_locked slack-node "$here/slack"; }

case "${1:-}" in
  --install) python_referee; node_referee ;;
  types) node_referee; exec "$node" "$here/slack/types.mjs" "$home/slack-node" "$2" ;;
  app-node) node_referee; exec "$node" "$here/slack/app.mjs" "$home/slack-node" "$2" ;;
  client | app | receiver | person) python_referee; exec "$python" "$here/slack/referee.py" "$@" ;;
  *) usage ;;
esac
