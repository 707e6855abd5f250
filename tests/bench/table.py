"""The lines of tools/gpu-check.sh's benchmarks as one table: a row for each piece of work and precision."""
import json
import sys

rows, notes = {}, {}
for text in open(sys.argv[1]):
    line = json.loads(text)
    by = line["result"].get("by", "Tenon")
    who = "compiled" if "compiled" in by else "PyTorch" if "PyTorch" in by else "Tenon"
    rows.setdefault((line["work"], line["precision"]), {})[who] = line["result"]["ms_median"]
    if "op_by_op" in line["result"]:
        notes[line["work"], line["precision"]] = "  op by op: " + line["result"]["op_by_op"]
print(f"{'work':24}{'':8}{'Tenon':>10}{'PyTorch':>10}{'compiled':>10}  ms a step; PyTorch / Tenon, compiled / Tenon")
for (work, precision), ms in rows.items():
    cells = "".join(f"{ms[who]:10.3f}" if who in ms else f"{'-':>10}" for who in ("Tenon", "PyTorch", "compiled"))
    ratios = "  ".join(f"{ms[who] / ms['Tenon']:.2f}" if who in ms and "Tenon" in ms else "-"
                       for who in ("PyTorch", "compiled"))
    print(f"{work:24}{precision:8}{cells}  {ratios}{notes.get((work, precision), '')}")
