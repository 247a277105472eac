"""Texts, embeddings under a ball round each token, and recordings of many lengths go the whole way, as pictures do.

Nothing below is special to them: what is shared may not take its samples for pictures.
"""

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import faults
import withstand as ws
from faults import FaultyView, Stop
from modalities import NUMBERS, Embedded, GuessWords, Hide, HoldMeaning, Reader, Recordings, Shake, Texts
from toys import toy_experiment, weights
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.batch import Batch, as_structured
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, isolated
from withstand.core.sequences import Sequences
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.numerics import Numerics, choose
from withstand.engine.optimizers import AdamW
from withstand.evaluation.features import embed

ALLOW = ("modalities", "faults")


def texts() -> Experiment:
    return Experiment("texts", Texts(), Hide(), GuessWords(Reader()), _plan(), test=Texts(32, seed=1))


def embeddings() -> Experiment:
    ball = Ball("l2", 0.5, per="token")
    method = HoldMeaning(Reader(4), PGD(ball, EmbeddingDistance(), steps=2, keep_best=False))
    return Experiment("embeddings", Embedded(), Shake(), method, _plan(), test=Embedded(32, seed=1))


def recordings() -> Experiment:
    method = HoldMeaning(Reader(NUMBERS), PGD(Ball("l2", 1.0), EmbeddingDistance(), steps=2, keep_best=False))
    return Experiment("recordings", Recordings(), Shake(), method, _plan(), test=Recordings(32, seed=1))


def _plan() -> Plan:
    return Plan(epochs=2, batch=12, optimizer=AdamW(0.01), precision="float32", save_every=0, log_every=1)


def made(case: Callable[[], Experiment]) -> Experiment:
    with isolated(0):
        return case()


every_case = pytest.mark.parametrize("case", [texts, embeddings, recordings])
of_lengths = pytest.mark.parametrize("case", [texts, recordings])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], Experiment]], Path]:
    """Train each case once."""
    done: dict[str, Path] = {}

    def run(case: Callable[[], Experiment]) -> Path:
        name = case.__name__
        if name not in done:
            done[name] = tmp_path_factory.mktemp(name) / "run"
            faults.arrange()
            train(_faulty(case), done[name], quiet=True, allow=ALLOW)
        return done[name]

    return run


Runs = Callable[[Callable[[], Experiment]], Path]


def _faulty(case: Callable[[], Experiment]) -> Experiment:
    experiment = made(case)
    return replace(experiment, view=FaultyView(experiment.view))


def padded(batch: Batch) -> Batch:
    """Return a batch of sequences with three more steps of padding, in its views too."""

    def longer(samples: Tensor) -> Tensor:
        own = Sequences.of(samples)
        more = own.values.new_zeros(len(own), 3, *own.values.shape[2:])
        return Sequences(torch.cat([own.values, more], 1), own.lengths).as_samples()

    return replace(batch, x=longer(batch.x), views=tuple(map(longer, batch.views)))


@of_lengths
def test_neither_features_nor_loss_know_how_far_a_batch_is_padded(case: Callable[[], Experiment]) -> None:
    experiment = made(case)
    batch = experiment.method.example_batch() if case is texts else None
    if batch is None:
        source = Recordings(8)
        batch = Shake()(source[range(8)], Draws(0, torch.arange(8)))
    method = experiment.method
    torch.testing.assert_close(method.step(padded(batch))["loss"], method.step(batch)["loss"])
    torch.testing.assert_close(method.embed(padded(batch).x), method.embed(batch.x))
    whole = embed(method, experiment.source)
    alone = embed(method, experiment.source, batch=1)
    torch.testing.assert_close(alone.x, whole.x)


@every_case
def test_it_resumes_exactly_in_mid_epoch(case: Callable[[], Experiment], runs: Runs, tmp_path: Path) -> None:
    whole = weights(runs(case))
    faults.arrange(stop_view=4)
    with pytest.raises(Stop):
        train(_faulty(case), tmp_path / "stopped", quiet=True, allow=ALLOW)
    faults.arrange()
    train(_faulty(case), tmp_path / "stopped", quiet=True, allow=ALLOW)
    assert faults.plan.views == 5, "it went on from where it stopped"
    for name, value in weights(tmp_path / "stopped").items():
        assert torch.equal(value, whole[name]), name


@pytest.mark.thorough
@every_case
def test_two_processes_learn_what_one_does(case: Callable[[], Experiment], runs: Runs, tmp_path: Path) -> None:
    experiment = _faulty(case)
    two = replace(experiment, plan=replace(experiment.plan, processes=2))
    train(two, tmp_path / "shared", quiet=True, allow=ALLOW)
    whole = weights(runs(case))
    for name, value in weights(tmp_path / "shared").items():
        torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=1e-6)


@every_case
def test_numerics_reach_the_numbers_alone(case: Callable[[], Experiment]) -> None:
    experiment = made(case)
    chosen = choose(replace(experiment, plan=replace(experiment.plan, precision="auto")), torch.device("cpu"))
    assert chosen.layout == "contiguous", chosen.reason
    batch = experiment.source[range(6)]
    double = Numerics("float64", "channels-last").cast(batch.x)
    values = double if isinstance(double, Tensor) else Sequences.of(double).values
    assert values.dtype == (torch.int64 if case is texts else torch.float64)
    if (whole := as_structured(double)) is not None:
        assert whole.tensors()["lengths"].dtype == torch.int64
    for numerics in (Numerics("bfloat16", "contiguous"), Numerics("float64", "contiguous")):
        method = made(case).method
        numerics.prepare(method)
        viewed = experiment.view(batch, Draws(0, torch.arange(6)))
        viewed = replace(viewed, x=numerics.cast(viewed.x), views=tuple(map(numerics.cast, viewed.views)))
        with numerics.autocast(torch.device("cpu")):
            loss = method.step(viewed)["loss"]
        loss.backward()
        assert bool(torch.isfinite(loss))


def test_embeddings_are_attacked_token_by_token_and_ids_are_not() -> None:
    x, y = Embedded(8)[range(8)].x, torch.arange(8) % 2
    with isolated(0):
        encoder = Reader(4)
        network = nn.Sequential(encoder, nn.Linear(encoder.width, 2))
    ball = Ball("l2", 0.5, per="token")
    victim = Victim(network, low=-torch.inf, high=torch.inf)
    ready = victim.ready(x)
    assert torch.equal(ready, x), "an input range without ends changes nothing"
    found = PGD(ball, steps=4)(victim, ready, y)
    sizes = (found.x - x).norm(dim=2)
    assert (sizes <= 0.5 + 1e-6).all()
    assert (sizes.amax(1) > 0.4).all()
    for ids, words in (
        (torch.ones(2, 3, dtype=torch.int64), "of token ids, the embeddings can be moved"),
        (Texts()[[0, 1]].x, "these samples are Sequences, of several tensors"),
    ):
        with pytest.raises(DataError, match=words):
            victim.ready(ids)
    # Recordings of one length are a tensor, and are attacked as one.
    whole = Victim(Reader(NUMBERS), low=-torch.inf, high=torch.inf)
    one = torch.randn(3, 4, NUMBERS, generator=torch.Generator().manual_seed(0))
    moved = PGD(Ball("l2", 0.5), EmbeddingDistance(), steps=2)(whole, whole.ready(one))
    assert (moved.norm > 0).all()


@pytest.mark.parametrize("per", ["token", "sample"])
def test_training_attacks_move_what_is_a_samples_own(per: str) -> None:
    source = Recordings(8)
    batch = replace(Shake()(source[range(8)], Draws(0, torch.arange(8))), seed=3)
    with isolated(0):
        encoder = Reader(NUMBERS)
    ball = Ball("l2", 0.5, per=per)  # type: ignore[arg-type]
    method = HoldMeaning(encoder, PGD(ball, EmbeddingDistance(), steps=2, keep_best=False))
    clean, worse = Sequences.of(batch.views[0]), method.attacked(batch)
    delta = worse.values - clean.values
    assert not delta[~clean.mask].any(), "padding stays"
    assert (ball.size(delta) <= 0.5 + 1e-6).all()
    assert (ball.size(delta) > 0.25).all()


@pytest.mark.thorough
@every_case
def test_a_run_is_embedded_probed_exported_and_reported(
    case: Callable[[], Experiment], runs: Runs, tmp_path: Path
) -> None:
    run = ws.Run(runs(case), allow=ALLOW, device="cpu")
    features = run.embed()
    assert features.x.shape == (48 + 32, 8)
    findings = {finding.name: finding for finding in run.probe()}
    assert "linear" in findings
    page = re.sub(r"(?s)<(style|script).*?</\1>", "", run.report().read_text())
    shown = html.unescape(re.sub(r"<[^>]+>", " ", page))
    assert f"learnt from 48 unlabelled {made(case).source.kind}s" in shown
    assert "picture" not in shown.lower()
    for part in ("encoder", "classifier"):
        assert run.export(tmp_path / f"{part}.safetensors", part=part).is_file()
    if case is embeddings:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        assert run.export(tmp_path / "encoder.onnx", form="onnx").is_file()
        found, batch = run.attack(norm="l2", eps=0.5, samples=8)
        assert float(batch.x.min()) < 0
        assert (found.norm <= 0.5 + 1e-6).all()
        assert (found.norm > 0.25).all()
        with pytest.raises(ConfigError, match="eps 8/255 is a share of the input range, which is -inf to inf"):
            run.audit(samples=4)
        audit = run.audit(norm="l2", eps=0.5, samples=8, steps=2, ensemble="none")
        assert audit.figures
        with pytest.raises(ConfigError, match="FAB projects onto the input range, which has to have ends"):
            FAB(Ball("l2", 0.5), steps=2)(run.victim()[0], batch.x, batch.y)
        with pytest.raises(ConfigError, match="a certificate needs an input range with ends"):
            run.certify(norm="l2", eps=0.01, samples=4, method="crown", timeout=2)
    else:
        with pytest.raises(ConfigError, match=r"come as Sequences.*use the form safetensors"):
            run.export(tmp_path / "encoder.onnx", form="onnx")
        with pytest.raises(DataError, match="these samples are Sequences"):
            run.audit(samples=4)
        with pytest.raises(DataError, match="these samples are Sequences"):
            run.attack(samples=4)


def test_features_of_each_step_are_refused_with_what_to_do() -> None:
    with pytest.raises(DataError, match=r"one vector a sample, not \(4, 6, 4\): take a mean .*over its own alone"):
        embed(lambda x: x, Embedded(4))


def test_one_sample_makes_a_batch_where_samples_are_not_compared() -> None:
    experiment = made(texts)
    replace(experiment, plan=replace(experiment.plan, batch=1)).check()
    with pytest.raises(ConfigError, match="batch must be at least 2, not 1: SimCLR compares samples"):
        toy_experiment(batch=1).check()
