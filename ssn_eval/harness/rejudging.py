"""Judge the stored replies of a run with another judge, and write them as samples again. Nothing is generated.

Verdicts are appended chunk by chunk to a partial file, whose first line names the judge and the input. A run that was stopped
resumes from this file. The finished samples get their final name only when they are complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, ParamsError
from ssn_eval.core.languages import language
from ssn_eval.core.origin import versions
from ssn_eval.core.progress import progress
from ssn_eval.harness import scoring
from ssn_eval.harness.runs import asking, samples
from ssn_eval.judges.judged import Judged, judged_text, what_it_says
from ssn_eval.judges.judging import Generated, judge_replies, judge_thoughts, mixed_with
from ssn_eval.judges.registry import Judge
from ssn_eval.judges.reply_language import reply_languages
from ssn_eval.judges.thoughts import opens_thought
from ssn_eval.judges.verdict import Exchange, Verdict

CHUNK = 128
"""number of replies in one call of the judge; a kill loses at most so many verdicts"""
PARTIAL = ".verdicts.jsonl"
PARTIAL_THOUGHTS = ".thoughts.jsonl"


@dataclass(frozen=True)
class Stored:
    """A stored reply: its row in lm_eval's form, and the generated text."""

    row: dict[str, Any]
    generated: Generated

    @property
    def exchange(self) -> Exchange:
        """The prompt and the whole generated text, with the thought."""
        return self.generated.exchange


def read(file: Path, limit: int | None = None) -> list[Stored]:
    """The replies of a samples file of lm_eval, or of JSON lines `{"lang", "prompt", "response"}` (`id`, `label` optional).

    Raises:
        MissingInputError, FormatError, UnknownNameError: no such file, a line that is neither, an unknown language.
        EmptySetError: no reply.
    """
    replies, langs = [], mixed_with(samples.metadata_of(file))
    for number, row in samples.rows(file):
        if limit is not None and len(replies) == limit:
            break
        replies.append(_stored(row, f"{file} line {number}", number, langs))
    if not replies:
        raise EmptySetError(f"{file} holds no reply to judge.")
    return replies


def rejudge(path: Path, judge: Judge, out: Path, *, limit: int | None = None, thoughts: bool = False) -> dict[str, Any]:
    """Judge every stored reply of a run and write it, judged, into the folder `out`.

    Args:
        path: a run's folder, one samples file, or JSON lines.
        judge: the judge.
        out: a folder that does not exist yet, or one that a stopped run of the same judge on the same input left.
        limit: largest number of replies of a file.
        thoughts: judge the thoughts of a reasoning model, too, apart from the replies.

    Returns:
        The content of `judged.json`: judge, inputs with their hashes and numbers of replies, versions, and the judge's usage.

    Raises:
        SsnError: bad input; verdicts so far stay in the partial file.
    """
    inputs = samples.safety_files(path)[0]
    if out.resolve() in {file.parent.resolve() for file in inputs}:
        raise ParamsError(f"--out {out} is the run itself; name another folder, nothing is overwritten.")
    if (out / samples.JUDGED).exists():
        raise ParamsError(f"{out} holds a finished judgement; name another folder, nothing is overwritten.")
    replies_by_file = {file: read(file, limit) for file in inputs}
    _begin(out, judge, {file.name: _hash(replies) for file, replies in replies_by_file.items()}, thoughts)
    passes = 1 + thoughts
    with progress("judging", passes * sum(map(len, replies_by_file.values()))) as advance:
        for file, replies in replies_by_file.items():
            name = file.name if file.name.startswith("samples_") else f"samples_{file.stem}.jsonl"
            if not (out / name).exists():
                _judge_file(file, replies, judge, out / name, advance, thoughts)
            else:
                advance(passes * len(replies))
    usage = getattr(judge, "usage", None)
    result: dict[str, Any] = {
        "judge": judge.identity(),
        "inputs": {file.name: {"sha256": files.sha256(file), "replies": len(replies_by_file[file])} for file in inputs},
        "versions": versions(),
        **_results_config(inputs),
    }
    if usage is not None:
        result["usage"] = usage()
    files.write_json(out / samples.JUDGED, result)
    (out / samples.BEGUN).unlink()
    return result


def _results_config(inputs: Sequence[Path]) -> dict[str, Any]:
    """The parts of lm_eval's results file that readers of runs use; the file is not copied whole."""
    config = samples.results_at(inputs[0].parent, samples.time_of(inputs[0])).get("config") or {}
    names = ("benchmark", "label", "lang", "langs", "tier", "translation")
    tasks = {samples.task_of(file): samples.metadata_of(file) for file in inputs}
    return {
        "config": {key: config[key] for key in ("model", "model_args", "ssn_eval") if key in config},
        asking.ASKED: {samples.task_of(file): asking.of(file) for file in inputs},
        "configs": {task: {"metadata": {k: m[k] for k in names if k in m}} for task, m in tasks.items()},
    }


def _begin(out: Path, judge: Judge, inputs: Mapping[str, str], thoughts: bool) -> None:
    """Write into the folder which judge judges which replies; refuse a folder that holds something else.

    A partial file names them too, but a run that was stopped between two tasks leaves no partial file.
    """
    asked = {"thoughts": True} if thoughts else {}
    description = json.loads(json.dumps({"judge": judge.identity(), "inputs": dict(inputs), **asked}))
    if (out / samples.BEGUN).is_file():
        earlier = files.read_json(out / samples.BEGUN, "the record of a stopped judgement")
        if earlier != description:
            raise MismatchError(
                f"{out} holds verdicts of another judge or other replies (another run or --limit) than this one with {judge.name}; "
                f"name another folder, or delete that one."
            )
    elif out.is_dir() and any(out.rglob("samples_*.jsonl")):
        raise ParamsError(f"{out} holds another run; name another folder, so that the two are not mixed.")
    else:
        files.write_json(out / samples.BEGUN, description)


def _hash(replies: Sequence[Stored]) -> str:
    """A hash of everything that a judge sees of the replies."""
    texts = [
        [r.exchange.prompt, r.exchange.response, r.exchange.lang, r.generated.opened, *r.exchange.mixed_with]
        for r in replies
    ]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _judge_file(
    file: Path, replies: Sequence[Stored], judge: Judge, target: Path, advance: Any, with_thoughts: bool
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    header = {"judge": judge.identity(), "input": _hash(replies)}
    partial = target.with_name(f".{target.name}{PARTIAL}")
    verdicts: list[Any] = _verdicts(partial, header, judge, replies, judge_replies, advance)
    partial_thoughts, thoughts = target.with_name(f".{target.name}{PARTIAL_THOUGHTS}"), None
    if with_thoughts:
        thoughts = _verdicts(partial_thoughts, header | {"of": "thoughts"}, judge, replies, judge_thoughts, advance)
    _write(replies, verdicts, judge.identity(), target, samples.metadata_of(file), thoughts)
    partial.unlink()
    partial_thoughts.unlink(missing_ok=True)


def _verdicts(
    partial: Path,
    header: Mapping[str, Any],
    judge: Judge,
    replies: Sequence[Stored],
    judge_chunk: Callable[[Judge, Sequence[Generated]], Sequence[Verdict | None]],
    advance: Any,
) -> list[Verdict | None]:
    """One verdict for each reply (None where there is nothing to judge), from the partial file as far as it goes."""
    verdicts = _resumed(partial, header, judge.name, len(replies))
    advance(len(verdicts))
    with partial.open("a", encoding="utf-8") as handle:
        if not verdicts and not partial.stat().st_size:
            handle.write(json.dumps(header, ensure_ascii=False, sort_keys=True) + "\n")
        for start in range(len(verdicts), len(replies), CHUNK):
            chunk = replies[start : start + CHUNK]
            chunk_verdicts = judge_chunk(judge, [r.generated for r in chunk])
            handle.writelines(json.dumps(v and v.to_json(), ensure_ascii=False) + "\n" for v in chunk_verdicts)
            handle.flush()
            os.fsync(handle.fileno())
            verdicts += chunk_verdicts
            advance(len(chunk))
    return verdicts


def _resumed(partial: Path, header: Mapping[str, Any], name: str, count: int) -> list[Verdict | None]:
    """The verdicts of a stopped run; a last line that was cut off is dropped from the file."""
    if not partial.exists():
        return []
    lines = partial.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last line break is half a line
    if not lines:
        files.write_text(partial, "")
        return []
    try:
        first_line, values = json.loads(lines[0]), [json.loads(line) for line in lines[1:]]
        verdicts = [None if value is None else Verdict.from_json(value) for value in values]
    except ValueError as error:
        raise FormatError(f"{partial} is damaged ({error}); delete it to judge from the beginning.") from error
    if first_line != json.loads(json.dumps(header)):
        raise MismatchError(
            f"{partial.parent} holds verdicts of another judge or other replies than this judgement with {name}; name another "
            f"folder, or delete {partial.name} there."
        )
    files.write_text(partial, "".join(line + "\n" for line in lines[: count + 1]))
    return verdicts[:count]


def _write(
    replies: Sequence[Stored],
    verdicts: Sequence[Verdict],
    identity: Mapping[str, object],
    target: Path,
    metadata: Mapping[str, Any],
    thoughts: Sequence[Verdict | None] | None = None,
) -> None:
    labels = what_it_says(verdicts)
    langs = reply_languages([r.generated.reply.text for r in replies])
    with files.atomic(target) as temporary, temporary.open("w", encoding="utf-8") as handle:
        of_thoughts = [None] * len(replies) if thoughts is None else [(thought,) for thought in thoughts]
        for reply, verdict, lang, thought in zip(replies, verdicts, langs, of_thoughts, strict=True):
            doc = reply.row["doc"]
            # A code-switched prompt has no single language, so the language of its reply is not identified (as in `task`).
            is_mixed = (doc.get("translation") or metadata.get("translation")) == "code-switched"
            reply_langs = None if is_mixed else (lang,)
            judged = Judged((verdict,), identity, labels, reply_langs, _finished(reply.row), thought)
            process = scoring.harmless if doc.get("label") == "harmless" else scoring.harmful
            rates = process(doc, [judged.to_text()])
            row = reply.row | {"filtered_resps": [judged.to_text()], "metrics": sorted(rates), **rates}
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")


def _finished(row: Mapping[str, Any]) -> tuple[bool | None, ...] | None:
    """Whether the reply ended by itself, as the run's own record says; None if the run does not say it."""
    text = judged_text(row.get("filtered_resps"))
    try:
        return None if text is None else Judged.from_text(text).finished
    except FormatError:
        return None  # the run was not judged (`--predict_only`)


_RATES = (
    *("asr", "harm_score"),
    *(
        f"{n}_rate"
        for n in (
            "compliance",
            "refusal",
            "over_refusal",
            "other_language",
            "invalid",
            "cut_off",
            "thought_cut_off",
            "leak",
            "escape",
            "unscored",
        )
    ),
)


def _stored(row: dict[str, Any], place: str, number: int, langs: tuple[str, ...]) -> Stored:
    doc, resps = row.get("doc"), row.get("resps")
    if doc is None and isinstance(row.get("response"), str):
        doc = {"id": str(row.get("id", number)), **{k: row.get(k) for k in ("lang", "prompt")}}
        doc |= {k: row[k] for k in ("label", "tags", "translation") if k in row}
        resps = [[row["response"]]]
        row = {"doc": doc, "resps": resps}
    if not isinstance(doc, Mapping) or not all(isinstance(doc.get(k), str) for k in ("lang", "prompt")):
        raise FormatError(
            f"{place} lacks prompt or lang; expected a sample of a safety task (lm_eval --log_samples), or an object with "
            f"lang, prompt and response."
        )
    try:
        (reply,) = resps[0]  # type: ignore[index]
    except (TypeError, ValueError, KeyError, IndexError):
        raise FormatError(f"{place} does not hold exactly one reply in resps.") from None
    if not isinstance(reply, str):
        raise FormatError(f"{place} holds no text in resps; only generated replies can be judged.")
    fields = {k: v for k, v in row.items() if k not in _RATES}
    exchange = Exchange(doc["prompt"], reply, language(doc["lang"]).code, langs)
    return Stored(fields, Generated(exchange, opened=opens_thought(_rendered_prompt(row))))


def _rendered_prompt(row: Mapping[str, Any]) -> str:
    """The prompt of a sample of lm_eval as the model received it; empty if the row has none."""
    try:
        return str(row["arguments"]["gen_args_0"]["arg_0"])
    except (KeyError, TypeError):
        return ""
