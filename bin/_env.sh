# Sourced by the scripts beside it: makes the virtual environment .venv, once, and names its Python.
# Usage: . _env.sh; environment [EXTRA,…]; then "$PYTHON" -m …
# The environment is made again only when what it is made from has changed.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${MESOS_GATEWAY_VENV:-$ROOT/.venv}
PYTHON=$VENV/bin/python

say() { printf '%s\n' "$*" >&2; }

_find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "mesos-gateway needs Python 3.11 or later, and found none on the PATH."
    exit 2
}

_make_venv() {
    local base=$1
    # Debian keeps ensurepip, without which venv cannot install pip, in a package of its own.
    if ! "$base" -c 'import ensurepip, venv' 2>/dev/null; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "Installing python3-venv (this Python comes without pip) …"
            apt-get -qq update >&2
            DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3-venv >&2
        else
            say "This Python comes without venv and pip. Install them once, then run this again:"
            say "    sudo apt-get install python3-venv"
            exit 2
        fi
    fi
    rm -rf "$VENV"
    "$base" -m venv "$VENV"
}

_wanted() {
    # What the environment is made from; the path, because an editable install names it.
    cat "$ROOT/setup.py" "$ROOT/constraints.txt" "$ROOT"/third_party/http-parser/pyproject.toml \
        "$ROOT"/third_party/http-parser/http_parser/*.py | cksum
    printf '%s' "$ROOT"
}

_install() {
    local target=$1
    cd "$ROOT"
    # http-parser, which pymesos needs, does not build on Python >= 3.11: ours stands in for it.
    "$PYTHON" -m pip install --disable-pip-version-check --no-input --use-pep517 --progress-bar off \
        -c constraints.txt ./third_party/http-parser -e "$target" |
        sed -un -e 's/^Collecting \([^ ]*\).*/  \1/p' -e 's/^Installing collected packages.*/  installing …/p' >&2
    rm -rf third_party/http-parser/build third_party/http-parser/*.egg-info
}

# _is_made STAMP WANTED: also an environment whose Python has gone since is not.
_is_made() {
    [ -x "$PYTHON" ] && [ "$(cat "$1" 2>/dev/null)" = "$2" ]
}

environment() {
    local extras=${1:-} target=. stamp wanted
    [ -z "$extras" ] || target=".[$extras]"
    stamp=$VENV/.made-from${extras:+-$extras}
    wanted=$(_wanted)
    if _is_made "$stamp" "$wanted"; then
        return
    fi
    (
        # Also where the caller has not said so: an install that fails must not leave the stamp.
        set -euo pipefail
        # Two scripts at once must not make the same environment.
        flock 9
        if ! _is_made "$stamp" "$wanted"; then
            say "Making the virtual environment in $VENV (about a minute, the first time) …"
            [ -x "$PYTHON" ] || _make_venv "$(_find_python)"
            _install "$target"
            # What has the extras has the rest, too.
            printf '%s' "$wanted" | tee "$stamp" >"$VENV/.made-from"
            say "The environment is ready."
        fi
    ) 9>"$ROOT/.venv.lock"
}
