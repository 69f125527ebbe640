"""Makes translation_sacrebleu.json: sentences, worsened copies of them, and sacrebleu's scores.  Needs sacrebleu.

    python tests/metrics/make_translation_fixture.py
"""
import json
import random
from pathlib import Path

import sacrebleu

HERE = Path(__file__).parent
ODD = {"13a": [("It costs $3.50 - or 1,000.25 yen (100%)!", "It costs $3,50 - or 1000.25 yen(100%)!"),
               ("A&amp;B &lt;i&gt; 10-20", "A&B <i> 10-20"), ("Don't \u201cquote\u201d it.", "Do n't \"quote\" it ."),
               ("one", "one"), ("a<skipped>b c-\nd", "ab cd")],
       "zh": [("他说\u201c你好\u201d\uff0c2023年3.5元\u3002", "他说：你好，2023年3.5元。"),
              ("Tom今年30-40岁。", "湯姆今年30岁。"), ("㐂。", "㐂！"),
              ("二〇二四→", "二零二四→"), ("好", "好")]}


def worsened(text, words, rng):
    """A copy with units left out, changed places or said twice."""
    units = text.split(" ") if words else list(text)
    for _ in range(rng.randrange(4)):
        if len(units) < 3:
            break
        at = rng.randrange(len(units) - 1)
        kind = rng.randrange(3)
        if kind == 0:
            del units[at]
        elif kind == 1:
            units[at], units[at + 1] = units[at + 1], units[at]
        else:
            units.insert(at, units[at])
    return (" " if words else "").join(units)


def scored(references, translations, cut):
    found = sacrebleu.corpus_bleu(translations, [references], tokenize=cut)
    return {"bleu": found.score, "precisions": found.precisions, "brevity_penalty": found.bp, "words": found.sys_len,
            "reference_words": found.ref_len, "chrf": sacrebleu.corpus_chrf(translations, [references]).score}


def main():
    text = (HERE.parent / "data/translation/tatoeba_en_zh_400.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    cases, rng = [], random.Random(0)
    for cut, column in (("13a", 0), ("zh", 1)):
        references = [row[column] for row in rows[:120]]
        made = [worsened(text, cut == "13a", rng) for text in references]
        odd = [pair[0] for pair in ODD[cut]], [pair[1] for pair in ODD[cut]]
        sets = [(references, made), odd, (references[:3], made[:3]), (references[:9], references[9:18]),
                (references[:2], references[:2]), (references[:4], ["", *made[1:4]]), (references[:2], ["", ""]),
                (references[:5], made[5:10])]
        cases += [{"tokenize": cut, "references": a, "translations": b, "scores": scored(a, b, cut)} for a, b in sets]
    report = {"sacrebleu": sacrebleu.__version__, "cases": cases}
    (HERE / "translation_sacrebleu.json").write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
