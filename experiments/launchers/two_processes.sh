#!/usr/bin/env bash
# Two processes on this machine train one sweep together, each on one core; on two machines it is the same with their
# names. Both see the directory, and every flag but --process is the same.
#
#   bash experiments/launchers/two_processes.sh runs/two_processes
set -euo pipefail
out=${1:?give the directory of the sweep}
port=${PORT:-29517}

one() {
  JAX_PLATFORMS=cpu purerl sweep ppo --env CartPole-v1 "learning_rate=log_uniform(1e-4, 1e-2)" --samples 4 --seeds 4 \
    --total-steps 50000 --out "$out" --cores 1 --coordinator "localhost:$port" --processes 2 --process "$1"
}

one 1 &
one 0
wait
