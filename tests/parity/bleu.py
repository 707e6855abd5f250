#!/usr/bin/env python3
"""Writes bleu.json: sentences and what sacrebleu makes of them.

    python3 tests/parity/bleu.py DEU.TXT        (pip install sacrebleu; 2.6.0 wrote the file that is here)

DEU.TXT is the German-English file of manythings.org/anki, sentences of tatoeba.org (CC BY 2.0).  Of English
sentences with several German translations the first is taken as hypothesis and two others as references; the
lines of ODD are our own, for what the rules of mteval-v13a see.  Counts and scores are sacrebleu's; the texts
"tokenized" are its tokenizer's.
"""
import json
import logging
import os
import sys

import sacrebleu
from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

HERE = os.path.dirname(os.path.abspath(__file__))
SENTENCES = 60
ODD = [
    ["", "nothing there", "still nothing"],
    ["a hypothesis alone", "", "with one empty reference"],
    ["one", "one", "two"],
    ["the the the the", "the cat", "the the mat"],
    ["It cost $1,000.50 -- or 3.14% more, i.e. a lot...", "It cost $ 1,000.50 - or 3.14 % more , i.e. a lot .",
     "It cost 1,000.50$, or 3.14% more, that is a lot."],
    ["He said &quot;A &amp; B &lt;x&gt;&quot; <skipped> twice", 'He said "A & B <x>" twice', "&amp;quot; &amp;lt;"],
    ["1990-1995, 10-year-old, A-B, -5, 5-", "1990 - 1995 , 10 - year-old , A-B , -5", "5 - , .5 5. ,5 5,"],
    ["..a.,b,.. 1.,2 ,.3 é.é,ü.1", ".. a . , b", "é . é , ü.1"],
    ["non\u00a0breaking\u2003and\u3000wide spaces\u0085here", "non breaking and wide spaces here", "nonbreaking"],
    ["ÄÖÜ Straße ÉTÉ Ελλάδα ПРИВЕТ", "äöü straße été ελλάδα привет", "ÄÖÜ STRASSE été"],
    ["#@! ^_^ {x|y}~z [a]`b' (c)*d+e=f;g:h?i\\j/k", "# @ ! ^ _ ^ { x | y } ~ z [ a ] ` b ' ( c ) * d",
     "+ e = f ; g : h ? i \\ j / k"],
    ["  leading, trailing  and   many spaces.  ", "leading , trailing and many spaces .", "spaces"],
]


def sentences(path):
    groups = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            en, de = line.rstrip("\n").split("\t")[:2]
            groups.setdefault(en, []).append(de)
    many = [g[:3] for e, g in groups.items() if len(g) >= 3 and len(e.split()) >= 7]
    return many[:: max(1, len(many) // SENTENCES)][:SENTENCES]


def case(lines, refs, tokenize, lowercase):
    bleu = BLEU(tokenize=tokenize, lowercase=lowercase, smooth_method="none", force=True)
    each = BLEU(tokenize=tokenize, lowercase=lowercase, smooth_method="add-k", smooth_value=1, force=True)
    s = bleu.corpus_score([l[0] for l in lines], [[l[1 + r] for l in lines] for r in range(refs)])
    return {
        "refs": refs, "tokenize": tokenize, "lowercase": lowercase,
        "match": s.counts, "total": s.totals, "hyp_len": s.sys_len, "ref_len": s.ref_len,
        "score": s.score, "brevity": s.bp,
        "sentences": [each.sentence_score(l[0], l[1:1 + refs]).score for l in lines],
    }


def main():
    logging.disable(logging.WARNING)  # of smoothing and of text that looks tokenised
    lines = sentences(sys.argv[1]) + ODD
    tok = Tokenizer13a()
    out = {
        "sacrebleu": sacrebleu.__version__,
        "lines": lines,
        "tokenized": [tok(l.rstrip()) for group in lines for l in group],
        "cases": [case(lines, refs, t, lc) for refs in (1, 2) for t in ("none", "13a") for lc in (False, True)],
    }
    with open(os.path.join(HERE, "bleu.json"), "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=False, indent=0)
        f.write("\n")


main()
