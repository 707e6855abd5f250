#!/usr/bin/env python3
"""Writes nothing: checks that PyTorch takes a ResNet-20 checkpoint written by Tenon as it is.

    /usr/bin/python3 tests/parity/check_state_dict.py net.safetensors [logits.json | logits.npy]

Loads the file with load_state_dict(strict=True).  With logits (a [8][10] array, or {"logits":
array}) also compares them with PyTorch's in eval mode on batch 0 of resnet20.py, to 1e-4 of the
largest one.
Exit status: 0 agrees, 1 does not, 77 PyTorch is not installed.
"""
import json
import sys

try:
    import numpy as np
    import torch
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

sys.dont_write_bytecode = True                      # leave no __pycache__ in the source tree
from resnet20 import ResNet20, batch, inputs, load_safetensors

TOLERANCE = 1e-4


def check(path, logits_path=None):
    tensors = {k: torch.tensor(a) for k, a in load_safetensors(path).items()}
    net = ResNet20()
    want = net.state_dict()
    # PyTorch forgives a missing num_batches_tracked, and casts dtypes in silence: look ourselves.
    for k in want:
        if k not in tensors:
            raise ValueError(f"{k} is missing")
        if tensors[k].dtype != want[k].dtype:
            raise ValueError(f"{k} is {tensors[k].dtype}, not {want[k].dtype}")
    net.load_state_dict(tensors, strict=True)
    text = f"load_state_dict takes all {len(tensors)} tensors"
    if logits_path:
        npy = logits_path.endswith(".npy")
        ours = np.load(logits_path) if npy else json.load(open(logits_path))
        ours = np.asarray(ours["logits"] if isinstance(ours, dict) else ours, np.float64)
        with torch.no_grad():
            theirs = net.double().eval()(inputs(batch(0)[0], torch.float64)).numpy()
        if ours.shape != theirs.shape:
            raise ValueError(f"logits are {ours.shape}, not {theirs.shape}")
        gap = np.abs(ours - theirs).max() / np.abs(theirs).max()
        if not gap <= TOLERANCE:
            raise ValueError(f"logits differ by {gap:.1e} of the largest, above {TOLERANCE:.0e}")
        text += f"; logits agree to {gap:.1e} of the largest"
    return text


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        print("ok:", check(*sys.argv[1:]))
    except Exception as e:      # whatever is wrong with the file, one line says it
        print(f"FAIL: {sys.argv[1]}:", " ".join(str(e).split()) or type(e).__name__)
        sys.exit(1)
