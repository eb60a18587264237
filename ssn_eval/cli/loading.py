"""The options that say which model a command loads, and where; a command gets them as one `ModelOptions`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ssn_eval.core.errors import ParamsError

if TYPE_CHECKING:
    from ssn_eval.models.loading import Loaded, ModelSpec

REVISION = click.option("--revision", help="Hub revision.")
GGUF_FILE = click.option("--gguf-file", help="A GGUF file inside the model's folder or package.")
DTYPE = click.option(
    "--dtype",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Dtype of the weights.",
)
DEVICE = click.option("--device", help="cpu, cuda, …; the best one by default.")
DEVICE_MAP = click.option("--device-map", help="auto: spread the weights over every GPU.")
TRUST_REMOTE_CODE = click.option(
    "--trust-remote-code", is_flag=True, help="Run code that the model's repository brings."
)
CHAT_TEMPLATE = click.option(
    "--chat-template/--no-chat-template",
    default=None,
    help="By default the chat template is used if the model has one.",
)
TEMPLATE_ARGS = click.option(
    "--chat-template-args",
    metavar="JSON",
    help='Arguments of the chat template, for example {"enable_thinking": true}; thinking is off by default.',
)
SYSTEM_PROMPT = click.option("--system-prompt", help="A system prompt before every prompt.")


@dataclass(frozen=True)
class ModelOptions:
    """A model as a command names it."""

    model: str
    revision: str | None
    gguf_file: str | None
    dtype: str
    device: str | None
    device_map: str | None
    trust_remote_code: bool
    chat_template: bool | None
    chat_template_args: str | None
    system_prompt: str | None

    def spec(self) -> ModelSpec:
        """How the model is found, and its template settings."""
        from ssn_eval.models.loading import ModelSpec
        from ssn_eval.models.templates import Template

        args = parse_template_args(self.chat_template_args)
        template = Template(self.chat_template, args, self.system_prompt)
        return ModelSpec.parse(self.model, self.revision, self.gguf_file, self.dtype, template)

    def load(self) -> Loaded:
        """The model in memory; raises what `models.loading.load` raises."""
        from ssn_eval.models import loading

        loaded = loading.load(
            self.spec(), device=self.device, device_map=self.device_map, trust_remote_code=self.trust_remote_code
        )
        if loaded.template.args and not self.chat_template_args:
            click.echo(
                f"Thinking is off ({json.dumps(dict(loaded.template.args))}); --chat-template-args changes it.",
                err=True,
            )
        return loaded


def parse_template_args(text: str | None) -> dict[str, Any]:
    """Read `--chat-template-args`.

    Raises:
        ParamsError: it is no JSON object.
    """
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ParamsError(f"--chat-template-args is no JSON ({error}): {text!r}.") from error
    if not isinstance(value, dict):
        raise ParamsError(
            f'--chat-template-args is {text!r}; expected a JSON object such as {{"enable_thinking": false}}.'
        )
    return value


def model_options(required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--model` and the options beside it; the command gets `model`, a `ModelOptions`, or None if no model is named."""
    options = (
        click.option("--model", required=required, help="Hub id or folder, or package:NAME."),
        *(REVISION, GGUF_FILE, DTYPE, DEVICE, DEVICE_MAP, TRUST_REMOTE_CODE),
        *(CHAT_TEMPLATE, TEMPLATE_ARGS, SYSTEM_PROMPT),
    )
    names = list(ModelOptions.__dataclass_fields__)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_model(*args: Any, **values: Any) -> Any:
            model_values = {name: values.pop(name) for name in names}
            return command(*args, model=ModelOptions(**model_values) if model_values["model"] else None, **values)

        for option in reversed(options):
            with_model = option(with_model)
        return with_model

    return decorate
