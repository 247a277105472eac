"""Claims of masked methods measure what they say, tried on toys."""

from dataclasses import replace

import pytest
import torch

from toys import ToyPictures
from withstand.claims.masked import hpm, mae, sit
from withstand.claims.protocol.measures import LINEAR
from withstand.core.random import Draws
from withstand.engine.experiment import Experiment
from withstand.evaluation.restoration.restored import OFF, ORDER
from withstand.losses.restoration.reconstruction import masked_patch_error
from withstand.methods.masked.hpm import HPM
from withstand.recipes.masked import hpm as hpm_recipe
from withstand.recipes.masked import mae as mae_recipe
from withstand.recipes.masked import sit as sit_recipe
from withstand.views.masks import guided_masks

TINY = {"data": "digits", "width": 12, "depth": 1, "epochs": 1, "batch": 512}


def tried(recipe: object, **settings: object) -> Experiment:
    experiment: Experiment = recipe.experiment(replace(recipe.SETUP, **TINY), **settings)  # type: ignore[attr-defined]
    return experiment


def test_hpms_claim_compares_picked_patches_with_chance() -> None:
    claim = hpm.claim()
    found = {
        hpm.OURS: claim.measure(tried(hpm_recipe)),
        hpm.THEIRS: claim.measure(tried(mae_recipe, normalise=False)),
    }
    assert set(found[hpm.THEIRS]) == {LINEAR, hpm.UNTRAINED}
    assert set(found[hpm.OURS]) == {LINEAR, hpm.UNTRAINED, ORDER, hpm.PICKED, hpm.CHANCE}
    ours, theirs = claim.figures(found)
    assert theirs == 1
    assert ours == pytest.approx(found[hpm.OURS][hpm.PICKED] / found[hpm.OURS][hpm.CHANCE])
    (table,) = claim.tables([found, found]).values()
    assert table.column(hpm.UNTRAINED)[0] == found[hpm.OURS][hpm.UNTRAINED]
    protocol = claim.protocol({hpm.OURS: tried(hpm_recipe)}, [found])
    assert protocol["patches picked"] == "0.5 of the hidden ones, the rest drawn"


def test_picked_patches_are_half_of_those_that_are_hidden() -> None:
    method = HPM.example().eval()
    batch = ToyPictures(6, size=8)[range(6)]
    x = batch.x.float() / 255
    keep, hidden = guided_masks(Draws(0, batch.index), method.difficulty(x), 0.75, 6)
    expected = masked_patch_error(method.restored(x, keep, hidden), method.encoder.patches(x), hidden, False)
    torch.testing.assert_close(hpm._errors(method, batch, picked=True), expected)
    assert not torch.allclose(hpm._errors(method, batch, picked=False), expected)


def test_maes_claim_compares_two_shares_of_hidden_patches() -> None:
    claim = mae.claim()
    shares = {mae.MUCH: 0.75, mae.LITTLE: 0.25}
    found = {name: claim.measure(tried(mae_recipe, ratio=ratio)) for name, ratio in shares.items()}
    assert claim.figures(found) == (found[mae.MUCH][LINEAR], found[mae.LITTLE][LINEAR])
    assert OFF in claim.tables([found])


def test_both_arms_of_maes_claim_hide_what_their_names_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mae, "replace", lambda setup, **changes: replace(setup, **(changes | TINY)))
    methods = {name: arm(3).method for name, arm in mae.claim().arms.items()}
    assert {name: method.ratio for name, method in methods.items()} == {mae.MUCH: 0.75, mae.LITTLE: 0.25}


def test_sits_claim_compares_both_tasks_with_contrast_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sit, "replace", lambda setup, **changes: replace(setup, **(changes | TINY)))
    claim = sit.claim()
    assert claim.names == (sit.BOTH, sit.CONTRAST)
    methods = {name: arm(3).method for name, arm in claim.arms.items()}
    assert {name: (method.decoder is not None, method.head is not None) for name, method in methods.items()} == {
        sit.BOTH: (True, True),
        sit.CONTRAST: (False, True),
        sit.RESTORATION: (True, False),
    }
    small = claim.measure(tried(sit_recipe, hidden=8, dim=4))
    assert claim.figures({sit.BOTH: small, sit.CONTRAST: {LINEAR: 0.5}}) == (small[LINEAR], 0.5)
