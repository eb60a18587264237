"""Run one decoder layer again and again on the inputs that it had in a text pass, with some activations changed.

All rows of a batch are equal, so every difference between two rows is the effect of a change. The hidden state that enters the
layer is replaced by noise of the same size: a trained model's own states have outliers that saturate attention.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ssn_eval.core.errors import ArchitectureError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

TOKENS = 5
"""tokens of a row"""
CHANGED = 2
"""the token whose activation is changed; the first token (0) is the other one"""
CAPTURED = 2
"""rows of the pass that gives the layers' inputs"""
_FIRST_ID = 3
_INNER = ("language_model", "thinker")
"""attributes of wrappers that hold a model of text"""
Edit = Callable[[torch.Tensor], None]
"""changes a view of an activation, (rows, tokens, width), in place"""


NOT_CALLED = "this layer is not called in a pass over text"


class _Stop(Exception):  # noqa: N818
    """Ends a pass that has shown what was wanted."""


def run(model: nn.Module, rows: int, tokens: int = TOKENS, restart: Callable[[], None] = lambda: None) -> None:
    """One text pass of `rows` equal rows; of the language model inside, where a wrapper does not run on text alone.

    Args:
        model: the model.
        rows: rows of the batch.
        tokens: tokens of a row.
        restart: called before each attempt.

    Raises:
        ArchitectureError: neither runs.
    """
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    size = int(embedding.weight.shape[0])
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(min(_FIRST_ID, size - 1), min(size, 100), (1, tokens), generator=generator)
    ids = drawn.expand(rows, tokens).contiguous().to(embedding.weight.device)
    reasons: list[str] = []
    for entry in (model, *(inner for name in _INNER if (inner := getattr(model, name, None)) is not None)):
        for options in ({"use_cache": False}, {}):
            restart()
            try:
                with torch.no_grad():
                    entry(input_ids=ids, **options)
                return
            except Exception as error:  # noqa: BLE001  # any model's own forward function runs here
                lines = str(error).strip().splitlines()
                reasons.append(f"{type(error).__name__}: {lines[0] if lines else ''}")
                if options and "use_cache" not in reasons[-1]:
                    break
    raise ArchitectureError(f"A pass over text alone fails: {reasons[0][:200]}")


def first_tensor(values: Sequence[Any]) -> torch.Tensor | None:
    """The first floating-point tensor among arguments."""
    return next((v for v in values if torch.is_tensor(v) and v.is_floating_point()), None)


def by_time(tensor: Any, rows: int, tokens: int = TOKENS) -> torch.Tensor | None:
    """A module's input or output as (rows, tokens, width), a view where the layout allows it; None if it has another form."""
    if not torch.is_tensor(tensor) or not tensor.is_floating_point() or tensor.ndim < 2:
        return None
    shape = tuple(tensor.shape)
    if tensor.ndim == 3 and shape[:2] == (rows, tokens):
        return tensor
    if tensor.ndim == 3 and shape[:2] == (tokens, rows):
        return tensor.transpose(0, 1)
    if tensor.ndim == 2 and shape[0] == rows * tokens:
        return tensor.view(rows, tokens, -1)
    if tensor.ndim == 4 and shape[0] == rows and shape[1:3] in ((1, tokens), (tokens, 1)):
        return tensor.reshape(rows, tokens, -1)
    if tensor.ndim == 3 and shape[0] * shape[1] == rows * tokens:
        return tensor.reshape(rows, tokens, -1)
    return None


@dataclass
class Bench:
    """One layer and the inputs that it had."""

    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    hidden: int
    """width of the residual stream"""
    tolerance: float = field(init=False)
    """relative to the largest value: what rounding may change"""

    def __post_init__(self) -> None:
        """Find the rounding of the layer's dtype."""
        state = first_tensor([*self.args, *self.kwargs.values()])
        eps = torch.finfo(state.dtype if state is not None else torch.float32).eps
        self.tolerance = max(2e-5, eps)

    def run(
        self,
        rows: int,
        edits: Mapping[nn.Module, Edit],
        inputs: Sequence[nn.Module] = (),
        until: nn.Module | None = None,
    ) -> list[torch.Tensor | None]:
        """Run the layer on `rows` equal rows; `edits` change the outputs of modules.

        Args:
            rows: rows of the batch.
            edits: module → what changes its output.
            inputs: modules whose inputs are wanted.
            until: end the pass when this module is called.

        Returns:
            The input of every module of `inputs`, (rows, tokens, width); None where it was not called, or has another form.
        """
        seen: dict[int, torch.Tensor | None] = {}
        rows += rows == TOKENS  # so that rows and tokens cannot be taken for each other

        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            view = by_time(first_tensor([*args, *kwargs.values()]), rows)
            seen[id(module)] = None if view is None else view.detach().clone()
            if module is until:
                raise _Stop

        def change(module: nn.Module, _args: object, output: Any) -> Any:
            new = output.clone()
            view = by_time(new, rows)
            if view is not None:
                if view.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():  # a copy: write it back
                    edits[module](view)
                    return view.reshape(new.shape)
                edits[module](view)
            return new

        handles = [m.register_forward_pre_hook(keep, with_kwargs=True) for m in dict.fromkeys(inputs)]
        handles += [m.register_forward_hook(change) for m in edits]
        try:
            self.call(rows)
        except _Stop:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return [seen.get(id(m)) for m in inputs]

    def call(self, rows: int, change: Edit | None = None) -> Any:
        """Run the layer as it is, under whatever hooks are registered; `change` changes the hidden state that enters it."""
        args, kwargs = (expanded(part, rows) for part in (self.args, self.kwargs))
        state = first_tensor([*args, *kwargs.values()])
        view = by_time(state, rows)
        if change is not None and view is not None:
            change(view)
        with torch.no_grad():
            return self.layer(*args, **kwargs)

    def mixes_times(self) -> bool:
        """Whether a change of the hidden state at one time reaches a later time of the layer's output."""
        rows = 3

        def change(view: torch.Tensor) -> None:
            view[1, CHANGED] *= -1.5

        output = self.call(rows, change)
        view = by_time(first_tensor(output if isinstance(output, tuple | list) else [output]), rows)
        if view is None:
            return True
        return bool((view[1] - view[0])[CHANGED + 1 :].abs().max() > self.tolerance * view[0].abs().max())


def expanded(value: Any, rows: int) -> Any:
    """The inputs of two equal rows as those of `rows` equal rows.

    An axis counts as that of the rows if it has two equal slices; the first axis may also hold rows and heads together.
    """
    if torch.is_tensor(value):
        return _expanded_tensor(value, rows)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(expanded(v, rows) for v in value)
    if isinstance(value, list):
        return [expanded(v, rows) for v in value]
    if isinstance(value, MutableMapping):
        copied = copy.copy(value)  # a layer may write into it for layers behind it
        for key in copied:
            copied[key] = expanded(copied[key], rows)
        return copied
    return value


def _expanded_tensor(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    if tensor.ndim == 0:
        return tensor
    if tensor.shape[0] % CAPTURED == 0:
        halves = tensor.unflatten(0, (CAPTURED, -1))
        if _equal(halves[0], halves[1]):
            return halves[:1].expand(rows, *halves.shape[1:]).flatten(0, 1).clone()
    for axis in range(1, tensor.ndim - 1):
        if tensor.shape[axis] == CAPTURED and _equal(tensor.select(axis, 0), tensor.select(axis, 1)):
            return tensor.narrow(axis, 0, 1).expand(*tensor.shape[:axis], rows, *tensor.shape[axis + 1 :]).clone()
    return tensor


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal up to rounding, which may differ between two rows of a batch."""
    if not a.is_floating_point():
        return torch.equal(a, b)
    return bool(torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()) if a.numel() else 0.0))


@contextmanager
def hooks(*handles: Any) -> Iterator[None]:
    """Remove hooks at the end of the block."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def bench_of(layer: nn.Module, inputs: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> Bench | str:
    """The bench of a layer from the inputs of its calls in one pass, or why it cannot have one."""
    if len(inputs) != 1:
        return "this layer is called more than once in a pass" if inputs else NOT_CALLED
    args, kwargs = inputs[0]
    state = first_tensor([*args, *kwargs.values()])
    if state is None:
        return "this layer has no hidden state as its input"
    noisy = _noise_like(state, torch.Generator().manual_seed(11))

    def swapped(value: Any) -> Any:
        return noisy if value is state else value

    swapped_kwargs = {name: swapped(value) for name, value in kwargs.items()}
    return Bench(layer, tuple(map(swapped, args)), swapped_kwargs, int(state.shape[-1]))


def _noise_like(state: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Normal noise, the same in every row, of the state's median size; a state that is not (rows, tokens, width) stays."""
    if state.ndim != 3 or state.shape[:2] != (CAPTURED, TOKENS):
        return state.detach()
    size = state.detach().float().pow(2).mean(-1).sqrt().median()
    noise = torch.randn(1, *state.shape[1:], generator=generator).to(state.device) * size.clamp_min(1e-3)
    return noise.expand_as(state).to(state.dtype).contiguous()
