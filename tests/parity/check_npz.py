#!/usr/bin/env python3
"""Writes nothing: checks that NumPy reads the .npz files that Tenon writes.

    /usr/bin/python3 tests/parity/check_npz.py TENON

TENON is the program.  Arrays of NumPy go through `tenon convert` to safetensors and back to npz,
and must come out with the same names, dtypes, shapes and bytes.
Exit status: 0 they do, 1 they do not, 77 NumPy is not installed.
"""
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)


def arrays():
    rng = np.random.default_rng(1)
    for name in ("<f4", "<f8", "<f2", "<i4", "<i8", "|u1"):
        for shape in ((), (1,), (0, 3), (2, 3), (2, 1, 2, 1, 2, 1, 2, 3), (1 << 18,)):
            yield f"a/{name[1:]}.{'x'.join(map(str, shape))}", (rng.random(shape) * 99).astype(name)
    yield "größe", np.arange(3, dtype="<f4")


def check(tenon, folder):
    given = dict(arrays())
    for save in (np.savez, np.savez_compressed):
        save(f"{folder}/given.npz", **given)
        for step in (("given.npz", "there.safetensors"), ("there.safetensors", "back.npz")):
            subprocess.run([tenon, "convert", *step], cwd=folder, check=True)
        with np.load(f"{folder}/back.npz") as back:
            if set(back.files) != set(given):
                raise ValueError(f"names differ: {set(back.files) ^ set(given)}")
            for name, a in given.items():
                b = back[name]
                if (a.dtype, a.shape, a.tobytes()) != (b.dtype, b.shape, b.tobytes()):
                    raise ValueError(f"{name}: {b.dtype} {b.shape} of {a.dtype} {a.shape}, or its values")
    return len(given)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        try:
            print(f"ok: {check(os.path.abspath(sys.argv[1]), folder)} arrays, plain and compressed")
        except Exception as e:      # whatever is wrong, one line says it
            print("FAIL:", " ".join(str(e).split()) or type(e).__name__)
            sys.exit(1)
