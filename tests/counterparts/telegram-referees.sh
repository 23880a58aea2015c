#!/usr/bin/env bash
# Clients of Telegram's Bot API by others, which judge the stand-in of the tests: python-telegram-bot and grammY.
#
#   telegram-referees.sh --install               only fetches what they need
#   telegram-referees.sh types FILE              reads what was said, both ways, in python-telegram-bot's types
#   telegram-referees.sh python URL TOKEN        a bot by python-telegram-bot, at the Bot API at URL
#   telegram-referees.sh node URL TOKEN PORT     one by grammY, whose webhook listens on 127.0.0.1:PORT
#
# Each ends with 0 if all is as its library expects, and says what is not.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$here/install.sh"

usage() { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

python_referee() { install_python telegram-python "$here/telegram/requirements.txt"; }
node_referee() { install_locked telegram-node "$here/telegram"; }

case "${1:-}" in
  --install) python_referee; node_referee ;;
  types | python) python_referee; exec "$python" "$here/telegram/referee.py" "$@" ;;
  node) node_referee; exec "$node" "$here/telegram/referee.mjs" "$home/telegram-node" "${@:2}" ;;
  *) usage ;;
esac
