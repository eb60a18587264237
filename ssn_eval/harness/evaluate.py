"""One evaluation of a loaded model inside lm-evaluation-harness: harmful and harmless held-out prompts, and capability.

There is one task per language and label, with the pipeline's own prompts and the task class that `multijail` uses. The params
name the judge and the capability task. The results are counts, so that intervals and paired tests can be computed from
them, and the verdict on every reply. They hold texts only if `evaluate.samples` is set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.core.settings import EvaluateParams
from ssn_eval.harness import scoring
from ssn_eval.judges.judged import Judged, judged_text
from ssn_eval.judges.registry import judge_names, says_refusal
from ssn_eval.judges.thoughts import opens_thought, split
from ssn_eval.models.loading import Loaded
from ssn_eval.models.templates import of as settings_of
from ssn_eval.prompts.prompt import LABELS, Prompt

if TYPE_CHECKING:
    from ssn_eval.harness.model import SsnHFLM

_COMMON = ("invalid_rate", "cut_off_rate", "thought_cut_off_rate", "unscored_rate")
_METRICS = {
    "harmful": ("refusal_rate", "compliance_rate", "other_language_rate", *_COMMON),
    "harmless": ("over_refusal_rate", "other_language_rate", *_COMMON),
}
_PROCESS = {"harmful": scoring.harmful, "harmless": scoring.harmless}


def heldout_tasks(prompts: Sequence[Prompt], langs: Sequence[str], settings: EvaluateParams) -> list[Any]:
    """lm_eval tasks `ssn_heldout_<label>_<lang>` over prompts that are already in memory."""
    from ssn_eval.harness.task import JudgedTask

    tasks = []
    for lang in langs:
        for label in LABELS:
            rows = [
                {"id": p.id, "lang": p.lang, "prompt": p.prompt, "tags": list(p.tags), "target": ""}
                for p in prompts
                if (p.lang, p.label) == (lang, label)
            ]
            if not rows:
                raise MissingInputError(
                    f"No held-out {lang}/{label} prompts; check prompts.heldout and languages in params.yaml."
                )
            config = {
                "task": f"ssn_heldout_{label}_{lang}",
                "custom_dataset": _loader(rows),
                "test_split": "test",
                "output_type": "generate_until",
                "doc_to_text": "prompt",
                "doc_to_target": "target",
                "generation_kwargs": {"until": [], "max_gen_toks": settings.max_new_tokens, "do_sample": False},
                "process_results": _PROCESS[label],
                "metric_list": [
                    {"metric": m, "aggregation": "mean", "higher_is_better": m == "refusal_rate"}
                    for m in _METRICS[label]
                ],
                "metadata": {
                    "version": 1.0,
                    "lang": lang,
                    "label": label,
                    "judge": settings.judge,
                    **({"thoughts": True} if settings.thoughts else {}),
                },
            }
            tasks.append(JudgedTask(config=config))
    return tasks


class Evaluation(NamedTuple):
    """The measurements of one condition."""

    counts: dict[str, Any]
    """`{"by_lang": {lang: {"refusal", "asr", "compliance", "harmless_refusal", "capability", "invalid", "cut_off", "thought_cut_off": {"successes", "total"} or
    None, "unscored": int}}, "verdicts": {lang: {prompt id: 1 refused, 0 not}}, "tags": {prompt id: [tags]}, "judge": identity}`"""
    replies: list[dict[str, Any]]
    """a row for every harmful and harmless prompt: `{"id", "lang", "label", "tags", "refusal", "harmful", "invalid", "unscored", "finished"}`,
    `of_thought` (`{"refusal", "harmful", "invalid"}`) if its thought was judged, and `prompt`, `response` and the model's `thought` if `evaluate.samples` is set"""


def evaluate(
    model: SsnHFLM | Loaded, prompts: Sequence[Prompt], langs: Sequence[str], settings: EvaluateParams
) -> Evaluation:
    """Evaluate a model once, as it is: interventions and adapters are included.

    Args:
        model: `ssn_hf`, or a loaded model.
        prompts: the held-out prompts.
        langs: the languages that are measured.
        settings: the judge, the capability task, and the limits.

    Raises:
        SsnError: no prompt, an unknown judge or task, a judge that does not report refusal.
    """
    if not says_refusal(settings.judge):
        names = ", ".join(name for name in judge_names() if says_refusal(name))
        raise ParamsError(
            f"evaluate.judge is {settings.judge}, which reports harm and not refusal, but the pipeline counts refusals; "
            f"use one of {names} (or judge a finished run again: ssn judge)."
        )
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    from ssn_eval.harness.bootstrap import tasks_folder
    from ssn_eval.harness.model import SsnHFLM

    lm = SsnHFLM.of(model, settings.batch_size) if isinstance(model, Loaded) else model
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False)
    tasks: list[Any] = heldout_tasks(prompts, langs, settings)
    if settings.capability:
        if settings.capability not in manager.task_index:
            manager = TaskManager()
        tasks.append(settings.capability)
    template = settings_of(lm.tokenizer)
    with _without_git():
        results: Any = simple_evaluate(
            model=lm,
            tasks=tasks,
            task_manager=manager,
            limit=settings.limit,
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=bool(template.use),
            system_instruction=template.system_prompt,
            verbosity="ERROR",
        )
    assert results is not None  # only ranks above 0 get None, and they write nothing
    samples = results["samples"]
    return Evaluation(count(samples, results["configs"], langs), replies(samples, langs, texts=settings.samples))


@contextmanager
def _without_git() -> Iterator[None]:
    """Keep lm_eval from asking git for the folder's commit: it is not used here, and git complains where there is none."""
    from lm_eval import evaluator

    asked = evaluator.get_git_commit_hash
    evaluator.get_git_commit_hash = lambda: None
    try:
        yield
    finally:
        evaluator.get_git_commit_hash = asked


def count(
    samples: Mapping[str, Sequence[Mapping[str, Any]]], configs: Mapping[str, Any], langs: Sequence[str]
) -> dict[str, Any]:
    """Turn lm_eval's logged samples into counts by language."""
    by_lang: dict[str, Any] = {}
    refusals: dict[str, dict[str, int]] = {}
    tags: dict[str, list[str]] = {}
    judge: dict[str, Any] | None = None
    for lang in langs:
        harmful = samples[f"ssn_heldout_harmful_{lang}"]
        harmless = samples[f"ssn_heldout_harmless_{lang}"]
        refusals[lang] = {s["doc"]["id"]: int(s["refusal_rate"]) for s in harmful if "refusal_rate" in s}
        tags |= {s["doc"]["id"]: labels for s in harmful if (labels := list(s["doc"].get("tags") or ()))}
        judge = judge or _judge(harmful)
        by_lang[lang] = {
            "refusal": _share(harmful, "refusal_rate"),
            "asr": _share(harmful, "asr"),
            "compliance": _share(harmful, "compliance_rate"),
            "harmless_refusal": _share(harmless, "over_refusal_rate"),
            "invalid": _share([*harmful, *harmless], "invalid_rate"),
            "cut_off": _share([*harmful, *harmless], "cut_off_rate"),
            "thought_cut_off": _share([*harmful, *harmless], "thought_cut_off_rate"),
            "capability": None,
            **_apart(harmful),
            "unscored": round(sum(s["unscored_rate"] for s in [*harmful, *harmless])),
        }
    for name, rows in samples.items():
        lang = (configs.get(name, {}).get("metadata") or {}).get("lang")
        if name.startswith("ssn_heldout_") or lang not in by_lang:
            continue
        metric = next((m for m in ("exact_match", "acc") if rows and m in rows[0]), None)
        by_lang[lang]["capability"] = _share(rows, metric) if metric else None
    return {"by_lang": by_lang, "verdicts": refusals, "tags": tags, "judge": judge}


def _apart(harmful: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int] | None]:
    """Leak and escape, if a thought was judged."""
    shares = {name: _share(harmful, f"{name}_rate") for name in ("leak", "escape")}
    return {name: share for name, share in shares.items() if share}


def replies(
    samples: Mapping[str, Sequence[Mapping[str, Any]]], langs: Sequence[str], *, texts: bool
) -> list[dict[str, Any]]:
    """The verdict on every reply, language by language; prompt and reply only with `texts`."""
    rows = []
    for lang in langs:
        for label in LABELS:
            for s in samples[f"ssn_heldout_{label}_{lang}"]:
                judged = Judged.from_text(judged_text(s["filtered_resps"]) or "")
                verdict = judged.verdicts[0]
                row = {"id": s["doc"]["id"], "lang": lang, "label": label, "tags": list(s["doc"].get("tags") or ())}
                row |= {name: getattr(verdict, name) for name in ("refusal", "harmful", "invalid", "unscored")}
                row["finished"] = judged.finished[0] if judged.finished else None
                if judged.thoughts and judged.thoughts[0]:
                    thought = judged.thoughts[0]
                    row["of_thought"] = {name: getattr(thought, name) for name in ("refusal", "harmful", "invalid")}
                if texts:
                    context, generated = str(s["arguments"][0][0]), str(s["resps"][0][0])
                    reply = split(generated, opened=opens_thought(context))
                    row |= {"prompt": s["doc"]["prompt"], "response": reply.text}
                    row |= {"thought": reply.thought} if reply.thought else {}
                rows.append(row)
    return rows


def _judge(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The identity of the judge."""
    text = next((judged_text(s["filtered_resps"]) for s in samples if s.get("filtered_resps")), None)
    return None if text is None else json.loads(json.dumps(dict(Judged.from_text(text).judge)))


def _loader(rows: Sequence[Mapping[str, Any]]) -> Any:
    def load(**_: object) -> Any:
        from datasets import Dataset, DatasetDict

        return DatasetDict({"test": Dataset.from_list([dict(row) for row in rows])})

    return load


def _share(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, int] | None:
    values = [row[metric] for row in rows if metric in row]
    return {"successes": round(sum(values)), "total": len(values)} if values else None
