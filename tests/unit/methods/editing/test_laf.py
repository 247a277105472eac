"""Forgetting without labels: closed forms, what stays as it is, what is refused, and a run."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import again
from withstand.core.random import isolated
from withstand.core.roles import Method, network_of
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.subset import Subset
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.continual.unlearning import GAP, GAP_BEFORE, Unlearning
from withstand.losses.unlearning import alignment, bounded_distance, turned
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.editing.laf import ALIGNMENT, EXTRACTION, LAF, HeadRepair, RepresentationVAEs, Retrained
from withstand.methods.shared.labelled import LabelledMethod
from withstand.models.blocks.feature_vae import FeatureVAE
from withstand.models.blocks.heads import ProjectionHead
from withstand.recipes.editing.laf import SETUP, experiment
from withstand.recipes.setups.staged.forgetting import places
from withstand.views.columns import AsIs


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_bounded_distance() -> None:
    x = drawn(5, 3)
    assert torch.equal(bounded_distance(x, x), torch.ones(5, dtype=torch.float64))
    far = bounded_distance(x + 1e6, x)
    assert bool((far < math.e).all())
    assert bool((far > 2.7).all())
    distance = (drawn(5, 3, seed=1) - x).square().sum(1)
    torch.testing.assert_close(bounded_distance(drawn(5, 3, seed=1), x), torch.exp(distance / (distance + 1)))
    apart = torch.tensor([0.0, 1.0, 1e3], dtype=torch.float64)
    moved = torch.zeros(3, 1, dtype=torch.float64).requires_grad_()
    bounded_distance(moved, apart[:, None]).sum().backward()
    assert moved.grad is not None
    pull = moved.grad.abs()[:, 0]
    assert float(pull[0]) == 0
    assert float(pull[1]) > 1e3 * float(pull[2]) > 0


def test_alignment_of_what_has_not_turned() -> None:
    kept, gone = drawn(4, 6), drawn(7, 6, seed=1)
    assert float(alignment(kept, kept, gone, gone, 5.0)) == pytest.approx(-math.log(7), abs=1e-12)


def test_alignment_is_the_official_computation_over_the_batch() -> None:
    kept, kept_before, gone, gone_before = (drawn(5, 4, seed=seed) for seed in range(4))
    same = torch.ones(5, dtype=torch.float64)
    away = nn.CosineEmbeddingLoss(reduction="none")
    stay, leave = away(kept, kept_before, same), away(gone, gone_before, same) / 3.0
    official = torch.log(torch.exp(stay) / torch.exp(leave).sum()).sum()
    ours = alignment(kept, kept_before, gone, gone_before, 3.0)
    torch.testing.assert_close(5 * ours, official)
    torch.testing.assert_close(alignment(9 * kept, kept_before / 2, gone, 4 * gone_before, 3.0), ours)
    flat = alignment(kept, kept_before, gone, gone_before, 1e12)
    assert float(flat) == pytest.approx(float(stay.mean()) - math.log(5), abs=1e-9)


def test_a_zero_row_has_turned_by_1_and_pulls_nothing() -> None:
    zero = torch.zeros(1, 3).requires_grad_()
    found = turned(zero, torch.ones(1, 3))
    found.sum().backward()
    assert float(found.detach()) == 1
    assert zero.grad is not None
    assert bool(zero.grad.isfinite().all())


def test_the_autoencoder_is_the_official_one() -> None:
    vae = FeatureVAE(6, 2, hidden=(5, 3), sigmoid=True).double()
    x, noise = drawn(4, 6), drawn(4, 2, seed=1)
    restored, mean, _ = vae(x, noise)
    first, second = (vae.encoder.get_submodule(name) for name in ("0", "2"))
    inside = second(first(x).relu()).relu()
    torch.testing.assert_close(mean, vae.mean(inside))
    code = mean + torch.exp(0.5 * vae.log_variance(inside)) * noise
    layers = [module for module in vae.decoder.modules() if isinstance(module, nn.Linear)]
    torch.testing.assert_close(restored, layers[2](layers[1](layers[0](code).relu()).relu()).sigmoid())
    assert float(FeatureVAE(6, 2)(x.float(), noise.float())[0].min()) < 0
    with pytest.raises(ConfigError, match="latent"):
        FeatureVAE(6, 0)


class Plain(LabelledMethod):
    """needs: labels"""

    def step(self, batch):  # type: ignore[no-untyped-def]
        logits = self.logits(batch.x)
        return {"loss": nn.functional.cross_entropy(logits, self.labels(batch))}


def blobs(count: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % classes
    return torch.randn(count, 6, generator=generator) + 4 * torch.eye(6)[y], y


def first(y: Tensor | None = None) -> Experiment:
    x, labels = blobs(240)
    with isolated("laf"):
        method = Plain(ProjectionHead(6, 16, 8, batch_norm=False), 3)
    plan = Plan(epochs=8, batch=40, optimizer=Adam(0.01), schedule=Constant(), precision="float32")
    source = ArraySource(x, labels if y is None else y)
    return Experiment("plain", source, AsIs(), method, plan, ArraySource(*blobs(120, seed=1)))


def trained(made: Experiment, path: Path) -> Method:
    run = train(made, path, quiet=True, allow=("test_laf",))
    checkpoint.load(run.checkpoints, made.method)
    return made.method.eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, LAF]:
    setup = replace(SETUP, first=first(), forget="class:1", epochs=20, learning_rate=3e-3)
    made = experiment(setup, vae_epochs=15, retrain=True)
    method = trained(made, tmp_path_factory.mktemp("laf") / "run")
    assert isinstance(method, LAF)
    return made, method


def test_a_class_is_forgotten_and_the_others_are_kept(run: tuple[Experiment, LAF]) -> None:
    made, method = run
    finding = made.judges[0].evaluate(method, made.source, test=made.test)
    (table,) = finding.tables.values()
    rows = {str(row[0]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert list(rows) == ["before", "after", "retrained"]
    assert rows["before"]["forgotten"] == 1.0
    assert rows["retrained"]["forgotten"] == 0.0
    assert float(str(rows["after"]["forgotten"])) <= 0.2
    assert float(str(rows["after"]["test"])) >= 0.9
    assert rows["before"]["steps to relearn"] == 0
    assert int(str(rows["after"]["steps to relearn"])) > 0
    assert finding.figures[GAP].value < finding.figures[GAP_BEFORE].value
    assert [check.passed for check in finding.checks[:4]] == [True] * 4
    with isolated("laf"):
        spoilt = again(method)
    spoilt.load_state_dict(method.state_dict())
    spoilt.classifier.bias.data[0] += 1e6
    found = made.judges[0].evaluate(spoilt, made.source, test=made.test)
    failed = [check.name for check in found.checks if check.passed is False]
    assert failed == ["what remains is still told"], "one answer for all has forgotten the class"


def test_the_head_and_what_was_before_stay_to_the_bit(run: tuple[Experiment, LAF]) -> None:
    made, method = run
    head, before = method.classifier, method.before.get_submodule("head")
    assert isinstance(before, nn.Linear)
    assert torch.equal(head.weight, before.weight)
    assert torch.equal(head.bias, before.bias)
    vaes = made.first
    assert isinstance(vaes, Experiment)
    for ours, theirs in zip(method.encoder.parameters(), method.aligned.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert any(
        not torch.equal(ours, theirs)
        for ours, theirs in zip(
            method.encoder.parameters(), method.before.get_submodule("encoder").parameters(), strict=True
        )
    )


def test_labels_change_nothing(tmp_path: Path) -> None:
    found = []
    setup = replace(SETUP, forget=torch.arange(40), epochs=2, learning_rate=1e-3)
    path = tmp_path / "first"
    plain = first()
    train(plain, path, quiet=True, allow=("test_laf",))
    for place, labels in enumerate((None, torch.randint(0, 3, (240,), generator=torch.Generator().manual_seed(3)))):
        made = experiment(replace(setup, first=first(labels)), vae_epochs=2)
        vaes = made.first
        assert isinstance(vaes, Experiment)
        made = replace(made, first=replace(vaes, first=str(path)))
        found.append(trained(made, tmp_path / str(place)).state_dict())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_two_steps_are_those_of_two_optimizers_on_one_encoder() -> None:
    with isolated("laf"):
        method = LAF.example()
    method.aligned.load_state_dict(method.encoder.state_dict())
    plain, batch = type(method)(**method._init_args), method.example_batch()
    plain.load_state_dict(method.state_dict())
    rates = {EXTRACTION: 1e-3, ALIGNMENT: 3e-3}

    class Loop:
        def __init__(self) -> None:
            self.optimizers = {name: torch.optim.Adam(group, rates[name]) for name, group in method.groups().items()}

        def terms(self, batch, objective=None):  # type: ignore[no-untyped-def]
            return objective(batch)

        def descend(self, loss, group="main", *, retain=False):  # type: ignore[no-untyped-def]
            self.optimizers[group].zero_grad()
            loss.backward(inputs=list(method.groups()[group]))
            self.optimizers[group].step()

    official = {name: torch.optim.Adam(plain.encoder.parameters(), rate) for name, rate in rates.items()}
    plain.aligned = plain.encoder
    loop = Loop()
    for _ in range(3):
        method.update(batch, loop)
        for name, objective in ((EXTRACTION, plain.extraction), (ALIGNMENT, plain.turning)):
            official[name].zero_grad()
            objective(batch)["loss"].backward()
            official[name].step()
    for ours, theirs in zip(method.encoder.parameters(), plain.encoder.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_repair_changes_the_head_alone(run: tuple[Experiment, LAF], tmp_path: Path) -> None:
    _, method = run
    made = experiment(replace(SETUP, first=first(), forget="class:1", epochs=1), vae_epochs=1, labels=3)
    assert len(made.source) == 6
    assert isinstance(made.method, HeadRepair)
    repair = made.method
    repair.inherit(method if method.retrained is None else _without(method))
    kept = {name: value.clone() for name, value in repair.state_dict().items()}
    optimizer = torch.optim.Adam(repair.groups()["main"], 0.1)
    repair.step(made.source[range(6)])["loss"].backward()
    optimizer.step()
    changed = {name for name, value in repair.state_dict().items() if not torch.equal(value, kept[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def _without(method: LAF) -> LAF:
    plain = LAF(method._init_args["encoder"], 3)
    state = {name: value for name, value in method.state_dict().items() if not name.startswith("retrained.")}
    plain.load_state_dict(state)
    return plain


def test_a_reference_that_there_is_not() -> None:
    with isolated("laf"):
        one = RepresentationVAEs.example()
        two = RepresentationVAEs(one._init_args["encoder"], 4, latent=2, reference=True)
    with pytest.raises(ConfigError, match="retrained"):
        two.inherit(one)
    with pytest.raises(ConfigError, match="RepresentationVAEs"):
        LAF.example().inherit(HeadRepair.example())
    assert network_of(Retrained.example(), "classifier") is not None


@pytest.mark.parametrize(
    ("meant", "error", "said"),
    [
        ("class:7", ConfigError, "is no class"),
        ((), DataError, "nothing to forget"),
        (tuple(range(12)), DataError, "something must remain"),
        ((3, 12), DataError, "places count from 0 to 11"),
        ((3, -1), DataError, "names sample -1"),
        ((3, 3), DataError, "more than once"),
        ("missing.txt", ConfigError, "is no file"),
    ],
)
def test_what_cannot_be_forgotten(meant: str | tuple[int, ...], error: type[Exception], said: str) -> None:
    source = ArraySource(*blobs(12), classes=("a", "b", "c"))
    with pytest.raises(error, match=said):
        places(meant, source)


def test_places_from_words_and_files(tmp_path: Path) -> None:
    source = ArraySource(*blobs(12), classes=("a", "b", "c"))
    assert places("class:b", source) == places("class:1", source) == [1, 4, 7, 10]
    path = tmp_path / "index.txt"
    path.write_text("7\n\n 2 \n", encoding="utf-8")
    assert places(str(path), source) == [2, 7]
    path.write_text("7\ntwo\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 2 of index.txt is 'two'"):
        places(str(path), source)
    with pytest.raises(DataError, match="no labels"):
        places("class:1", ArraySource(blobs(12)[0]))


def test_a_class_that_is_called_by_a_number_is_not_taken_for_the_one_in_that_place() -> None:
    source = ArraySource(*blobs(12), classes=("1", "2", "7"))
    assert places("class:2", source) == [1, 4, 7, 10]
    with pytest.raises(ConfigError, match="'class:0' is no class"):
        places("class:0", source)


def test_runs_that_are_refused() -> None:
    with pytest.raises(ConfigError, match="--first"):
        experiment()
    plain = first()
    with isolated("laf"):
        bare = replace(plain, method=SimCLR(ProjectionHead(6, 16, 8, batch_norm=False)))
    with pytest.raises(ConfigError, match="gives no classifier"):
        experiment(replace(SETUP, first=bare, forget="class:1"))


def test_the_judge_says_what_it_needs() -> None:
    judge, source = Unlearning.example(), ArraySource(*blobs(12))
    assert "has not kept" in judge.lacks(nn.Identity(), source)
    with pytest.raises(DataError, match="test samples"):
        replace(judge, unseen=None).evaluate(LAF.example(), source)
    assert judge.unseen is not None
    with pytest.raises(DataError, match="it needs 2, and there are 1"):
        judge.evaluate(LAF.example(), source, test=Subset(judge.unseen, [0]))
    unlabelled = Unlearning(Subset(ArraySource(blobs(12)[0]), [0, 1]), source)
    assert "labels" in unlabelled.lacks(LAF.example(), source)
