# Sourced by bin/test: the services that the tests need, installed and started where that is possible.
# Only as root, and only what does not answer already; what this script started, it ends.

_SERVICES_DIR=
_ZOOKEEPER_PID=
_IMAGES_PID=

_stop_services() {
    [ -n "$_SERVICES_DIR" ] || return 0
    # Before the daemon that it uses.
    [ -z "$_IMAGES_PID" ] || kill -- "-$_IMAGES_PID" 2>/dev/null || true
    if [ -s "$_SERVICES_DIR/docker.pid" ]; then
        local pid
        pid=$(cat "$_SERVICES_DIR/docker.pid")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    fi
    [ -z "$_ZOOKEEPER_PID" ] || kill "$_ZOOKEEPER_PID" 2>/dev/null || true
    rm -rf "$_SERVICES_DIR"
}

_docker_answers() {
    "$PYTHON" -c 'import docker; docker.from_env(timeout=5).ping()' 2>/dev/null
}

_apt_install() {
    command -v apt-get >/dev/null || return 1
    say "Installing $* …"
    apt-get -qq update >&2
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >&2
}

_start_docker() {
    _docker_answers && return
    if [ "$(id -u)" != 0 ]; then
        say "No Docker daemon answers, and only root could start one: its tests will be skipped."
        return
    fi
    command -v dockerd >/dev/null || _apt_install docker.io iptables || {
        say "Docker is not installed and could not be: its tests will be skipped."
        return
    }
    say "Starting a Docker daemon for the tests …"
    dockerd --pidfile "$_SERVICES_DIR/docker.pid" >"$_SERVICES_DIR/docker.log" 2>&1 &
    for _ in $(seq 150); do
        _docker_answers && return
        sleep 0.2
    done
    say "The Docker daemon did not come up; its last words:"
    tail -5 "$_SERVICES_DIR/docker.log" >&2
}

# A ZooKeeper that the tests share; those that harm one start their own. It needs no root.
_start_zookeeper() {
    [ -z "${MESOS_GATEWAY_TEST_ZOOKEEPER:-}" ] || return 0
    if ! "$PYTHON" -c 'import sys; from tests import zookeeper; sys.exit(zookeeper.missing() is not None)'; then
        if [ "$(id -u)" != 0 ] || ! _apt_install zookeeper default-jre-headless; then
            say "ZooKeeper is not installed and could not be: its tests will be skipped."
            return
        fi
    fi
    say "Starting a ZooKeeper for the tests …"
    local port
    port=$("$PYTHON" -c 'from tests import ports; print(ports.free_port())')
    "$PYTHON" -m tests.zookeeper "$_SERVICES_DIR/zookeeper" "$port" >"$_SERVICES_DIR/zookeeper.log" 2>&1 &
    _ZOOKEEPER_PID=$!
    for _ in $(seq 150); do
        if "$PYTHON" -c "import sys; from tests import zookeeper; sys.exit(not zookeeper.serves($port))"; then
            export MESOS_GATEWAY_TEST_ZOOKEEPER=127.0.0.1:$port
            return
        fi
        kill -0 "$_ZOOKEEPER_PID" 2>/dev/null || break
        sleep 0.2
    done
    say "ZooKeeper did not come up; its last words:"
    tail -5 "$_SERVICES_DIR/zookeeper.log" >&2
}

# The images of the products take minutes, the first time: they are made while other tests run. Who
# needs one that is not there yet waits for it, or makes it.
start_images() {
    command -v mmdebstrap >/dev/null && _docker_answers || return 0
    setsid nice "$PYTHON" -m tests.images >"$_SERVICES_DIR/images.log" 2>&1 &
    _IMAGES_PID=$!
}

# Keystone has a hundred packages, which are none of the project's: once, in a place of their own.
_install_keystone() {
    "$PYTHON" -c 'import sys; from tests import keystone; sys.exit(keystone.missing() is not None)' && return
    say "Installing a Keystone for the tests, once (about a minute) …"
    "$PYTHON" -c 'from tests import keystone; keystone.install(keystone.home())' ||
        say "Keystone could not be installed: its tests will be skipped."
}

start_services() {
    _SERVICES_DIR=$(mktemp -d)
    trap _stop_services EXIT
    _install_keystone
    _start_docker
    _start_zookeeper
    # The containers of the tests run a static busybox, for none can be pulled; the README uses curl.
    [ "$(id -u)" = 0 ] || return 0
    # The tests start servers of their own from it.
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || _apt_install postgresql ||
        say "PostgreSQL could not be installed."
    command -v busybox >/dev/null || _apt_install busybox-static || say "busybox could not be installed."
    command -v mmdebstrap >/dev/null || _apt_install mmdebstrap ||
        say "mmdebstrap could not be installed: no images of the products can be made."
    command -v openssl >/dev/null || _apt_install openssl || say "openssl could not be installed."
    command -v gcc >/dev/null || _apt_install gcc libc6-dev || say "gcc could not be installed."
    command -v curl >/dev/null || _apt_install curl || say "curl could not be installed."
}
