"""How a run asked its prompts: few-shot examples, system instruction, chat template and generation settings.

Two runs can be compared only if they asked alike. lm_eval writes these settings into its results file; `ssn judge` keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssn_eval.core.errors import MismatchError
from ssn_eval.harness.runs import samples

ASKED = "asked"
"""the key under which `ssn judge` keeps the settings of each task"""


def of(file: Path) -> dict[str, Any]:
    """The settings that the results file of a samples file names, by their name; a setting that it does not name is left out."""
    results = samples.results_at(file.parent, samples.time_of(file))
    task = samples.task_of(file)
    kept = results.get(ASKED)
    if isinstance(kept, Mapping):
        return dict(kept.get(task) or {})
    asked: dict[str, Any] = {}
    shots = results.get("n-shot")
    if isinstance(shots, Mapping) and task in shots:
        asked["few-shot examples"] = shots[task]
    if "system_instruction" in results:
        asked["system instruction"] = results["system_instruction"] or _template(results).get("system_prompt") or ""
    if "chat_template_sha" in results:
        sha = results["chat_template_sha"]
        asked["use of the chat template"] = sha is not None
        # Models have templates of their own, so arguments are compared where the template is the same.
        asked[f"arguments of the chat template {str(sha)[:8]}"] = dict(_template(results).get("args") or {})
    configs = results.get("configs")
    task_config = configs.get(task) if isinstance(configs, Mapping) else None
    if isinstance(task_config, Mapping) and isinstance(task_config.get("generation_kwargs"), Mapping):
        asked["generation settings"] = dict(task_config["generation_kwargs"])
    return asked


def refuse_other(first: Path, second: Path) -> None:
    """Stop if two runs asked a task that both have with other settings.

    Raises:
        MismatchError: a setting that both runs name differs.
        SsnError: the errors of `samples.safety_files`.
    """
    first_files, second_files = (
        {samples.task_of(f): f for f in samples.safety_files(run)[0]} for run in (first, second)
    )
    for task in sorted(first_files.keys() & second_files.keys()):
        one, other = of(first_files[task]), of(second_files[task])
        for name in sorted(one.keys() & other.keys()):
            if one[name] != other[name]:
                raise MismatchError(
                    f"The runs asked {task} with other {name} ({_short(one[name])} in {first}, {_short(other[name])} in {second}), "
                    f"so a difference could come from that; ask both alike, or compare them with --other-settings."
                )


def _template(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """The template settings that `ssn_hf` writes into the run's config; empty for other models."""
    config = results.get("config")
    ssn = config.get("ssn_eval") if isinstance(config, Mapping) else None
    template = ssn.get("template") if isinstance(ssn, Mapping) else None
    return template if isinstance(template, Mapping) else {}


def _short(value: Any, most: int = 120) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}…"
