#!/usr/bin/env python3
"""Checks that PyTorch takes a language model's checkpoint written by Tenon as it is, and writes it back.

    /usr/bin/python3 tests/parity/check_lstm_lm.py NET FILE LOSS

NET is one of lstm_lm.py's networks, FILE its weights in safetensors, LOSS what Tenon finds for chunk 0
with them.  Loads the file with load_state_dict(strict=True) and compares, to 1e-5 of it; then FILE is what
PyTorch's state_dict() holds.
Exit status: 0 agrees, 1 does not, 77 PyTorch is not installed.
"""
import sys

try:
    import torch
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

sys.dont_write_bytecode = True                      # leave no __pycache__ in the source tree
from lstm_lm import NETS, ORDERS, chunk, network
from resnet20 import load_safetensors, save_safetensors

TOLERANCE = 1e-5


def check(name, path, ours):
    tensors = {k: torch.tensor(a) for k, a in load_safetensors(path).items()}
    if any(t.dtype != torch.float32 for t in tensors.values()):
        raise ValueError("not all of it is float32")
    net = network(NETS[name], torch.float64, tensors)
    with torch.no_grad():
        theirs = net(*chunk(0, ORDERS[0]), None)[0].item()
    gap = abs(float(ours) / theirs - 1)
    if not gap <= TOLERANCE:
        raise ValueError(f"the loss is {ours}, not {theirs}")
    save_safetensors(path, {k: a.float().numpy() for k, a in net.state_dict().items()})
    return f"load_state_dict takes all {len(tensors)} tensors; the loss agrees to {gap:.1e}"


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        print("ok:", check(*sys.argv[1:]))
    except Exception as e:      # whatever is wrong with the file, one line says it
        print(f"FAIL: {sys.argv[2]}:", " ".join(str(e).split()) or type(e).__name__)
        sys.exit(1)
