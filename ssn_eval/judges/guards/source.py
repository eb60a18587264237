"""Where a guard model comes from: a hub id or a folder, with its config and tokenizer; the weights are for others to load."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files
from ssn_eval.core.errors import MissingInputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SANE = 1_000_000  # tokenizers without a limit claim 1e30


@dataclass(frozen=True)
class Source:
    """One guard model, by name."""

    model: str
    """hub id or folder"""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read `ID`, `ID@REVISION` or a folder."""
        name, at, revision = text.rpartition("@")
        return cls(text) if not at or Path(text).is_dir() else cls(name, revision)

    @cached_property
    def config(self) -> Any:  # noqa: ANN401
        """The model's config; a few kilobytes, so a wrong name is noticed before anything long starts.

        Raises:
            MissingInputError: neither a folder nor a hub model within reach.
        """
        from transformers import AutoConfig

        return self._load(AutoConfig)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer.

        Raises:
            MissingInputError: it is not there.
        """
        from transformers import AutoTokenizer

        return self._load(AutoTokenizer)

    @cached_property
    def identity(self) -> dict[str, object]:
        """`{"model", "revision"}`: the hub's commit, or a hash over a folder's files."""
        folder = Path(self.model)
        if folder.is_dir():
            return {"model": files.portable(self.model), "revision": f"sha256:{files.sha256(folder)}"}
        return {"model": self.model, "revision": getattr(self.config, "_commit_hash", None) or self.revision}

    @property
    def context(self) -> int:
        """How many tokens the model can read and write together."""
        text = getattr(self.config, "text_config", None) or self.config
        limits = (getattr(text, "max_position_embeddings", None), self.tokenizer.model_max_length)
        return min([limit for limit in limits if limit and limit < _SANE], default=4096)

    def _load(self, kind: Any) -> Any:  # noqa: ANN401
        try:
            return kind.from_pretrained(self.model, revision=self.revision, trust_remote_code=False)
        except (OSError, ValueError) as error:
            first = str(error).strip().split("\n")[0]
            raise MissingInputError(
                f"Could not load the guard model {self.model!r}: {first} Give a folder, or a hub id that is cached or "
                f"within reach (gated models need a login)."
            ) from error
