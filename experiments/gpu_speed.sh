#!/bin/bash
# What a GPU trains in a second, and what the loader must deliver to keep up: under 8 minutes.
#
#   experiments/gpu_speed.sh PICTURES [FOLDER]     PICTURES: folder of .jpg files
#
# FOLDER (default: the current one) takes gpu_speed.json, gpu_speed.txt and loader.txt. With TINY=1
# in the environment the same runs on a processor, in a minute, with a small network.
set -euo pipefail
pictures=$(realpath "$1")
out=$(realpath "${2:-.}")
mkdir -p "$out"
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD
forms=() loader=(--sizes 448 --number 32 --rounds 3)
if [ -n "${TINY:-}" ]; then
    forms=(--tiny) loader=(--sizes 224 --number 4 --rounds 1)
fi
if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv
fi
python -c 'import os, torch; print("torch", torch.__version__, "cores", len(os.sched_getaffinity(0)))'
timeout 390 python experiments/gpu_speed.py "${forms[@]}" --out "$out/gpu_speed.json" |
    tee "$out/gpu_speed.txt"
# of one core: times the cores it has to reach the pictures a second above
timeout 80 python benchmarks/loader.py --pictures "$pictures" "${loader[@]}" | tee "$out/loader.txt"
