#!/usr/bin/env python3
"""Writes optim.json: reference trajectories of every optimizer update rule on 64 numbers.

    /usr/bin/python3 tests/parity/optim.py          (numpy; PyTorch, if present, is a cross-check)

The rules are an independent float64 transcription of the published ones (RAdam's authors' code;
PyTorch's formulas for RMSprop, NAdam, Adagrad, Adadelta).  Where PyTorch means the same rule, the
trajectory is asserted to agree with torch.optim in float64 to 1e-10 at every checkpoint.
"""
import json
import math
import os

import numpy as np

try:
    import torch
except ImportError:
    torch = None

HERE = os.path.dirname(os.path.abspath(__file__))
N, STEPS, CHECKPOINTS, HEAD = 64, 1000, (1, 2, 5, 6, 10, 100, 1000), 8
MASK = (1 << 64) - 1


# --- the problem ----------------------------------------------------------------------------------
def splitmix64(x):
    z = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def unit(stream, index):
    """In [-1, 1), a multiple of 2^-23: exact in float32."""
    return (splitmix64((stream << 32) + index) >> 40) * 2.0 ** -23 - 1.0


THETA0 = np.array([unit(1, i) for i in range(N)])
NOISE = np.array([[unit(2, t * N + i) * 2.0 ** -(i % 8) for i in range(N)]
                  for t in range(1, STEPS + 1)])

FORMULA = [
    "splitmix64(x), 64-bit wrapping: z = x + 0x9E3779B97F4A7C15; "
    "z = (z ^ z>>30) * 0xBF58476D1CE4E5B9; z = (z ^ z>>27) * 0x94D049BB133111EB; return z ^ z>>31",
    "unit(stream, index) = (splitmix64((stream << 32) + index) >> 40) * 2^-23 - 1",
    "theta_0[i] = unit(1, i), i = 0..63",
    "g_t[i] = unit(2, 64*t + i) * 2^-(i mod 8) + 0.1 * theta_{t-1}[i], t = 1..1000",
]


# --- the update rules -----------------------------------------------------------------------------
# Each takes its options and theta_0 and returns step(theta, g, t) -> new theta.  Scalars are Python
# floats (float64), arrays keep theta's dtype.
def sgd(o, theta):
    buf = None

    def step(theta, g, t):
        nonlocal buf
        d = g + o["weight_decay"] * theta
        if o["momentum"] == 0:
            return theta - o["lr"] * d
        buf = d if t == 1 else o["momentum"] * buf + d
        return theta - o["lr"] * (d + o["momentum"] * buf if o["nesterov"] else buf)
    return step


def adam(o, theta):
    b1, b2, eps, wd, warm = o["beta1"], o["beta2"], o["eps"], o["weight_decay"], o["warmup"]
    m, v = np.zeros_like(theta), np.zeros_like(theta)

    def step(theta, g, t):
        nonlocal m, v
        lr = o["lr"]
        if warm > t:
            lr = {"cifar": 1e-6 + t * (lr - 1e-6) / warm,
                  "generic": 1e-8 + t * lr / warm}[o["warmup_form"]]
        if o["decay"] == "coupled":
            g = g + wd * theta
        v = b2 * v + (1 - b2) * g * g
        if t <= o["freeze"]:                            # Adam-2k: only v and t advance
            return theta
        m = b1 * m + (1 - b1) * g
        if o["decay"] == "decoupled":
            theta = theta - wd * lr * theta
        c1, c2 = 1 - b1 ** t, math.sqrt(1 - b2 ** t)
        if o["eps_form"] == "outside":                  # the authors: eps meets the raw sqrt(v)
            return theta - lr * c2 / c1 * m / (np.sqrt(v) + eps)
        return theta - lr / c1 * m / (np.sqrt(v) / c2 + eps)      # PyTorch: the corrected one
    return step


def radam(o, theta):
    b1, b2, eps, wd = o["beta1"], o["beta2"], o["eps"], o["weight_decay"]
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    rho_inf = 2 / (1 - b2) - 1

    def step(theta, g, t):
        nonlocal m, v
        if o["decay"] == "coupled":
            g = g + wd * theta
        v = b2 * v + (1 - b2) * g * g
        m = b1 * m + (1 - b1) * g
        rho = rho_inf - 2 * t * b2 ** t / (1 - b2 ** t)
        adaptive = {"rho>4": rho > 4, "rho>5": rho > 5, "rho>=5": rho >= 5}[o["threshold"]]
        if not adaptive and o["degenerate"] == "skip":  # moments advance, decay waits as well
            return theta
        if o["decay"] == "decoupled":
            theta = theta - wd * o["lr"] * theta
        c1 = 1 - b1 ** t
        if not adaptive:
            return theta - o["lr"] / c1 * m
        r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
        return theta - o["lr"] * r * math.sqrt(1 - b2 ** t) / c1 * m / (np.sqrt(v) + eps)
    return step


def rmsprop(o, theta):
    a = o["alpha"]
    v, mean, buf = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)

    def step(theta, g, t):
        nonlocal v, mean, buf
        g = g + o["weight_decay"] * theta
        v = a * v + (1 - a) * g * g
        mean = a * mean + (1 - a) * g
        d = g / (np.sqrt(v - mean * mean if o["centered"] else v) + o["eps"])
        buf = o["momentum"] * buf + d
        return theta - o["lr"] * buf
    return step


def nadam(o, theta):
    b1, b2, lr, md = o["beta1"], o["beta2"], o["lr"], o["momentum_decay"]
    m, v, product = np.zeros_like(theta), np.zeros_like(theta), 1.0

    def step(theta, g, t):
        nonlocal m, v, product
        g = g + o["weight_decay"] * theta
        mu = b1 * (1 - 0.5 * 0.96 ** (t * md))
        mu_next = b1 * (1 - 0.5 * 0.96 ** ((t + 1) * md))
        product *= mu
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        top = (1 - mu) / (1 - product) * g + mu_next / (1 - product * mu_next) * m
        return theta - lr * top / (np.sqrt(v / (1 - b2 ** t)) + o["eps"])
    return step


def adagrad(o, theta):
    total = np.full_like(theta, o["initial_accumulator"])

    def step(theta, g, t):
        nonlocal total
        g = g + o["weight_decay"] * theta
        total = total + g * g
        return theta - o["lr"] / (1 + (t - 1) * o["lr_decay"]) * g / (np.sqrt(total) + o["eps"])
    return step


def adadelta(o, theta):
    rho, eps = o["rho"], o["eps"]
    v, acc = np.zeros_like(theta), np.zeros_like(theta)

    def step(theta, g, t):
        nonlocal v, acc
        g = g + o["weight_decay"] * theta
        v = rho * v + (1 - rho) * g * g
        d = np.sqrt(acc + eps) / np.sqrt(v + eps) * g
        acc = rho * acc + (1 - rho) * d * d
        return theta - o["lr"] * d
    return step


RULES = {f.__name__: f for f in (sgd, adam, radam, rmsprop, nadam, adagrad, adadelta)}
DEFAULTS = {
    "sgd": dict(lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0),
    "adam": dict(lr=0.01, beta1=0.9, beta2=0.999, eps=1e-8, eps_form="outside", weight_decay=0.0,
                 decay="decoupled", warmup=0, warmup_form="cifar", freeze=0),
    "radam": dict(lr=0.01, beta1=0.9, beta2=0.999, eps=1e-8, threshold="rho>4", degenerate="sgd",
                  weight_decay=0.0, decay="decoupled"),
    "rmsprop": dict(lr=0.01, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False),
    "nadam": dict(lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, momentum_decay=4e-3),
    "adagrad": dict(lr=0.01, lr_decay=0.0, eps=1e-10, weight_decay=0.0, initial_accumulator=0.0),
    "adadelta": dict(lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0),
}


def case(name, rule, torch_class=None, **options):
    unknown = set(options) - set(DEFAULTS[rule])
    assert not unknown, unknown
    return name, dict(optimizer=rule, **{**DEFAULTS[rule], **options}), torch_class


CASES = [
    case("sgd", "sgd", "SGD"),
    case("sgd-momentum", "sgd", "SGD", momentum=0.9),
    case("sgd-nesterov", "sgd", "SGD", momentum=0.9, nesterov=True),
    case("sgd-decay", "sgd", "SGD", weight_decay=0.05),
    case("sgd-momentum-decay", "sgd", "SGD", momentum=0.9, weight_decay=0.05),

    case("adam", "adam"),
    case("adam-eps-1e-4", "adam", eps=1e-4),
    case("adam-coupled", "adam", weight_decay=0.05, decay="coupled"),
    case("adam-decoupled", "adam", weight_decay=0.05),
    case("adam-inside", "adam", "Adam", eps_form="inside"),
    case("adam-inside-eps-1e-4", "adam", "Adam", eps_form="inside", eps=1e-4),
    case("adam-inside-coupled", "adam", "Adam", eps_form="inside", weight_decay=0.05,
         decay="coupled"),
    case("adam-inside-decoupled", "adam", "AdamW", eps_form="inside", weight_decay=0.05),
    case("adam-warmup-cifar", "adam", weight_decay=0.05, warmup=100),
    case("adam-warmup-generic", "adam", weight_decay=0.05, warmup=100, warmup_form="generic"),
    case("adam-2k-freeze-5", "adam", weight_decay=0.05, freeze=5),
    case("adam-2k-freeze-50", "adam", weight_decay=0.05, freeze=50),

    case("radam-gt4", "radam"),
    case("radam-gt5", "radam", "RAdam", threshold="rho>5"),
    case("radam-ge5", "radam", threshold="rho>=5"),
    case("radam-gt4-skip", "radam", degenerate="skip"),
    case("radam-ge5-skip", "radam", threshold="rho>=5", degenerate="skip"),
    case("radam-gt4-decay", "radam", weight_decay=0.05),
    case("radam-ge5-skip-decay", "radam", threshold="rho>=5", degenerate="skip", weight_decay=0.05),
    case("radam-gt5-coupled", "radam", "RAdam", threshold="rho>5", weight_decay=0.05,
         decay="coupled"),
    case("radam-eps-1e-4", "radam", eps=1e-4),
    case("radam-beta2-.9995", "radam", beta2=0.9995),
    case("radam-gt5-beta2-.9995", "radam", "RAdam", threshold="rho>5", beta2=0.9995),
    case("radam-beta2-.98", "radam", beta2=0.98),
    case("radam-gt5-beta2-.98", "radam", "RAdam", threshold="rho>5", beta2=0.98),
    case("radam-beta2-.6", "radam", beta2=0.6),                       # rho_inf = 4: never adaptive
    case("radam-gt5-beta2-.6", "radam", "RAdam", threshold="rho>5", beta2=0.6),
    case("radam-beta2-.6-skip", "radam", beta2=0.6, degenerate="skip"),          # never moves

    case("rmsprop", "rmsprop", "RMSprop"),
    case("rmsprop-momentum-decay", "rmsprop", "RMSprop", momentum=0.9, weight_decay=0.05),
    case("rmsprop-centered", "rmsprop", "RMSprop", centered=True),
    case("nadam", "nadam", "NAdam"),
    case("nadam-decay", "nadam", "NAdam", weight_decay=0.05),
    case("adagrad", "adagrad", "Adagrad"),
    case("adagrad-lr-decay", "adagrad", "Adagrad", lr=0.1, lr_decay=0.01, weight_decay=0.05),
    case("adadelta", "adadelta", "Adadelta"),
    case("adadelta-decay", "adadelta", "Adadelta", weight_decay=0.05),
]


# --- running them ---------------------------------------------------------------------------------
def trajectory(o, dtype):
    theta = THETA0.astype(dtype)
    step = RULES[o["optimizer"]](o, theta)
    seen = {}
    for t in range(1, STEPS + 1):
        theta = step(theta, NOISE[t - 1].astype(dtype) + 0.1 * theta, t)
        assert theta.dtype == dtype
        if t in CHECKPOINTS:
            seen[t] = theta.astype(np.float64)
    return seen


def torch_trajectory(o, cls):
    torch.set_default_dtype(torch.float64)          # NAdam keeps a scalar in the default dtype
    args = {k: v for k, v in o.items()
            if k in ("lr", "eps", "weight_decay", "momentum", "nesterov", "alpha", "centered",
                     "momentum_decay", "lr_decay", "rho")}
    if "beta1" in o:
        args["betas"] = (o["beta1"], o["beta2"])
    if cls == "NAdam":          # PyTorch 1.13's plain loop applies mu_t twice in the second term;
        args["foreach"] = True  # its foreach form is the published rule
    theta = torch.tensor(THETA0, requires_grad=True)
    opt = getattr(torch.optim, cls)([theta], **args)
    seen = {}
    for t in range(1, STEPS + 1):
        theta.grad = torch.tensor(NOISE[t - 1]) + 0.1 * theta.detach()
        opt.step()
        if t in CHECKPOINTS:
            seen[t] = theta.detach().numpy().copy()
    return seen


def main():
    cases, checked, worst = [], 0, 0.0
    for name, o, cls in CASES:
        exact, single = trajectory(o, np.float64), trajectory(o, np.float32)
        if cls and torch:
            ref = torch_trajectory(o, cls)
            gap = max(np.abs(exact[t] - ref[t]).max() for t in CHECKPOINTS)
            assert gap < 1e-10, (name, gap)
            checked, worst = checked + 1, max(worst, gap)
        spread = max(np.abs(exact[t] - single[t]).max() for t in CHECKPOINTS)
        print(f"{name:26} |theta| {np.linalg.norm(exact[STEPS]):8.5f}   float32 differs by "
              f"{spread:.1e}{'   = torch.optim.' + cls if cls and torch else ''}")
        cases.append(dict(
            name=name, options=o, same_as_torch=cls, float32_max_abs_diff=float(f"{spread:.1e}"),
            checkpoints=[dict(step=t, theta=exact[t][:HEAD].tolist(),
                              norm=math.sqrt(math.fsum(x * x for x in exact[t])))
                         for t in CHECKPOINTS]))
    assert len({c["name"] for c in cases}) == len(cases)
    head = dict(written_by="tests/parity/optim.py", formula=FORMULA, elements=N, steps=STEPS,
                checkpoint="after that step, in float64: theta = its first 8 elements, "
                           "norm = L2 norm of all 64",
                float32_max_abs_diff="largest gap of any element at any checkpoint when the same "
                                     "rule runs in float32",
                theta0=THETA0[:HEAD].tolist(), noise1=NOISE[0][:HEAD].tolist())
    with open(os.path.join(HERE, "optim.json"), "w") as f:
        body = ",\n".join(json.dumps(c) for c in cases)
        f.write(json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + body + "\n]}\n")
    json.load(open(f.name))
    print(f"{len(cases)} cases;",
          f"{checked} agree with PyTorch {torch.__version__}, worst gap {worst:.1e}"
          if torch else "PyTorch is not installed: no cross-check")


if __name__ == "__main__":
    main()
