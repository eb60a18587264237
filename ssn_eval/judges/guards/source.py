"""The source of a guard model: a hub id or a folder, with config and tokenizer. Weights are not loaded here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files
from ssn_eval.core.errors import MissingInputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SANE = 1_000_000  # tokenizers without a limit report 1e30


@dataclass(frozen=True)
class Source:
    """One guard model by hub id or folder."""

    model: str
    """hub id or folder"""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Parse `ID`, `ID@REVISION` or a folder."""
        name, at, revision = text.rpartition("@")
        return cls(text) if not at or Path(text).is_dir() else cls(name, revision)

    @cached_property
    def config(self) -> Any:
        """The config of the model; it is small, so a wrong name is found before long work starts.

        Raises:
            MissingInputError: there is no such folder, and no hub model that can be loaded.
        """
        from transformers import AutoConfig

        return self._load(AutoConfig)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the model.

        Raises:
            MissingInputError: the tokenizer cannot be loaded.
        """
        from transformers import AutoTokenizer

        return self._load(AutoTokenizer)

    @cached_property
    def identity(self) -> dict[str, object]:
        """`{"model", "revision"}`; the revision is the commit on the hub, or a hash over the files of a folder."""
        folder = Path(self.model)
        if folder.is_dir():
            return {"model": files.portable(self.model), "revision": f"sha256:{files.sha256(folder)}"}
        return {"model": self.model, "revision": getattr(self.config, "_commit_hash", None) or self.revision}

    @property
    def context(self) -> int:
        """Context length: the number of tokens that the model can read and write together."""
        text = getattr(self.config, "text_config", None) or self.config
        limits = (getattr(text, "max_position_embeddings", None), self.tokenizer.model_max_length)
        return min([limit for limit in limits if limit and limit < _SANE], default=4096)

    def _load(self, kind: Any) -> Any:
        try:
            return kind.from_pretrained(self.model, revision=self.revision, trust_remote_code=False)
        except (OSError, ValueError) as error:
            first = str(error).strip().split("\n")[0]
            raise MissingInputError(
                f"Could not load the guard model {self.model!r}: {first} Give a folder, or a hub id that is cached or "
                f"within reach (gated models need a login)."
            ) from error
