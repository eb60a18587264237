"""Options of a command that come from a settings class: its field gives the name, the type, the default and the help text."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S")

LANGUAGES = click.option(
    "--languages", required=True, help="Language codes with commas between them, for example en,zh,th."
)
HR = click.option("--hr", default="en", show_default=True, help="The high-resource language, one of --languages.")
BATCH_SIZE = click.option(
    "--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Prompts in one forward pass."
)


def codes_of(text: str) -> list[str]:
    """The codes of languages with commas between them, each once.

    Raises:
        UnknownNameError: a language is not known.
    """
    from ssn_eval.core.languages import language

    return list(dict.fromkeys(language(code.strip()).code for code in text.split(",") if code.strip()))


class CommaSeparated(click.ParamType):
    """Texts with commas between them."""

    name = "text,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parts, without the spaces around them."""
        if not isinstance(value, str):
            return value
        return [part.strip() for part in value.split(",")] if value.strip() else []


def settings_options(kind: type, *names: str, flags: Mapping[str, str] | None = None) -> Callable[[F], F]:
    """Add an option for some fields of a settings class; the command gets each under the field's name.

    Args:
        kind: a class of `core/settings.py`.
        names: the fields, in the order of the help.
        flags: field → the option, if it is not the field's name.
    """

    def decorate(command: F) -> F:
        for name in reversed(names):
            command = _option(kind, name, (flags or {}).get(name, f"--{name.replace('_', '-')}"))(command)
        return command

    return decorate


def settings_from(kind: type[S], values: Mapping[str, Any]) -> S:
    """The settings that the options of the running command give; a field without an option keeps its default.

    Raises:
        ParamsError, UnknownNameError: a value is out of range, or a name is not known.
    """
    from ssn_eval.core import params

    return params.build(kind, values, click.get_current_context().command_path)


def settings_among(kind: type[S], values: Mapping[str, Any]) -> S:
    """The settings of one class among the options of several; raises what `settings_from` raises."""
    return settings_from(kind, {name: value for name, value in values.items() if name in kind.__dataclass_fields__})  # type: ignore[attr-defined]


def values_of(settings: Any) -> dict[str, Any]:
    """A settings value as plain JSON."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}


def _option(kind: Any, name: str, flag: str) -> Callable[[F], F]:
    field = kind.__dataclass_fields__[name]
    text = field.metadata["help"]
    value_type = _value_type(get_type_hints(kind)[name])
    if value_type is bool:
        return click.option(flag, name, is_flag=True, default=field.default, help=text)
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    return click.option(
        flag,
        name,
        type=value_type,
        default=default,
        show_default=default not in (None, ""),
        help=text,
    )


def _value_type(annotation: Any) -> Any:
    """The click type of a field's values."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        several = [a for a in arguments if get_origin(a) in (list, tuple)]
        return CommaSeparated() if several else next(a for a in arguments if a is not type(None))
    if origin is Literal:
        return click.Choice(arguments)
    return CommaSeparated() if origin in (list, tuple) else annotation
