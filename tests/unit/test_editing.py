"""The closed form of sparse weight editing: the optimum at full rank, and better than other changes of its rank."""

from __future__ import annotations

import pytest
import torch

from ssn_eval.training.editing import solve

GAMMA, RIDGE = 0.7, 0.05


def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """X (12 × 6), D (12 × 4), X₀ (9 × 6)."""
    generator = torch.Generator().manual_seed(0)
    x, d, x0 = (
        torch.randn(n, width, generator=generator, dtype=torch.float64) for n, width in ((12, 6), (12, 4), (9, 6))
    )
    return x, d, x0


def objective(x: torch.Tensor, d: torch.Tensor, x0: torch.Tensor, delta: torch.Tensor) -> float:
    """As written in the source, λ being a share of the mean diagonal of XᵀX."""
    strength = RIDGE * (x.T @ x).diagonal().mean()
    return float((x @ delta - d).square().sum() + GAMMA * (x0 @ delta).square().sum() + strength * delta.square().sum())


def test_full_rank_is_the_minimum():
    x, d, x0 = drawn()
    delta = solve(x, d, x0, rank=4, gamma=GAMMA, ridge=RIDGE).requires_grad_()
    strength = RIDGE * (x.T @ x).diagonal().mean()
    loss = (x @ delta - d).square().sum() + GAMMA * (x0 @ delta).square().sum() + strength * delta.square().sum()
    loss.backward()
    assert delta.grad is not None and float(delta.grad.abs().max()) < 1e-9


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_low_rank_is_kept_and_no_descent_finds_better(rank: int):
    x, d, x0 = drawn()
    delta = solve(x, d, x0, rank=rank, gamma=GAMMA, ridge=RIDGE)
    assert int(torch.linalg.matrix_rank(delta, rtol=1e-9)) == rank
    best = objective(x, d, x0, delta)
    assert best > objective(x, d, x0, solve(x, d, x0, rank=4, gamma=GAMMA, ridge=RIDGE))
    torch.manual_seed(1)
    factors = [torch.randn(6, rank, dtype=torch.float64), torch.randn(rank, 4, dtype=torch.float64)]
    strength = RIDGE * (x.T @ x).diagonal().mean()
    for factor in factors:
        factor.requires_grad_()
    optimizer = torch.optim.LBFGS(factors, max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        change = factors[0] @ factors[1]
        loss = (x @ change - d).square().sum() + GAMMA * (x0 @ change).square().sum() + strength * change.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    reached = float(closure().detach())
    assert best <= reached + 1e-6
    assert reached == pytest.approx(best, rel=1e-3), "descent comes close, so the bound is not empty"
