#!/usr/bin/env bash
# The group level, once. Its work folder is in OUT_DIR: what was trained before a kill is not trained again.
set -euo pipefail
image=$1 bids=$2 out=$3
shift 3
apptainer run --containall -B "$bids:/data:ro" -B "$out:/out" "$image" /data /out group \
  -w /out/.work --nprocs "${SLURM_CPUS_PER_TASK:-1}" --mem-mb "${SLURM_MEM_PER_NODE:-8000}" "$@"
