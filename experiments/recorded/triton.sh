#!/bin/bash
# Records parts of the Triton seeds' tuning spaces on an NVIDIA GPU: 192 to 280 configurations each, measured in a random order, so that
# one that is cut short by SECONDS_EACH (or Ctrl-C, or SIGTERM) is a uniform sample of its part, and says so.
#
#     experiments/recorded/triton.sh OUT [NAME…]            # every one below, or those named
#
# On two GPUs, half of the names each:
#
#     CUDA_VISIBLE_DEVICES=0 taskset -c 0-15  experiments/recorded/triton.sh OUT softmax_bf16 transpose_bf16 rope_bf16 &
#     CUDA_VISIBLE_DEVICES=1 taskset -c 16-31 experiments/recorded/triton.sh OUT rms_norm_bf16 gemm_bf16 cumsum_bf16 & wait
#
# What it says is also in OUT/NAME.log. EVO is the command (evo). A recording that exists is left as it is.
set -u
out=$1
shift
names=${*:-softmax_bf16 transpose_bf16 rope_bf16 rms_norm_bf16 gemm_bf16 cumsum_bf16 conv1d_fp16}
mkdir -p "$out"

part() {  # the tunables that are held to some of their values; all others are swept
    case $1 in
        softmax_bf16) echo 'ROWS=1;2 NUM_WARPS=4;8;16 NUM_STAGES=2;3 TILE=2048;8192 PROGRAMS=264;1056 LOAD_POLICY= STORE_CACHE= RECIPROCAL=0' ;;
        rms_norm_bf16) echo 'NUM_STAGES=1;2;3 PROGRAMS=264;1056 LOAD_POLICY= WEIGHT_POLICY= STORE_CACHE=;.cs' ;;
        transpose_bf16) echo 'NUM_WARPS=2;4;8 GROUP=0;4 LOAD_POLICY= STORE_CACHE=;.cs' ;;
        gemm_bf16) echo 'PERSISTENT=0 PARTS=1 GROUP=8 FLATTEN=False PROGRAMS=132' ;;
        cumsum_bf16) echo 'NUM_STAGES=1;3 LOAD_POLICY= STORE_CACHE= CARRY_LAST=0' ;;
        rope_bf16) echo 'LOAD_POLICY= STORE_CACHE=;.cs' ;;
        conv1d_fp16) echo 'PARTS=1 NUM_WARPS=4;8 REGISTERS=0 AHEAD=0 NUM_STAGES=3 PACK_P=64 CHUNKS=1;2;4 STORE_CACHE=' ;;
        *) echo "no such part: $1" >&2; exit 2 ;;
    esac
}

for name in $names; do
    held=()
    for word in $(part "$name"); do held+=(--only "$word"); done
    [ ${#held[@]} -gt 0 ] || exit 2
    ${EVO:-evo} record "$name" --target triton -o "$out/$name.csv.gz" --repetitions 5 --precision 0.04 --seconds "${SECONDS_EACH:-55}" --cut \
        "${held[@]}" 2>&1 | tee -a "$out/$name.log"
done
