#!/usr/bin/env bats
# Benchmarks measure something and say it in stable keys. Their figures are never tested: machines differ, and so do moments.
load support

@test "bench train and ops" {
    perennial bench train --model nano --batch 8 --steps 2 --repeats 3 --json
    exits 0
    json 'd["bench"] == "train" and d["samples_per_s"] > 0 and d["samples_per_s_least"] <= d["samples_per_s"] <= d["samples_per_s_most"]'
    json 'd["gflops"] > 0 and d["sgemm_peak_gflops"] > 0 and d["peak_bytes"] > 1e6 and 10 <= d["tokens"] <= 20'
    json 'abs(sum(o["share"] for o in d["ops"]) - 1) < 1e-6 and {"linear", "attention", "adamw"} <= {o["name"] for o in d["ops"]}'
    perennial bench ops --model nano --batch 8 --steps 1 --repeats 1 --tokens 12 --checkpointing --bf16-moments
    exits 0
    says "linear_grad_w"
    says "captions of 12.0 tokens"
}

@test "bench embed" {
    perennial bench embed --model nano --batch 16 --steps 1 --repeats 2 --json
    exits 0
    json 'd["images_per_s"] > 0 and d["texts_per_s"] > 0 and d["gflops"] > 0'
}

@test "bench data" {
    perennial bench data --stream "$WORK/stripes/stream.yaml" --model nano --batch 8 --steps 3 --repeats 2 --json
    exits 0
    json 'd["samples_per_s"] > 0 and d["image_bytes"] > 50 and d["tokens"] > 2'
    perennial bench data
    exits 2
    complains "--stream"
}

@test "the work of a step is the model's, whatever the captions' room" {
    perennial bench train --model nano --batch 8 --steps 1 --repeats 1 --tokens 24 --json
    long=$(python3 -c 'import json, sys; d = json.load(sys.stdin); print(d["gflops"] * d["step_s"])' <<<"$output")
    perennial bench train --model nano --batch 8 --steps 1 --repeats 1 --tokens 12 --json
    short=$(python3 -c 'import json, sys; d = json.load(sys.stdin); print(d["gflops"] * d["step_s"])' <<<"$output")
    python3 -c "import sys; assert 1.05 * $short < $long < 2 * $short, ($short, $long)"
}
