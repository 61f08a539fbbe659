#!/usr/bin/env bats
# data show and verify, embed, eval.
load support

setup() {
    cd "$WORK/stripes"
    if [ ! -d ../model ]; then
        "$PERENNIAL" run recipe.lua --quiet --workspace ../ws --set strategies=sequential >/dev/null
        cp -r "$(dirname "$(find ../ws/stages -name stage.json | sort | head -1)")" ../model
    fi
}

@test "a stream is shown" {
    perennial data show stream.yaml
    exits 0
    says "stream 'stripes', 2 time steps"
    says "upright red stripes 0"
    perennial data show stream.yaml --json --count 2 --time-step 2017 --set-name stripes
    exits 0
    json "d['time_steps'] == ['2016', '2017'] and len(d['sets']) == 1"
    json "d['sets'][0]['samples'] == 12 and d['sets'][0]['first'][1]['class'] is not None and d['sets'][0]['first'][0]['width'] == 16"
    perennial data show 'train/2016-{0..1}.tar' --json
    json "d['sets'][0]['shards'] == 2 and d['sets'][0]['samples'] == 24 and len(d['sets'][0]['first']) == 3"
    perennial data show stream.yaml --time-step 2018
    exits 1
    complains "did you mean '201"
}

@test "good data verifies" {
    perennial data verify stream.yaml
    exits 0
    says "nothing is wrong"
    perennial data verify stream.yaml --json
    exits 0
    json "d['ok'] and d['good'] == 96 and d['lost'] == 0 and all(s['ok'] for s in d['sets'])"
}

@test "checksums are compared" {
    perennial data verify stream.yaml --set-name train --time-step 2016 --json
    digest=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["sets"][0]["digest"])' <<<"$output")
    sed "0,/samples: 24/s//samples: 24, checksum: $digest/" stream.yaml >right.yaml
    perennial data verify right.yaml --json
    exits 0
    json "d['sets'][0]['checksum'] == 'equal'"
    sed "0,/samples: 24/s//samples: 24, checksum: 0123456789abcdef0123456789abcdef/" stream.yaml >wrong.yaml
    perennial data verify wrong.yaml
    exits 1
    says "DIFFERS"
}

@test "bad data is counted by reason and named" {
    python3 "$BATS_TEST_DIRNAME/make_stream.py" ../broken --broken 2
    truncate -s 9000 ../broken/train/2017-1.tar # in the middle of its samples
    rm ../broken/eval/2017.tar
    perennial data verify ../broken/stream.yaml
    exits 1
    says "SOMETHING IS WRONG"
    says "image_decode"
    says "000001"
    perennial data verify ../broken/stream.yaml --json --threads 1
    exits 1
    one=$(grep -v '"seconds"' <<<"$output")
    json "not d['ok'] and d['losses']['image_decode'] == 4 and d['losses']['truncated_tar'] >= 1"
    json "d['sets'][0]['bad_samples'][0]['key'] == '000000' and d['sets'][0]['bad_samples'][0]['message']"
    json "[s['problem'] for s in d['sets'] if s['set'] == 'retrieval' and s['time_step'] == '2017'][0]"
    perennial data verify ../broken/stream.yaml --json --threads 3
    [ "$one" = "$(grep -v '"seconds"' <<<"$output")" ]
}

@test "a stated number that is wrong is a failure" {
    sed "0,/samples: 24/s//samples: 25/" stream.yaml >count.yaml
    perennial data verify count.yaml
    exits 1
    says "25"
}

@test "embeddings come with their keys, normalised, in order" {
    perennial embed --model ../model --data stream.yaml --out ../emb.safetensors
    exits 0
    says "48 samples"
    perennial embed --model ../model --data 'train/2016-{0..1}.tar' --data 'train/2017-{0..1}.tar' --out ../again.safetensors \
        --vocabulary vocab.txt --batch 7 --json
    exits 0
    json "d['samples'] == 48 and d['skipped'] == 0 and d['embed_dim'] == 16"
    python3 - ../emb.safetensors ../again.safetensors <<'CHECK'
import json, struct, sys

def read(path):
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    keys = json.loads(header.pop("__metadata__")["keys"])
    tensors = {}
    for name, t in header.items():
        assert t["dtype"] == "F32", t
        begin, end = t["data_offsets"]
        n, width = t["shape"]
        values = struct.unpack(f"<{n * width}f", data[8 + length + begin:8 + length + end])
        tensors[name] = [values[i * width:(i + 1) * width] for i in range(n)]
    return keys, tensors

keys, tensors = read(sys.argv[1])
assert sorted(tensors) == ["image_embeddings", "text_embeddings"]
assert keys == [f"{n:06d}" for n in list(range(24)) + list(range(1000, 1024))], keys
for rows in tensors.values():
    assert len(rows) == 48
    assert all(abs(sum(x * x for x in row) - 1) < 1e-5 for row in rows)
other_keys, other = read(sys.argv[2])
assert other_keys == keys
for name, rows in tensors.items():
    assert all(abs(a - b) < 1e-5 for row, second in zip(rows, other[name]) for a, b in zip(row, second))
CHECK
}

@test "damaged samples are left out of embeddings, with their keys" {
    python3 "$BATS_TEST_DIRNAME/make_stream.py" ../holes --broken 3
    perennial embed --model ../model --data ../holes/stream.yaml --time-step 2016 --out ../holes.safetensors --json
    exits 0
    json "d['samples'] == 21 and d['skipped'] == 3"
    python3 -c '
import json, struct, sys
data = open(sys.argv[1], "rb").read()
keys = json.loads(json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]["keys"])
assert keys == [f"{n:06d}" for n in range(3, 24)], keys' ../holes.safetensors
}

@test "embed refuses what it cannot do" {
    perennial embed --model ../nowhere --data stream.yaml --out ../x.safetensors
    exits 1
    complains "no such folder"
    perennial embed --model ../model --data train/2016-0.tar --time-step 2016 --vocabulary vocab.txt --out ../x.safetensors
    exits 1
    complains "choose from a manifest"
    printf '#version: 0.2\nq q\n' >../small.txt
    perennial embed --model ../model --data stream.yaml --vocabulary ../small.txt --out ../x.safetensors
    exits 0
    complains "warning"
    { printf '#version: 0.2\n'; for a in a b c d e f g h i j; do echo "$a $a"; done; } >../large.txt
    perennial embed --model ../model --data stream.yaml --vocabulary ../large.txt --out ../y.safetensors
    exits 1
    complains "--vocabulary"
    [ ! -e ../y.safetensors ]
}

@test "a model folder is scored on a stream, as the run scored it" {
    perennial eval --model ../model --data stream.yaml
    exits 0
    says "recall@1"
    perennial results ../ws --json
    wanted=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["strategies"]["sequential"]["tasks"]["retrieval"]["matrix"])' <<<"$output")
    perennial eval --model ../model --data stream.yaml --set-name retrieval --json
    exits 0
    json "[s['scores']['recall@1'] for s in d['tasks']['retrieval']['steps']] in $wanted"
    perennial eval --model ../model --data stream.yaml --set-name retrieval --time-step 2017 --recall 2,3 --json
    json "list(d['tasks']) == ['retrieval'] and list(d['tasks']['retrieval']['steps'][0]['scores'])[0] == 'recall@2'"
    perennial eval --model ../model --data stream.yaml --set-name retreival
    exits 1
    complains "did you mean 'retrieval'?"
    perennial eval --model ../model --data stream.yaml --recall 5,1
    exits 2
}

@test "data build knows its data sets and presets" {
    perennial data build unicod --out ../u
    exits 2
    complains "did you mean 'unicode'?"
    perennial data build unicode --preset quickstrat --out ../u
    exits 2
    complains "did you mean 'quickstart'?"
    perennial data build unicode
    exits 2
    complains "--out is missing"
}
