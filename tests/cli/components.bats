#!/usr/bin/env bats
# Models, strategies, backends, topology.
load support

@test "models have the published sizes" {
    perennial model list
    exits 0
    says "ViT-B-32"
    perennial model list --json
    exits 0
    json "{'ViT-S-32', 'ViT-B-16', 'ViT-L-14-336-quickgelu', 'ViT-H-14'} <= {m['name'] for m in d['models']}"
    while read -r name parameters gflops; do
        perennial model show "$name" --json
        exits 0
        json "round(d['parameters'] / 1e6, 2) == $parameters and abs(d['forward_flops'] / 1e9 / $gflops - 1) < 0.01"
    done <<'TABLE'
ViT-S-32 63.09 5.66
ViT-B-32 151.28 14.78
ViT-B-16 149.62 41.09
ViT-L-14 427.62 175.33
ViT-H-14 986.11 381.68
TABLE
}

@test "a model's programs are printed" {
    perennial model show nano --program
    exits 0
    says "program image_tower"
    says "program text_tower"
    [[ "$output" != *"segment backward"* ]]
    perennial model show nano --backward --batch 4
    exits 0
    says "segment backward"
    says "linear_grad_w"
    says "at most 4"
    perennial model show nano --program --json
    json "'layer_norm' in d['programs']['image']"
}

@test "unknown models suggest" {
    perennial model show ViT-B-23
    exits 1
    complains "did you mean 'ViT-B-32'?"
}

@test "a new model is a folder that can be shown, and is never overwritten" {
    perennial model new nano --out "$WORK/model" --vocabulary "$WORK/stripes/vocab.txt" --seed 3
    exits 0
    [ -f "$WORK/model/open_clip_config.json" ]
    before=$(md5sum <"$WORK/model/open_clip_model.safetensors")
    perennial model show "$WORK/model" --json
    exits 0
    json "d['text']['vocab_size'] == 519"
    perennial model new nano --out "$WORK/model"
    exits 1
    complains "never overwritten"
    [ "$before" = "$(md5sum <"$WORK/model/open_clip_model.safetensors")" ]
    perennial model new nano --out "$WORK/again" --vocabulary "$WORK/stripes/vocab.txt" --seed 3 --json
    exits 0
    json "d['parameters'] > 0"
    [ "$before" = "$(md5sum <"$WORK/again/open_clip_model.safetensors")" ]
    perennial model new nano
    exits 2
    complains "--out is missing"
}

@test "strategies and their options" {
    perennial strategies
    exits 0
    says "sequential"
    perennial strategies --json
    json "{'sequential', 'cumulative', 'oracle'} <= {s['name'] for s in d['strategies']}"
    perennial strategies cumulative
    exits 0
    says "budget_multiples"
    perennial strategies cumulative --json
    json "d['options'][0]['name'] == 'budget_multiples' and d['plugin']['path'].endswith('.so') and len(d['plugin']['digest']) == 32"
    perennial strategies sequental
    exits 1
    complains "did you mean 'sequential'?"
}

@test "backends and their devices" {
    perennial backends
    exits 0
    says "reference"
    perennial backends --json
    json "{'cpu', 'reference'} <= {b['name'] for b in d['backends']} and all(len(b['devices']) > 0 for b in d['backends'] if b['name'] in ('cpu', 'reference')) and d['refused'] == []"
    perennial backends cpu
    exits 0
    says "numerics"
    perennial backends cpo
    exits 1
    complains "did you mean 'cpu'?"
}

@test "a refused plugin is named, and the others work" {
    mkdir -p "$WORK/plugins"
    echo "no plugin" >"$WORK/plugins/broken.so"
    perennial backends --plugin-path "$WORK/plugins"
    exits 0
    says "refused plugins"
    says "$WORK/plugins/broken.so"
    says "reference"
    perennial backends --plugin-path "$WORK/plugins" --json
    json "len(d['refused']) == 1 and d['refused'][0]['reason']"
}

@test "the conformance suite runs" {
    perennial backend test cpu --filter exp
    exits 0
    says "cpu: "
    perennial backend test reference --filter dot --json
    exits 0
    json "d['failed'] == 0 and d['cases'] == d['passed'] + d['unsupported'] and d['operations'][0]['name'] == 'dot'"
    perennial backend test cpu --filter nonsense
    exits 1
    complains "nonsense"
    perennial backend test cpo
    exits 1
    complains "did you mean 'cpu'?"
    perennial backends test cpu --filter exp
    exits 0
}

@test "topology" {
    perennial topology
    exits 0
    says "threads"
    perennial topology --json --threads 1
    json "d['processors'] >= d['allowed_processors'] >= 1 and d['threads']['count'] == 1"
}
