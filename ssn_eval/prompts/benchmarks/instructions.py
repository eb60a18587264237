"""Five English benchmarks whose files have one form: JSON lists of `{"instruction", "category"}`, from PolyRefuse's repository.

- JailbreakBench, the harmful half (Chao et al., NeurIPS 2024, arXiv 2404.01318): 100 behaviours in ten categories. MIT.
- HarmBench (Mazeika et al., ICML 2024, arXiv 2402.04249): its 200 standard behaviours, 159 in `test` and 41 in `val`. MIT.
- StrongREJECT (Souly et al., NeurIPS 2024, arXiv 2402.10260): 313 forbidden requests in six categories. MIT.
- OR-Bench Hard (Cui et al., ICML 2025, arXiv 2405.20947): 1,319 harmless prompts that several models refuse. CC-BY-4.0.
- OKTest (Shi et al., ACL 2024, arXiv 2401.17633): 300 harmless prompts with words that sound harmful. No licence stated.

HarmBench and OR-Bench lie there in splits, and all splits are evaluated together: the splits of OR-Bench Hard hold different
categories (`test` only unethical and violence), so one of them alone would be another benchmark.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ssn_eval.core.errors import FormatError
from ssn_eval.prompts.benchmarks.source import Source, Split, json_value
from ssn_eval.prompts.prompt import Label, Prompt

Reader = Callable[[Path, str, Label, Split], list[Prompt]]


def _reader(name: str) -> Reader:
    """A reader that numbers the prompts in file order, within a split; a category becomes a tag."""

    def read(path: Path, lang: str, label: Label, split: Split) -> list[Prompt]:
        start = "-".join(filter(None, (name, split)))
        try:
            rows = [(str(row["instruction"]).strip(), row["category"]) for row in json_value(path)]
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"{path} is no list of objects with instruction and category, as {name} has them: {error!r}."
            ) from error
        return [
            Prompt(f"{start}-{i}", lang, label, text, tags=(str(category),) if category else ())
            for i, (text, category) in enumerate(rows)
        ]

    return read


def _one_file(name: str, path: str, label: Label) -> Source:
    return Source(
        name=name,
        languages=("en",),
        files=lambda _lang, _label, _split: (path,),
        read=_reader(name),
        local=Path(path).name,
        labels=(label,),
    )


def _splits(name: str, path: str, label: Label, splits: tuple[str, ...]) -> Source:
    return Source(
        name=name,
        languages=("en",),
        files=lambda _lang, _label, split: (path.format(split=split),),
        read=_reader(name),
        local=name,
        labels=(label,),
        splits={label: splits},
        whole=True,
    )


JBB_HARMFUL = _one_file("jbb_harmful", "dataset/processed/jailbreakbench.json", "harmful")
STRONGREJECT = _one_file("strongreject", "dataset/processed/strongreject.json", "harmful")
OKTEST = _one_file("oktest", "dataset/processed/oktest.json", "harmless")
HARMBENCH = _splits("harmbench", "dataset/processed/harmbench_{split}.json", "harmful", ("test", "val"))
ORBENCH_HARD = _splits(
    "orbench_hard", "dataset/splits/or_bench_hard_{split}.json", "harmless", ("train", "val", "test")
)
