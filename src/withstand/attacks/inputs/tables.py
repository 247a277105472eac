"""Attacks on table rows whose outcome is a row again: numbers within ranges, whole numbers whole, one category each.

Sizes: `N` rows, `W` slots of a row (see `withstand.data.tables.schema`), `Dn` numeric columns.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import as_objective
from withstand.attacks.problem import Problem, make_problem
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import Draws
from withstand.core.roles import Attack, Attacked
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.data.tables.schema import RESERVED, Schema, changes_of

Range = tuple[str, float, float]


@dataclass(frozen=True)
class RowAttack(Attack):
    """An attack on the numbers of a row, then a greedy search over its categories; columns keep their kinds.

    The inner attack moves the numeric columns that may change, each by at most eps of its training range. What it found
    is made a row again, towards the clean row, so that it stays in the ball: numbers into their ranges, whole ones to
    whole numbers. Then, one column after the other, the category is changed that raises the objective most: the
    gradient names `tried` candidates for each row, and each is put to the victim. Missing values stay missing, no
    category becomes missing or unknown, and a change that does not help is undone.

    Args:
        schema: the columns.
        attack: what moves the numbers; any attack on inputs.
        categories: how many categorical columns of a row may change.
        immutable: columns that stay as they are.
        ranges: (column, low, high) in the table's own units, of numeric columns narrower than in training.
        tried: candidates put to the victim for each row and change.
    """

    schema: Schema
    attack: InputAttack = PGD(Ball("linf", 0.05), steps=20)  # noqa: RUF009 - a frozen value
    categories: int = 0
    immutable: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    tried: int = 8

    def __post_init__(self) -> None:
        for name in (*self.immutable, *(name for name, _, _ in self.ranges)):
            if name not in self.schema.fields:
                raise ConfigError(f"the schema has no column {name!r}: {nearest(name, self.schema.fields)}")
        numeric = {column.name for column in self.schema.numeric}
        for name, low, high in self.ranges:
            if name not in numeric or not low <= high:
                raise ConfigError(
                    f"a range is (numeric column, low, high) with low at most high, not {(name, low, high)}"
                )
        if self.categories < 0 or self.tried < 1:
            raise ConfigError(f"categories must be at least 0 and tried at least 1: {self.categories}, {self.tried}")
        if self.attack.ball.norm != "linf":
            raise ConfigError(f"columns have ranges, so the ball's norm is 'linf', not {self.attack.ball.norm!r}")

    def __call__(
        self,
        victim: Victim,
        x: Tensor,
        y: Tensor | None = None,
        *,
        generator: Draws | torch.Generator | int | None = None,
    ) -> Attacked:
        """Attack rows of slots `(N, W)`.

        Raises:
            DataError: rows of another width, or that are no rows of such a table.
        """
        x = victim.check(x.detach())
        if x.dim() != 2 or x.shape[1] != self.schema.width:
            raise DataError(f"rows must be (N, {self.schema.width}) for this schema, not {tuple(x.shape)}")
        found = self.attack(victim, x, y, generator=generator, mask=self._mask(x))
        if not len(x):
            return found
        whole = victim.free()
        objective = as_objective(self.attack.objective)
        with victim.held():
            problem = make_problem(whole, objective, self.attack.ball, x, y)
            worse = self._row(found.x, x)
            for _ in range(self.categories):
                worse = self._flip(problem, worse, x)
            gain, success = problem.values(worse)
            clean_gain, clean_success = problem.values(x)
            # Rounding may undo what the numbers gained: then the clean row is no worse a find.
            back = (~success & clean_success) | ((success == clean_success) & (clean_gain > gain))
            worse = torch.where(back[:, None], x, worse)
            gain, success = problem.values(worse)
        targeted = self.attack.ball.targeted
        count = len(self.schema.numeric)
        moved = (worse - x)[:, :count].abs()
        return Attacked(
            x=worse,
            success=success,
            loss=-gain if targeted else gain,
            norm=moved.amax(1) if count else moved.sum(1),
            queries=found.queries + problem.queries,
        )

    def _mask(self, x: Tensor) -> Tensor:
        """Return where numbers may move, bool `(N, W)`: not in immutable columns, not where there is none."""
        return changes_of(self.schema, self.immutable).mask(x)

    def _row(self, worse: Tensor, x: Tensor) -> Tensor:
        """Return valid rows between the clean and the attacked ones."""
        worse = worse.clone()
        limits = {name: (low, high) for name, low, high in self.ranges}
        for place, column in enumerate(self.schema.numeric):
            clean, value = x[:, place].double(), worse[:, place].double()
            span = column.high - column.low
            if column.name in limits:
                low, high = ((end - column.low) / span for end in limits[column.name])
                inside = value.clamp(low, high)
                # A clean value outside the range may stay, but not go further.
                value = torch.where((clean < low) | (clean > high), clean, inside)
            if column.step:
                steps = (value - clean) * span / column.step
                value = clean + torch.trunc(steps + 1e-4 * steps.sign()) * column.step / span
            worse[:, place] = value.clamp(0, 1).to(worse.dtype)
        return worse

    def _flip(self, problem: Problem, rows: Tensor, x: Tensor) -> Tensor:
        """Return rows with the one category changed, in a column unchanged so far, that raises the gain most."""
        gain, success, slope = problem.gradient(rows)
        promise = torch.full_like(rows, -torch.inf)
        for column, first in zip(self.schema.categorical, self.schema.offsets.tolist(), strict=True):
            if column.name in self.immutable or len(column.categories) < 2:
                continue
            block, known = slice(first, first + column.slots), slice(first, first + column.slots - RESERVED)
            now = (slope[:, block] * rows[:, block]).sum(1, keepdim=True)
            same = (rows[:, block] == x[:, block]).all(1, keepdim=True)
            open_to = same & (rows[:, known] < 0.5) & (rows[:, known].sum(1, keepdim=True) > 0.5)
            promise[:, known] = torch.where(open_to, slope[:, known] - now, -torch.inf)
        best, best_gain, best_success = rows.clone(), gain.clone(), success.clone()
        worth, slots = promise.topk(min(self.tried, promise.shape[1]), 1)
        for place in range(slots.shape[1]):
            usable = worth[:, place].isfinite()
            if not bool(usable.any()):
                break
            tried = torch.where(usable[:, None], self._swapped(rows, slots[:, place]), rows)
            new_gain, new_success = problem.values(tried)
            better = usable & ((new_success & ~best_success) | ((new_success == best_success) & (new_gain > best_gain)))
            best = torch.where(better[:, None], tried, best)
            best_gain = torch.where(better, new_gain, best_gain)
            best_success |= better & new_success
        return best

    def _swapped(self, rows: Tensor, slots: Tensor) -> Tensor:
        """Return rows with the slot set and the others of its column cleared."""
        owner = torch.full((self.schema.width,), -1, dtype=torch.int64)
        for number, (column, first) in enumerate(
            zip(self.schema.categorical, self.schema.offsets.tolist(), strict=True)
        ):
            owner[first : first + column.slots] = number
        mine = owner[None] == owner[slots][:, None]
        changed = torch.where(mine & (owner >= 0)[None], torch.zeros_like(rows), rows)
        return changed.scatter(1, slots[:, None], 1.0)

    def at(self, eps: float) -> "RowAttack":
        """Return the same attack with another radius of the numbers."""
        return replace(self, attack=self.attack.at(eps))
