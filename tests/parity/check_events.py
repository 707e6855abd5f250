#!/usr/bin/env python3
"""Checks that TensorBoard reads a run's event files as its metrics.jsonl and histograms.jsonl say.

    python3 tests/parity/check_events.py RUN

Every number of metrics.jsonl that has a tag must be there at its step, to float32, and nothing else;
of several at one step the last counts.
Exit status: 0 agrees, 1 does not, 77 the tensorboard package is not installed.
"""
import json
import math
import os
import sys

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

TAGS = {"loss": "train/loss", "accuracy": "train/accuracy", "images_per_s": "train/images_per_s",
        "nll": "train/nll", "loss_bits": "train/loss_bits", "ppl": "train/ppl", "grad_norm": "train/grad_norm",
        "tokens_per_s": "train/tokens_per_s", "train_ppl": "train/epoch_ppl", "valid_loss": "valid/loss",
        "valid_nll": "valid/nll", "valid_ppl": "valid/ppl", "best_nll": "valid/best_nll",
        "train_loss": "train/epoch_loss", "train_accuracy": "train/epoch_accuracy",
        "test_loss": "test/loss", "test_accuracy": "test/accuracy", "best": "test/best", "lr": "lr"}


def lines(run, name):
    path = os.path.join(run, name)
    return [json.loads(line) for line in open(path)] if os.path.exists(path) else []


def check(run):
    events = EventAccumulator(run, size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    want = {}
    for line in lines(run, "metrics.jsonl"):
        for key, tag in TAGS.items():
            if line.get(key) is not None:
                want.setdefault(tag, {})[line["step"]] = line[key]
    tags = events.Tags()
    if set(tags["scalars"]) != set(want):
        raise ValueError(f"scalars {sorted(tags['scalars'])}, not {sorted(want)}")
    numbers = 0
    for tag, values in want.items():
        have = {e.step: e.value for e in events.Scalars(tag)}
        if list(have) != list(values):
            raise ValueError(f"{tag}: steps {list(have)}, not {list(values)}")
        for step, value in values.items():
            if not math.isclose(have[step], value, rel_tol=1e-6, abs_tol=1e-30):
                raise ValueError(f"{tag}: {have[step]} at step {step}, not {value}")
        numbers += len(values)
    histograms = lines(run, "histograms.jsonl")
    for of in {h["of"] for h in histograms}:
        have = events.Histograms(f"histogram/{of}")
        ours = [h for h in histograms if h["of"] == of]
        if [e.step for e in have] != [h["step"] for h in ours]:
            raise ValueError(f"{of}: histograms at steps {[e.step for e in have]}")
        for e, h in zip(have, ours):
            edges, v = h["edges"], e.histogram_value
            counts = dict(zip(v.bucket_limit, v.bucket))
            total = sum(h["counts"]) + h["above"]
            if any(counts.get(edges[i + 1], 0) != n for i, n in enumerate(h["counts"])):
                raise ValueError(f"{of}: other counts at step {h['step']}")
            if v.num != total or sum(v.bucket) != total or not edges[0] <= v.min <= v.max:
                raise ValueError(f"{of}: {v.num} elements at step {h['step']}, not {total}")
    return f"{numbers} scalars of {len(want)} tags and {len(histograms)} histograms agree"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print("ok:", check(sys.argv[1]))
    except Exception as e:      # whatever is wrong with the files, one line says it
        print(f"FAIL: {sys.argv[1]}:", " ".join(str(e).split()) or type(e).__name__)
        sys.exit(1)
