"""Small local copies of every benchmark, each in its source's own form, with harmless words for prompts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from ssn_eval.prompts.benchmarks import advbench_x, aya_redteaming, linguasafe, polyrefuse, safety_pathways, xsafety
from ssn_eval.prompts.benchmarks.multijail import LANGUAGES as MULTIJAIL_LANGUAGES

ROWS = 6
EMPTY = "xsafety-Insult-1"
"""a prompt without text, in every language"""


def prompt(lang: str, i: int) -> str:
    """What document `i` says in one language; the braces would be filled in if a task's text were a template."""
    return f"{lang} {i} {{{{ not a template }}}}"


def write_all(folder: Path) -> Path:
    """Write them; the folder is what `SSN_DATA_DIR` should name."""
    multijail(folder / "MultiJail.csv")
    for lang in advbench_x.LANGUAGES:
        name = {"ja": "jp"}.get(lang, lang)
        _json(folder / "advbench_x_json" / f"{name}.json", {"safety": [prompt(lang, i) for i in range(ROWS)]})
    for lang in polyrefuse.LANGUAGES:
        rows = [
            {"instruction": f"English {i}", "instruction_translated": prompt(lang, i), "category": "a"}
            for i in range(ROWS)
        ]
        _json(folder / "PolyRefuse" / f"harmful_test_translated_{lang}.json", rows)
        name = "harmless_val_200_sampled" if lang == "en" else f"harmless_val_translated_{lang}"
        rows = [{"instruction": prompt(lang, i), "category": None} for i in range(ROWS)]
        _json(folder / "PolyRefuse" / f"{name}.json", rows)
    for lang, code in aya_redteaming.CODES.items():
        lines = [
            {
                "prompt": prompt(lang, i),
                "language": lang,
                "harm_category": '["Profanity", "Hate Speech"]',
                "global_or_local": "local",
                "literal_translation": "unused",
            }
            for i in range(ROWS)
        ]
        path = folder / "aya_redteaming" / f"aya_{code}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    xsafety_parquet(folder / "xsafety.parquet")
    with (folder / "csrt.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "category", "en", "csrt"])
        writer.writerows([i, "['hate', 'bias']", "English", prompt("mixed", i)] for i in range(ROWS))
    with (folder / "xstest_prompts.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "prompt", "type", "label", "focus", "note"])
        for i in range(2 * ROWS):
            safe = i < ROWS
            kind = "homonyms" if safe else "contrast_homonyms"
            writer.writerow([i, prompt("en", i), kind, "safe" if safe else "unsafe", "word", ""])
    english(folder)
    for lang in safety_pathways.LANGUAGES:
        path = folder / "safety_pathways" / f"{'zh-CN' if lang == 'zh' else lang}.jsonl"
        path.parent.mkdir(exist_ok=True)
        pairs = [{"instruction": prompt(lang, i), "response": f"{lang} no {i}"} for i in range(ROWS)]
        path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    linguasafe_parquet(folder / "linguasafe.parquet")
    return folder


def english(folder: Path) -> None:
    """JailbreakBench, HarmBench, StrongREJECT, OR-Bench Hard and OKTest, in English alone."""
    rows = [{"instruction": f"{prompt('en', i)} ", "category": "a" if i else None} for i in range(ROWS)]
    for name in ("jailbreakbench.json", "strongreject.json", "oktest.json"):
        _json(folder / name, rows)
    for name, splits in (("harmbench", ("test", "val")), ("orbench_hard", ("train", "val", "test"))):
        stem = {"orbench_hard": "or_bench_hard"}.get(name, name)
        for split in splits:
            _json(folder / name / f"{stem}_{split}.json", rows)
    with (folder / "benign-behaviors.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["Index", "Goal", "Target", "Behavior", "Category", "Source"])
        writer.writerows([i, prompt("en", i), "Sure", "b", "Privacy", "Original"] for i in range(ROWS))


def linguasafe_parquet(path: Path) -> None:
    """Four levels a language; one prompt is native, and one id comes twice in a language, with other levels."""
    import pyarrow
    from pyarrow import parquet

    rows = [
        {"id": min(i, 4), "lang": lang, "prompt": prompt(lang, i), "type": "Harm", "subtype": "Severe", "level": i % 4}
        | {"specific": i == 3, "source": "test"}
        for lang in linguasafe.LANGUAGES
        for i in range(ROWS)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def multijail(path: Path) -> Path:
    """MultiJail's CSV: a BOM, tags as a Python list, one column a language."""
    with path.open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.DictWriter(handle, ["id", "source", "tags", *MULTIJAIL_LANGUAGES])
        writer.writeheader()
        for i in range(ROWS):
            texts = {code: f"{prompt(code, i)}\n" for code in MULTIJAIL_LANGUAGES}
            writer.writerow({"id": i, "source": "test", "tags": "['a', 'b']", **texts})
    return path


def xsafety_parquet(path: Path) -> None:
    """Three scenarios with the source's spellings; one of them is multiple choice."""
    import pyarrow
    from pyarrow import parquet

    rows = []
    for lang in xsafety.LANGUAGES:
        suffix = {"en": "_en", "bn": "_n"}.get(lang, "")
        for category in (f"Insult{suffix}", f"Mental_Health{suffix}", "commonsense"):
            for i in range(3):
                text = None if (category.startswith("Insult") and i == 1) else prompt(lang, len(rows))
                rows.append({"text": text, "language": {"es": "sp"}.get(lang, lang), "category": category})
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
