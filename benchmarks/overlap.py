"""Which benchmark repeats which: the English prompts that two sets share, by normalised text.

`python benchmarks/overlap.py [--also NAME=FILE …] > benchmarks/results/overlap.json`, then `python benchmarks/tables.py` writes the
table of docs/data.md. Benchmarks are read from where every command reads them (`SSN_DATA_DIR`, `data/`, the cache); nothing is
fetched, and a benchmark that is not there has no row. `--also` adds a set that is no benchmark of this project: a JSON
list of objects with `instruction`. Prompts of the split `train` of PolyRefuse are a set of their own. Prints counts, no text.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ssn_eval.core.errors import SsnError
from ssn_eval.prompts.benchmarks.catalogue import SOURCES
from ssn_eval.prompts.overlap import local_texts, normalised
from ssn_eval.prompts.reading import read_prompts

LANG = "en"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--also", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--quick", action="store_true", help="only MultiJail and the English benchmarks")
    options = parser.parse_args()
    chosen = {n: s for n, s in SOURCES.items() if not options.quick or n == "multijail" or s.languages == (LANG,)}
    sets = {name: local_texts(source, [LANG]) for name, source in chosen.items()}
    sets["polyrefuse, train"] = [] if options.quick else _trained()
    for word in options.also:
        name, _, path = word.partition("=")
        sets[name] = [row["instruction"] for row in json.loads(Path(path).read_text(encoding="utf-8"))]
    words = {name: {normalised(text) for text in texts} - {""} for name, texts in sets.items() if texts}
    names = list(words)
    pairs = [
        {"first": first, "second": second, "shared": count}
        for i, first in enumerate(names)
        for second in names[i + 1 :]
        if (count := len(words[first] & words[second]))
    ]
    absent = [name for name in SOURCES if name not in words]
    print(
        json.dumps({"lang": LANG, "prompts": {n: len(w) for n, w in words.items()}, "pairs": pairs, "absent": absent})
    )


def _trained() -> list[str]:
    """The harmful and harmless prompts that PolyRefuse gives for training, as far as they lie here."""
    try:
        return [p.prompt for p in read_prompts("polyrefuse", [LANG]) if p.split == "train"]
    except SsnError:
        return []


if __name__ == "__main__":
    main()
