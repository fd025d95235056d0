#!/bin/bash
# What a GPU makes of texts: a dual encoder and the joint heads on both full sets, under 15 minutes.
#
#   experiments/gpu.sh EURLEX57K TIBcore-79K FOLDER
#
# The first two are folders in the layout xmc. FOLDER takes a run of each and gpu.md, the table with
# the columns of docs/results/texts.md and the seconds of training. A run that does not end in its
# time has an empty row. The epochs are those that fit into the time; the dual encoder of TIBcore-79K
# trains on mined negatives, since a step over all of its labels takes too long. With TINY=1 in the
# environment the same runs on a processor, with one epoch of small batches.
set -euo pipefail
eurlex=$(realpath "$1") tibcore=$(realpath "$2")
mkdir -p "$3"
out=$(realpath "$3")
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD
dual=(--train.precision bf16 --train.batch_size 512 --data.train_rows null)
epochs_eurlex=10 epochs_tibcore=5
if [ -n "${TINY:-}" ]; then
    dual=(--train.precision no --train.batch_size 2 --data.train_rows null)
    epochs_eurlex=1 epochs_tibcore=1
fi
if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=name,driver_version,power.limit --format=csv
fi

trained() { # name, seconds, then the arguments of train
    local name=$1 limit=$2
    shift 2
    timeout "$limit" python -m pumlc train --out "$out/$name" "$@" &&
        timeout 120 python -m pumlc evaluate "$out/$name" || echo "$name: not finished"
}

trained eurlex57k_dual 240 --config eurlex57k_decoupled --data.root "$eurlex" \
    "${dual[@]}" --train.epochs $epochs_eurlex --data.validation 0
trained tibcore79k_dual 240 --config tibcore79k_cpu --data.root "$tibcore" \
    "${dual[@]}" --train.epochs $epochs_tibcore
trained eurlex57k_joint 120 --config eurlex57k_joint_cpu --data.root "$eurlex" --data.train_rows null
trained tibcore79k_joint 180 --config tibcore79k_joint_cpu --data.root "$tibcore" --data.train_rows null
python experiments/gpu_texts.py "$out" eurlex57k_dual eurlex57k_joint tibcore79k_dual tibcore79k_joint |
    tee "$out/gpu.md"
