"""How a prompt becomes the text that a model sees: chat template on or off, its arguments, and a system prompt.

The settings belong to a model. `loading.load` binds them to its tokenizer, so identification, pairs, training and evaluation use
the same text. Thinking is off by default: the decision to refuse is read where the reply begins, and a thought would stand before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import FormatError, ParamsError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SWITCHES = ("enable_thinking", "thinking")
"""arguments of chat templates that switch thinking on and off"""
_BOUND = "ssn_template"


@dataclass(frozen=True)
class Template:
    """The template settings of a model."""

    use: bool | None = None
    """whether the chat template is used; None: it is used if the tokenizer has one"""
    args: Mapping[str, Any] = field(default_factory=dict)
    """arguments of the chat template, for example `enable_thinking`"""
    system_prompt: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The settings for an artefact: `chat_template`, and `args` and `system_prompt` if they are set."""
        content: dict[str, Any] = {"chat_template": bool(self.use)}
        if self.args:
            content["args"] = dict(self.args)
        if self.system_prompt is not None:
            content["system_prompt"] = self.system_prompt
        return content


def bind(tokenizer: PreTrainedTokenizerBase, template: Template) -> Template:
    """Bind template settings to a tokenizer; return the settings in force. Thinking is off unless an argument turns it on.

    Raises:
        ParamsError: the settings need a chat template, and the tokenizer has none.
        FormatError: the template cannot be read, or does not take these settings.
    """
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if not has_template and (template.use or template.args or template.system_prompt is not None):
        raise ParamsError(
            "This model has no chat template, so template arguments and a system prompt cannot be used; leave out these settings."
        )
    use = has_template if template.use is None else template.use
    args = {**thinking_off(tokenizer), **template.args} if use else dict(template.args)
    bound = replace(template, use=use, args=args)
    setattr(tokenizer, _BOUND, bound)
    if use:
        render(tokenizer, "a question")
    return bound


def of(tokenizer: PreTrainedTokenizerBase) -> Template:
    """The settings of a tokenizer; the defaults if none are bound."""
    bound = getattr(tokenizer, _BOUND, None)
    return bound if isinstance(bound, Template) else Template(use=bool(getattr(tokenizer, "chat_template", None)))


def thinking_off(tokenizer: PreTrainedTokenizerBase) -> dict[str, bool]:
    """The arguments that switch thinking off; empty for a template without such a switch."""
    return {name: False for name in SWITCHES if name in _variables(tokenizer)}


def render(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text that a model sees for a user's prompt: the prompt in the chat template, or the plain prompt.

    In the template, the text ends with the generation prompt, after which the model replies.

    Raises:
        FormatError: the template cannot be read, refuses the settings, or drops the prompt.
    """
    if not of(tokenizer).use:
        return text
    rendered = apply(tokenizer, [{"role": "user", "content": text}], add_generation_prompt=True)
    if text.strip() not in rendered:
        raise FormatError("The chat template of this model drops the text of a prompt; the model would not see it.")
    return rendered


def apply(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False
) -> str:
    """The text of a conversation in the chat template; the system prompt comes first if there is one.

    Raises:
        FormatError: the template cannot be read, or refuses the settings.
    """
    from jinja2 import TemplateError

    template = of(tokenizer)
    system_turns = [] if template.system_prompt is None else [{"role": "system", "content": template.system_prompt}]
    conversation: Any = [*system_turns, *map(dict, turns)]
    try:
        return str(
            tokenizer.apply_chat_template(
                conversation, tokenize=False, add_generation_prompt=add_generation_prompt, **template.args
            )
        )
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        first_line = str(error).strip().split("\n")[0]
        with_system = " with a system prompt" if system_turns else ""
        raise FormatError(f"The chat template of this model cannot be used{with_system}: {first_line}") from error


def _variables(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The variables that the chat template reads; empty if it cannot be parsed (`render` then raises the error)."""
    from jinja2 import Environment, TemplateSyntaxError, meta

    source = getattr(tokenizer, "chat_template", None)
    if isinstance(source, Mapping):
        source = source.get("default")
    if not isinstance(source, str):
        return set()
    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    try:
        return meta.find_undeclared_variables(
            environment.parse(source.replace("{% generation %}", "").replace("{% endgeneration %}", ""))
        )
    except TemplateSyntaxError:
        return set()
