# Installs what referees in Python need; sourced after node.sh, which says where and how it is known what is there.

# install_python NAME FILE: an environment of its own under $home/NAME, with what FILE lists, each by its hash; sets
# $python.
install_python() {
  local at="$home/$1" wants; wants="$(cat "$2")"
  mkdir -p "$home"
  # Two tests may start at once; one of them installs.
  exec 9>"$home/.lock"
  flock 9
  if ! finished "$at" "$wants"; then
    rm -rf "$at"
    python3 -m venv "$at" >&2
    "$at/bin/pip" --disable-pip-version-check -q install --require-hashes --no-deps -r "$2" >&2
    echo "$wants" >"$at/.installed"
  fi
  exec 9>&-
  python="$at/bin/python"
}
