"""`ssn_replay`: a model that returns the replies of an earlier run, so that lm_eval itself judges and counts them again.

`lm_eval --model ssn_replay --model_args samples=DIR --metadata judge=NAME --tasks multijail`. No model is loaded and
nothing is generated. A reply that the earlier run does not hold is an error, never an empty text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import handle_non_serializable, hash_string

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError
from ssn_eval.harness.exits import one_sentence
from ssn_eval.harness.runs import samples


class ReplayLM(LM):
    """Stored replies by task and document."""

    def __init__(self, samples: str | None = None, **_: object) -> None:
        """Read a run.

        Args:
            samples: the folder (or one samples file) of a run with `--log_samples`.
            **_: the arguments that lm_eval passes to every model (batch size, device); not used.

        Raises:
            SsnError: bad input; ends a command with one sentence.
        """
        super().__init__()
        with one_sentence():
            if not samples:
                raise ParamsError("ssn_replay needs --model_args samples=DIR, the --output_path of an earlier run.")
            self._path = Path(samples)
            self._replies, self._sources = _read(self._path)

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The stored reply of each request.

        Raises:
            MissingInputError: the run does not hold one of them.
        """
        with one_sentence():
            keys = [(str(r.task_name), self._key(str(r.task_name), r.doc)) for r in requests]
            missing = [task for task, doc in keys if (task, doc) not in self._replies]
            if missing:
                raise MissingInputError(
                    f"{self._path} does not hold {len(missing)} of the {len(keys)} replies that this run needs (first in "
                    f"{missing[0]}); use the tasks, data and --limit of that run, or use `ssn judge`."
                )
            return [self._replies[key] for key in keys]

    def _key(self, task: str, doc: Mapping[str, Any]) -> str:
        """The document's hash; its id and prompt if the run holds another hash, because the benchmark has gained a column."""
        key = _hash(doc)
        return key if (task, key) in self._replies else _id_and_prompt(doc) or key

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> NoReturn:
        """Refuse: a run stores replies, not likelihoods."""
        with one_sentence():
            raise ParamsError(f"ssn_replay returns stored replies only; {requests[0].task_name} asks for likelihoods.")

    loglikelihood_rolling = loglikelihood

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The messages as text. The command may keep the flags of the first run; they do not change the stored replies."""
        return json.dumps(chat_history, ensure_ascii=False)

    @property
    def tokenizer_name(self) -> str:
        """A fixed name; there is no tokenizer."""
        return "ssn_replay"

    def get_model_info(self) -> dict[str, Any]:
        """The source of the replies; it is written to the results' `config`."""
        return {"ssn_eval": {"replayed": self._sources}}


def _read(path: Path) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """(task, document) → reply, and file name → sha256 of every samples file.

    A document is named by its hash, and again by its id and prompt.
    """
    replies: dict[tuple[str, str], str] = {}
    sources = {}
    for file in samples.files_of(path):
        sources[file.name] = files.sha256(file)
        for number, row in samples.rows(file):
            try:
                (reply,), key = row["resps"][0], (samples.task_of(file), str(row["doc_hash"]))
            except (KeyError, TypeError, ValueError, IndexError):
                raise FormatError(f"{file} line {number} is no sample of lm_eval with one reply.") from None
            replies[key] = str(reply)
            if id_and_prompt := _id_and_prompt(row.get("doc")):
                replies[key[0], id_and_prompt] = str(reply)
    return replies, sources


def _id_and_prompt(doc: object) -> str:
    """The id and prompt of a document, as one text; empty if it has none. They do not change if its benchmark gains columns."""
    if not isinstance(doc, Mapping) or "id" not in doc or "prompt" not in doc:
        return ""
    return json.dumps([doc["id"], doc["prompt"]], ensure_ascii=False, default=str)


def _hash(doc: object) -> str:
    """The `doc_hash` that lm_eval writes for a document."""
    return hash_string(json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False))
