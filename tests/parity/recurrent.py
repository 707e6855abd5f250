#!/usr/bin/env python3
"""Writes recurrent.json: what torch.nn.LSTM, GRU, RNN and AdaptiveLogSoftmaxWithLoss compute in float64.

    /usr/bin/python3 tests/parity/recurrent.py          (numpy, PyTorch)

Outputs, last states and all gradients of small layers, with and without lengths (packed sequences) and
first states.  Beside each tensor stands how far PyTorch's float32 is from it: the measure of
tests/test_parity_recurrent.c.
"""
import json
import os

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
MASK = (1 << 64) - 1
FORMULA = [
    "splitmix64(x), 64-bit wrapping: z = x + 0x9E3779B97F4A7C15; "
    "z = (z ^ z>>30) * 0xBF58476D1CE4E5B9; z = (z ^ z>>27) * 0x94D049BB133111EB; return z ^ z>>31",
    "unit(stream, index) = (splitmix64((stream << 32) + index) >> 40) * 2^-23 - 1",
    "the n-th parameter, from 0, is stream 100 + n in row order; x, h0, c0 and dL/d of y, h, c: streams 1 to 6",
    "targets: splitmix64((7 << 32) + row) mod `targets`",
]
STEPS, BATCH, INS, HIDDEN = 5, 4, 2, 3
LENGTHS = [3, 5, 1, 4]
CASES = [
    dict(kind="lstm", state=True),
    dict(kind="lstm", state=True, bidirectional=True, lengths=LENGTHS),
    dict(kind="lstm", state=False, no_bias=True, lengths=LENGTHS),
    dict(kind="gru", state=True),
    dict(kind="gru", state=True, bidirectional=True, lengths=LENGTHS),
    dict(kind="rnn", state=True),
    dict(kind="rnn", state=False, bidirectional=True, lengths=LENGTHS),
    dict(kind="rnn", state=True, relu=True, bidirectional=True, lengths=LENGTHS),
]
SOFTMAXES = [
    dict(ins=8, classes=20, cutoffs=[6, 10, 15], div=2, head_bias=True, rows=14, targets=20),
    dict(ins=8, classes=13, cutoffs=[5], div=4, head_bias=False, rows=9, targets=13),
    dict(ins=6, classes=16, cutoffs=[4, 8, 12], div=1, head_bias=False, rows=7, targets=8),  # two empty clusters
]


def splitmix64(x):
    z = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def unit(stream, *shape):
    """In [-1, 1), multiples of 2^-23: exact in float32."""
    n = int(np.prod(shape))
    return np.array([(splitmix64((stream << 32) + i) >> 40) * 2.0 ** -23 - 1.0 for i in range(n)]).reshape(shape)


def fill(module):
    with torch.no_grad():
        for i, (_, p) in enumerate(module.named_parameters()):
            p.copy_(torch.tensor(unit(100 + i, *p.shape)))


def found_in(module, **more):
    found = dict(more, **{name: p.grad for name, p in module.named_parameters()})
    return {k: v.detach().double().numpy() for k, v in found.items()}


def run_layer(case, dtype):
    sides = 2 if case.get("bidirectional") else 1
    more = dict(nonlinearity="relu" if case.get("relu") else "tanh") if case["kind"] == "rnn" else {}
    layer = getattr(torch.nn, case["kind"].upper())(INS, HIDDEN, num_layers=2, bidirectional=sides == 2,
                                                    bias=not case.get("no_bias"), **more).to(dtype)
    fill(layer)
    x = torch.tensor(unit(1, STEPS, BATCH, INS), dtype=dtype, requires_grad=True)
    first = [torch.tensor(unit(2 + i, 2 * sides, BATCH, HIDDEN), dtype=dtype, requires_grad=True) for i in range(2)]
    state = None
    if case["state"]:
        state = tuple(first) if case["kind"] == "lstm" else first[0]
    if "lengths" in case:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(case["lengths"]), enforce_sorted=False)
        y, last = layer(packed, state)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=STEPS)
    else:
        y, last = layer(x, state)
    last = dict(zip("hc", last)) if case["kind"] == "lstm" else dict(h=last)
    loss = (y * torch.tensor(unit(4, *y.shape), dtype=dtype)).sum()
    for i, t in enumerate(last.values()):
        loss = loss + (t * torch.tensor(unit(5 + i, *t.shape), dtype=dtype)).sum()
    loss.backward()
    more = {"last " + k: v for k, v in last.items()}
    if case["state"]:
        more.update({"first " + k: t.grad for k, t in zip(last, first)})
    return found_in(layer, y=y, x=x.grad, **more)


def run_softmax(case, dtype):
    layer = torch.nn.AdaptiveLogSoftmaxWithLoss(case["ins"], case["classes"], case["cutoffs"], div_value=case["div"],
                                                head_bias=case["head_bias"]).to(dtype)
    fill(layer)
    x = torch.tensor(unit(1, case["rows"], case["ins"]), dtype=dtype, requires_grad=True)
    target = torch.tensor([splitmix64((7 << 32) + i) % case["targets"] for i in range(case["rows"])])
    loss = layer(x, target).loss
    loss.backward()
    for p in layer.parameters():
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    return found_in(layer, x=x.grad, loss=loss, log_probs=layer.log_prob(x), predicted=layer.predict(x))


def results_of(run, case):
    exact, single = run(case, torch.float64), run(case, torch.float32)
    spread = {k: float(np.abs(exact[k] - single[k]).max()) for k in exact}
    print(case, {k: f"{v:.1e}" for k, v in spread.items()})
    return dict(case, results={k: dict(float32_max_abs_diff=float(f"{spread[k]:.1e}"),
                                       values=[float(f"{v:.9g}") for v in exact[k].ravel()]) for k in exact})


def main():
    layers = [results_of(run_layer, c) for c in CASES]
    softmaxes = [results_of(run_softmax, c) for c in SOFTMAXES]
    head = dict(written_by="tests/parity/recurrent.py", formula=FORMULA,
                results="y, last states, loss, log_probs, predicted classes; by the name of a parameter, an input "
                        "(x) or a first state dL/d of it; in float64",
                steps=STEPS, batch=BATCH, ins=INS, hidden=HIDDEN, layers=2)
    with open(os.path.join(HERE, "recurrent.json"), "w") as f:
        f.write(json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + ",\n".join(json.dumps(c) for c in layers) +
                '\n],\n "softmaxes": [\n' + ",\n".join(json.dumps(c) for c in softmaxes) + "\n]}\n")
    json.load(open(f.name))
    print(f"{len(layers)} layers and {len(softmaxes)} softmaxes of PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
