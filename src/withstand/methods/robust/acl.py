"""ACL: any method on two views, learning from attacked views as well, without labels.

paper: Robust Pre-Training by Adversarial Contrastive Learning (2020), its dual-stream form
needs: two views            modalities: any with an encoder and views in [0, 1]
sizes: B samples
differences: the paper wraps SimCLR alone; here the wrapped method's own loss is raised by the attack and lowered by
    the training, whatever it is. The adversarial bank is the encoder's own, so that what users take away is a
    plain network, normalised as on attacked inputs; the clean bank is thrown away.
"""

from typing import Self

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Terms
from withstand.methods.shared.adversarial_training.attack_in_training import (
    BatchLoss,
    attack_in_training,
    refuse_single_samples,
)
from withstand.methods.shared.pairs import example_of_pairs, view_pair
from withstand.methods.shared.wrappers.wrapper import Wrapper
from withstand.models.blocks.normalization.second_bank import SecondBank

ATTACK = PGD(steps=5, step_size=0.25, keep_best=False)
"""The paper's: five steps of eps/4 from a uniform start, the last point."""


class ACL(Wrapper):
    """Robust pretraining: the mean of a method's loss on clean views and on views attacked to raise it.

    Args:
        method: a method on two views, say SimCLR; its `step` alone is used, not an `update` of its own.
        attack: the inner attack, on both views at once; its objective is the method's loss. An L2 radius is the pair's.
        clean_weight: weight of the clean views' loss; the attacked views' has 1 minus it.
        two_banks: give clean views batch normalisations of their own; else both kinds share one bank.
    """

    def __init__(
        self,
        method: Method,
        *,
        attack: InputAttack = ATTACK,
        clean_weight: float = 0.5,
        two_banks: bool = True,
    ) -> None:
        super().__init__(method)
        if not 0 <= clean_weight < 1:
            raise ConfigError(f"clean_weight must lie in [0, 1), not {clean_weight!r}")
        refuse_single_samples(attack)
        self.attack, self.clean_weight = attack, clean_weight
        self.clean_bank = SecondBank(method) if two_banks and clean_weight else None

    @classmethod
    def example(cls) -> Self:
        return cls(example_of_pairs())

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its halves, `clean_loss` and `attacked_loss`, and the wrapped method's terms, clean."""
        worse = self.attacked(batch)
        if not self.clean_weight:
            return self.inside(worse)
        clean = self._clean(batch)
        attacked = self.inside(worse)
        return {
            **clean,
            "loss": self.clean_weight * clean["loss"] + (1 - self.clean_weight) * attacked["loss"],
            "clean_loss": clean["loss"].detach(),
            "attacked_loss": attacked["loss"].detach(),
        }

    def attacked(self, batch: Batch) -> Batch:
        """Return the batch with both views attacked to raise the wrapped method's loss, in eval mode."""
        views = unit_range(torch.stack(view_pair(batch), 1))  # (B, 2, ...): a sample is both of its views
        draws = batch.draws("inner attack")

        def forward(pairs: Tensor) -> Tensor:
            loss: Tensor = self.method(batch.with_views(*pairs.unbind(1)))["loss"]
            return loss.expand(len(pairs), 1)

        goal = views.new_zeros(len(views), 1)
        worse = attack_in_training(self.method, forward, self.attack, views, goal, draws, objective=BatchLoss())
        return batch.with_views(*worse.unbind(1))

    def _clean(self, batch: Batch) -> Terms:
        """Return the wrapped method's terms on the clean views, through their bank."""
        if self.clean_bank is None:
            return self.inside(batch)
        terms: Terms = self.clean_bank.run(self.method, batch)
        return terms
