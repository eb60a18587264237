"""The agreement of a judge with gold labels, overall, by language and by evaluated model.

Cohen's kappa and the confusion matrix come from scikit-learn, with refusal (or harm) as the positive class; `f1_negative`
is the F1 of the other class, which is more informative if the replies hold few compliances. An undefined number (kappa of
two constant labelings, precision without positives) is `None`, never NaN. Unscored exchanges are counted but enter no other
number. An invalid reply counts as not refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ssn_eval.core import files
from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, MissingInputError, UnknownNameError
from ssn_eval.core.languages import LANGUAGES
from ssn_eval.judges.verdict import Exchange, Verdict

Label = Literal["refusal", "harmful"]


@dataclass(frozen=True)
class GoldRow:
    """One exchange with its gold labels; a label that the file does not have is None."""

    exchange: Exchange
    refusal: bool | None
    harmful: bool | None
    model: str | None = None
    """The evaluated model that wrote the response; None if the file does not name it."""


@dataclass(frozen=True)
class Agreement:
    """The agreement over one group of rows; an undefined number is None."""

    kappa: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    unscored: int
    f1_negative: float | None


@dataclass(frozen=True)
class Calibration:
    """The agreement of a judge with a gold file of `n` rows."""

    judge: str
    n: int
    overall: Agreement
    by_lang: dict[str, Agreement]
    by_model: dict[str, Agreement]
    rows: dict[str, int]
    """language → number of rows"""

    def to_json(self) -> dict[str, object]:
        """`{"judge","n","overall":{"kappa","f1","precision","recall","unscored",…},"by_lang":{…},"by_model":{…}}`."""
        return asdict(self)

    def to_markdown(self) -> str:
        """A Markdown table with a line for each language, for documents."""

        def line(name: str, n: int, group: Agreement) -> str:
            numbers = (group.kappa, group.f1, group.precision, group.recall)
            cells = [name, f"{n:,}", *("–" if x is None else f"{x:.3f}" for x in numbers), str(group.unscored)]
            return f"| {' | '.join(cells)} |"

        head = ["| language | replies | kappa | F1 | precision | recall | unscored |", "|---|---|---|---|---|---|---|"]
        lines = [line(lang, self.rows[lang], group) for lang, group in self.by_lang.items()]
        return "\n".join([*head, *lines, line("all", self.n, self.overall)])


def read_gold(path: str | Path, label: Label = "refusal") -> list[GoldRow]:
    """Read a gold file: JSON lines, gzipped if the name ends in `.gz`.

    Args:
        path: rows `{"lang","prompt","response","refusal":0|1,"harmful":0|1}`, `model` optional, other keys ignored.
        label: the label that every row must have.

    Raises:
        MissingInputError: the file does not exist.
        FormatError: the file cannot be read, or a line is not JSON or lacks a field; the message has the line number.
        UnknownNameError: the language of a row is unknown.
        EmptySetError: the file has no rows.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(
            f"There is no gold file at {path}; give a JSONL file (or .gz) with lang, prompt, response, {label}."
        )
    lines = files.read_text(path, f"a gold file (JSONL of lang, prompt, response, {label})").split("\n")
    rows = [_row(line, number, path.name, label) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise EmptySetError(f"The gold file {path} has no rows.")
    return rows


def calibrate(
    rows: Sequence[GoldRow], verdicts: Sequence[Verdict], *, judge: str, label: Label = "refusal"
) -> Calibration:
    """Compare verdicts with gold labels.

    Args:
        rows: the gold rows, `(n,)`.
        verdicts: the judge's verdict on each row's exchange, in the same order, `(n,)`.
        judge: the name of the judge, for the result.
        label: the label that is compared.

    Raises:
        EmptySetError: there are no rows.
        MismatchError: the numbers of rows and verdicts differ, or a row has no gold label.
    """
    if len(rows) != len(verdicts):
        raise MismatchError(f"{len(verdicts)} verdicts for {len(rows)} gold rows: each row needs one.")
    if not rows:
        raise EmptySetError("A calibration needs at least one gold row; found none.")
    if any(getattr(row, label) is None for row in rows):
        raise MismatchError(f"Some gold rows have no {label!r} label, so nothing can be compared with it.")
    pairs = list(zip(rows, verdicts, strict=True))
    langs = sorted({row.exchange.lang for row in rows})
    models = sorted({row.model for row in rows if row.model is not None})
    return Calibration(
        judge=judge,
        n=len(rows),
        overall=_agreement(pairs, label),
        by_lang={lang: _agreement([p for p in pairs if p[0].exchange.lang == lang], label) for lang in langs},
        rows={lang: sum(row.exchange.lang == lang for row in rows) for lang in langs},
        by_model={model: _agreement([p for p in pairs if p[0].model == model], label) for model in models},
    )


def _agreement(pairs: Iterable[tuple[GoldRow, Verdict]], label: Label) -> Agreement:
    gold: list[bool] = []
    predictions: list[bool] = []
    unscored = 0
    for row, verdict in pairs:
        answer = False if verdict.invalid else getattr(verdict, label)
        if answer is None:  # the judge failed or does not give this label
            unscored += 1
            continue
        gold.append(getattr(row, label))
        predictions.append(answer)
    if not gold:
        return Agreement(None, None, None, None, unscored, None)
    from sklearn.metrics import cohen_kappa_score, confusion_matrix

    tn, fp, fn, tp = (int(count) for count in confusion_matrix(gold, predictions, labels=[False, True]).ravel())
    return Agreement(
        kappa=float(cohen_kappa_score(gold, predictions)) if len({*gold, *predictions}) == 2 else None,
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        unscored=unscored,
        f1_negative=_ratio(2 * tn, 2 * tn + fp + fn),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _row(line: str, number: int, name: str, label: Label) -> GoldRow:
    where = f"line {number} of {name}"
    data = files.parse_json(line, f"Line {number} of {name}", "a gold row")
    if not isinstance(data, dict):
        raise FormatError(f"Line {number} of {name} is not a JSON object.")
    for field in ("lang", "prompt", "response"):
        if not isinstance(data.get(field), str):
            raise FormatError(f"Line {number} of {name} has no text in {field!r}.")
    if data["lang"] not in LANGUAGES:
        raise UnknownNameError(f"language on {where}", data["lang"], LANGUAGES)
    if data.get(label) is None:
        raise FormatError(f"Line {number} of {name} has no {label!r} label; a gold file says 0 or 1 in every row.")
    for field in ("refusal", "harmful"):
        if data.get(field) not in (None, 0, 1):
            raise FormatError(f"Line {number} of {name} has {field} = {data[field]!r}; expected 0 or 1.")
    labels = [None if data.get(field) is None else bool(data[field]) for field in ("refusal", "harmful")]
    model = data.get("model")
    exchange = Exchange(data["prompt"], data["response"], data["lang"])
    return GoldRow(exchange, *labels, model=None if model is None else str(model))
