#!/bin/bash
# A run on several machines under Slurm: one launcher a machine, one process a GPU.
#
#   sbatch --nodes 2 experiments/slurm_train.sh --config coco2014_pumlc_10 --data.root COCO --out RUN
#
# What all machines need: the data under the same path, and an environment with pumlc. The first
# machine alone writes the run folder; `--resume` and `pumlc evaluate` read it on every machine, so
# for them it has to be on a shared disk. train.batch_size is that of one GPU.
#SBATCH --job-name=pumlc
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --signal=TERM@120
# SIGTERM two minutes before the end: the run finishes its step, saves, and goes on with --resume

set -euo pipefail
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" \
    --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" \
    --rdzv-id "$SLURM_JOB_ID" \
    --rdzv-backend c10d \
    --rdzv-endpoint "$first:29500" \
    -m pumlc train "$@"
