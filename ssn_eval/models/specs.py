"""The name of a model: a hub id, a folder or an installed package, with how it is loaded. Nothing is loaded here."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError
from ssn_eval.models.templates import Template

_FIELD_TYPES: Mapping[str, type] = {"chat_template": bool, "chat_template_args": dict}
"""the types of those fields of a model description that are not texts"""


@dataclass(frozen=True)
class ModelSpec:
    """Where a model is found and how it is loaded: a hub id, a folder, or an installed Python package."""

    pretrained: str = ""
    """hub id or folder"""
    revision: str | None = None
    gguf_file: str | None = None
    """a GGUF file inside `pretrained` or the package"""
    package: str | None = None
    """an importable package that contains the model; it replaces `pretrained`"""
    dtype: str = "auto"
    chat_template: bool | None = None
    """whether prompts go through the chat template; None: they do if the model has one"""
    chat_template_args: Mapping[str, Any] = field(default_factory=dict)
    """arguments of the chat template, such as `enable_thinking`"""
    system_prompt: str | None = None

    @classmethod
    def parse(
        cls,
        model: str,
        revision: str | None = None,
        gguf_file: str | None = None,
        dtype: str = "auto",
        template: Template = Template(),
    ) -> ModelSpec:
        """Parse the name of a model: `package:NAME` is an installed package, all other names are a hub id or a folder."""
        package = model.removeprefix("package:") if model.startswith("package:") else None
        pretrained = "" if package else model
        return cls(pretrained, revision, gguf_file, package, dtype, template.use, template.args, template.system_prompt)

    @property
    def template(self) -> Template:
        """The template settings."""
        return Template(self.chat_template, self.chat_template_args, self.system_prompt)

    @property
    def name(self) -> str:
        """The model's name in messages: the hub id, the folder or the package."""
        return self.pretrained or str(self.package)

    def to_json(self) -> dict[str, Any]:
        """The fields that are set."""
        return {k: v for k, v in asdict(self).items() if v not in (None, "", {})}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Read what `to_json` wrote.

        Raises:
            FormatError: a key is unknown, or a value has the wrong type.
        """
        field_names = [field.name for field in fields(cls)]
        if (
            not isinstance(data, Mapping)
            or not set(data) <= set(field_names)
            or not all(isinstance(v, _FIELD_TYPES.get(k, str) | None) for k, v in data.items())
        ):
            raise FormatError(
                f"Not a model description: expected an object with no keys but {', '.join(field_names)}; chat_template is true or "
                f"false, chat_template_args is an object, all others are texts."
            )
        return cls(**data)


def read_spec(path: Path) -> ModelSpec:
    """Read the pipeline's `spec.json`.

    Raises:
        MissingInputError: there is no such file.
        FormatError: the file is not a model description.
    """
    return ModelSpec.from_json(files.read_json(path, "the pipeline's model description; run `dvc repro` first"))


def locate(spec: ModelSpec) -> ModelSpec:
    """Replace a `package` by the folder that it is installed in; other specs are returned unchanged.

    Raises:
        MissingInputError: the package is not installed or lacks the file.
        ParamsError: neither `pretrained` nor `package` is given.
    """
    if spec.package:
        return replace(spec, pretrained=str(_package_folder(spec.package, spec.gguf_file)), package=None)
    if not spec.pretrained:
        raise ParamsError("No model was named: give `pretrained`, a hub id or a folder.")
    return spec


def _package_folder(package: str, gguf_file: str | None) -> Path:
    if not all(part.isidentifier() for part in package.split(".")):
        raise ParamsError(f"{package[:80]!r} is not the name of a Python package.")
    try:
        module_spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        module_spec = None
    if module_spec is None or module_spec.origin is None:
        raise MissingInputError(
            f"The model package {package!r} is not installed; pip install {package.replace('_', '-')}."
        )
    folder = Path(module_spec.origin).parent
    if gguf_file is None or (folder / gguf_file).is_file():
        return folder
    module = importlib.import_module(package)
    if not hasattr(module, "assemble"):
        raise MissingInputError(f"The package {package!r} holds no {gguf_file}.")
    try:
        return Path(module.assemble()).parent  # puts the parts of the model together, once, in the user's cache
    except ImportError as error:
        raise MissingInputError(
            f"A part of {package!r} is not installed ({error}); pip install {package.replace('_', '-')}."
        ) from error
