#!/usr/bin/env python3
"""Writes attention.json: what torch.nn.MultiheadAttention computes in float64 on sequences of differing length.

    /usr/bin/python3 tests/parity/attention.py          (numpy, PyTorch)

Each sequence is run by itself, so nothing is padded; results are put one after the other.  Beside each
tensor stands how far PyTorch's float32 is from it: the measure of tests/test_attention.c.
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
    "in_proj_weight, in_proj_bias, out_proj.weight, out_proj.bias, x, source, dL/dy: streams 1 to 7, in row order",
]
CASES = [
    dict(name="self", dim=8, heads=2, causal=False, rows=[5, 1, 3]),
    dict(name="self-causal", dim=12, heads=3, causal=True, rows=[4, 7]),
    dict(name="cross", dim=8, heads=1, causal=False, rows=[3, 1, 2], source_rows=[6, 2, 1]),
    dict(name="cross-heads", dim=16, heads=4, causal=False, rows=[9], source_rows=[4]),
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


def run(case, dtype):
    dim, rows, source_rows = case["dim"], case["rows"], case.get("source_rows")
    layer = torch.nn.MultiheadAttention(dim, case["heads"], batch_first=True).to(dtype)
    with torch.no_grad():
        for i, p in enumerate([layer.in_proj_weight, layer.in_proj_bias, layer.out_proj.weight, layer.out_proj.bias]):
            p.copy_(torch.tensor(unit(i + 1, *p.shape)))
    x = torch.tensor(unit(5, sum(rows), dim), dtype=dtype, requires_grad=True)
    source = torch.tensor(unit(6, sum(source_rows or [0]), dim), dtype=dtype, requires_grad=True)
    y, at, source_at = [], 0, 0
    for i, n in enumerate(rows):
        q = x[at:at + n].unsqueeze(0)
        kv = q if source_rows is None else source[source_at:source_at + source_rows[i]].unsqueeze(0)
        mask = torch.triu(torch.ones(n, n, dtype=torch.bool), 1) if case["causal"] else None
        y.append(layer(q, kv, kv, attn_mask=mask, need_weights=False)[0].squeeze(0))
        at += n
        source_at += source_rows[i] if source_rows else 0
    y = torch.cat(y)
    y.backward(torch.tensor(unit(7, *y.shape), dtype=dtype))
    found = dict(y=y, x=x.grad, in_proj_weight=layer.in_proj_weight.grad, in_proj_bias=layer.in_proj_bias.grad)
    found["out_proj.weight"] = layer.out_proj.weight.grad
    found["out_proj.bias"] = layer.out_proj.bias.grad
    if source_rows:
        found["source"] = source.grad
    return {k: v.detach().double().numpy() for k, v in found.items()}


def main():
    cases = []
    for case in CASES:
        exact, single = run(case, torch.float64), run(case, torch.float32)
        spread = {k: float(np.abs(exact[k] - single[k]).max()) for k in exact}
        print(case["name"], {k: f"{v:.1e}" for k, v in spread.items()})
        results = {k: dict(float32_max_abs_diff=float(f"{spread[k]:.1e}"),
                           values=[float(f"{v:.12g}") for v in exact[k].ravel()]) for k in exact}
        cases.append(dict(case, results=results))
    head = dict(written_by="tests/parity/attention.py", formula=FORMULA,
                results="y, and by the parameter's or input's name dL/d of it, in float64")
    with open(os.path.join(HERE, "attention.json"), "w") as f:
        body = ",\n".join(json.dumps(c) for c in cases)
        f.write(json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + body + "\n]}\n")
    json.load(open(f.name))
    print(f"{len(cases)} cases of PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
