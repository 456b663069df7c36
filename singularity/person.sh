#!/usr/bin/env bash
# One task of the array: one person. What is finished is known by OUT_DIR, so that the work folder may be the node's own.
set -euo pipefail
image=$1 bids=$2 out=$3 list=$4
shift 4
person=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$list")
work=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/pellucid-XXXXXX")
trap 'rm -rf "$work"' EXIT
apptainer run --containall -B "$bids:/data:ro" -B "$out:/out" -B "$work:/work" "$image" /data /out participant \
  --participant-label "$person" -w /work --nprocs "${SLURM_CPUS_PER_TASK:-1}" --mem-mb "${SLURM_MEM_PER_NODE:-8000}" "$@"
