"""What methods with teachers, queues and predictors do in a step, and how their state goes on."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, mse_loss, normalize

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Method, Model
from withstand.losses.agreement.variance import vicreg
from withstand.methods.contrastive.nnclr import NNCLR
from withstand.methods.momentum_contrast.moco_v2 import MoCoV2
from withstand.methods.momentum_contrast.moco_v3 import MoCoV3
from withstand.methods.non_contrastive.byol import BYOL
from withstand.methods.non_contrastive.simsiam import SimSiam
from withstand.methods.non_contrastive.vicreg import VICReg
from withstand.models.blocks.memory.ema import Momentum

EXACT = {"rtol": 0, "atol": 1e-10}


class Flat(Model):
    """A linear encoder."""

    width = 12

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layer(x.flatten(1))
        return features


def batch(count: int = 8, views: int = 2, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pictures = [torch.rand(count, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(views)]
    return Batch(torch.zeros(count, 3, 2, 2), torch.arange(count), views=tuple(pictures))


MAKERS: dict[str, Callable[[], Method]] = {
    "moco v2": lambda: MoCoV2(Flat(), dim=5, queue_size=20),
    "moco v2, both ways": lambda: MoCoV2(Flat(), dim=5, queue_size=20, symmetric=True),
    "moco v3": lambda: MoCoV3(Flat(), dim=5),
    "nnclr": lambda: NNCLR(Flat(), dim=5, queue_size=20),
    "byol": lambda: BYOL(Flat(), dim=5),
    "simsiam": lambda: SimSiam(Flat(), dim=8),
    "vicreg": lambda: VICReg(Flat(), dim=5),
}


def make(name: str) -> Method:
    with isolated("joint embedding"):
        return MAKERS[name]().double()


def descend(method: Method, given: Batch, number: int, rate: float = 0.1) -> Tensor:
    """Take one step of plain gradient descent, as the engine would."""
    terms = method.step(given)
    parameters = [parameter for group in method.groups().values() for parameter in group]
    for parameter, gradient in zip(parameters, torch.autograd.grad(terms["loss"], parameters), strict=True):
        parameter.data.sub_(gradient, alpha=rate)
    method.after_step(number)
    return terms["loss"].detach()


def ce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    return cross_entropy(normalize(queries, dim=1) @ normalize(keys, dim=1).T / temperature, torch.arange(len(keys)))


def test_byol_by_its_formula() -> None:
    method = make("byol")
    v1, v2 = batch().views
    z1, z2 = (method.head(method.encoder(view)) for view in (v1, v2))
    t1, t2 = (method.teacher.network(view) for view in (v1, v2))
    expected = sum((2 - 2 * cosine_similarity(method.predictor(z), t)).mean() for z, t in ((z1, t2), (z2, t1)))
    terms = method.step(batch())
    torch.testing.assert_close(terms["loss"], expected, **EXACT)
    torch.testing.assert_close(terms["positive"], cosine_similarity(z1.float(), z2.float()).mean())


def test_simsiam_by_its_formula() -> None:
    method = make("simsiam")
    z1, z2 = (method.head(method.encoder(view)) for view in batch().views)
    p1, p2 = method.predictor(z1), method.predictor(z2)
    expected = -(cosine_similarity(p1, z2.detach()).mean() + cosine_similarity(p2, z1.detach()).mean()) / 2
    found = method.step(batch())["loss"]
    torch.testing.assert_close(found, expected, **EXACT)
    weight = method.encoder.layer.weight
    torch.testing.assert_close(torch.autograd.grad(found, weight), torch.autograd.grad(expected, weight), **EXACT)


def test_moco_v3_by_its_formula() -> None:
    method = make("moco v3")
    z1, z2 = (method.head(method.encoder(view)) for view in batch().views)
    k1, k2 = (method.teacher.network(view) for view in batch().views)
    expected = 2 * 0.2 * (ce(method.predictor(z1), k2, 0.2) + ce(method.predictor(z2), k1, 0.2))
    torch.testing.assert_close(method.step(batch())["loss"], expected, **EXACT)


def test_moco_v2_by_its_formula_and_its_queue() -> None:
    method = make("moco v2")
    q, k = method.head(method.encoder(batch().views[0])), method.teacher.network(batch().views[1])
    q, k = normalize(q, dim=1), normalize(k, dim=1)
    queue = method.queues[0]
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.rows.T], 1) / 0.2
    found = method.step(batch())["loss"]
    torch.testing.assert_close(found, cross_entropy(logits, torch.zeros(8, dtype=torch.int64)), **EXACT)
    found.backward()
    method.after_step(1)
    torch.testing.assert_close(queue.known(), k.detach(), **EXACT)


def test_both_ways_have_queues_of_their_own() -> None:
    method = make("moco v2, both ways")
    keys = [normalize(method.teacher.network(view), dim=1) for view in batch().views]
    method.step(batch())
    method.after_step(1)
    torch.testing.assert_close(method.queues[0].known(), keys[1], **EXACT)
    torch.testing.assert_close(method.queues[1].known(), keys[0], **EXACT)


def test_nnclr_takes_the_nearest_it_has_seen() -> None:
    method = make("nnclr")
    method.step(batch(seed=1))
    method.after_step(1)
    known = method.queue.known()
    assert len(known) == 8, "random rows are no neighbours"
    z1, z2 = (method.head(method.encoder(view)) for view in batch().views)
    near = [torch.stack([known[(normalize(row, dim=0) @ known.T).argmax()] for row in z]) for z in (z1, z2)]
    expected = (ce(near[0], method.predictor(z2), 0.1) + ce(near[1], method.predictor(z1), 0.1)) / 2
    torch.testing.assert_close(method.step(batch())["loss"], expected, **EXACT)


def test_vicreg_by_its_formula() -> None:
    method = make("vicreg")
    z1, z2 = (method.head(method.encoder(view)) for view in batch().views)
    terms = method.step(batch())
    torch.testing.assert_close(terms["loss"], vicreg(z1, z2), **EXACT)
    torch.testing.assert_close(terms["invariance"], mse_loss(z1, z2).detach(), **EXACT)


@pytest.mark.parametrize("name", MAKERS)
def test_the_loss_falls(name: str) -> None:
    method = make(name)
    losses = [float(descend(method, batch(), number, rate=0.01)) for number in range(1, 31)]
    # A queue that fills with keys like the queries makes MoCo's task harder than it was.
    assert losses[-1] < (max(losses) if "moco v2" in name else losses[0])


@pytest.mark.parametrize("name", ["byol", "moco v2", "moco v3"])
def test_the_teacher_follows_after_each_step(name: str) -> None:
    with isolated("joint embedding"):
        kind = {"byol": BYOL, "moco v2": MoCoV2, "moco v3": MoCoV3}[name]
        sizes = {"queue_size": 20} if name == "moco v2" else {}
        method = kind(Flat(), dim=5, momentum=Momentum(0.5, 1.0), **sizes).double()
    method.before_run(2)
    before = method.encoder.layer.weight.detach().clone()
    descend(method, batch(), 1)
    after = method.encoder.layer.weight.detach().clone()
    kept = 1 - 0.5 * 0.5  # half-way from 0.5 to 1
    teacher = method.teacher.network[0].layer.weight
    torch.testing.assert_close(teacher, kept * before + (1 - kept) * after, **EXACT)
    frozen = teacher.clone()
    descend(method, batch(), 2)
    assert torch.equal(teacher, frozen), "at the run's end the momentum is 1"


def test_without_the_stop_gradient_simsiam_collapses() -> None:
    """The paper's figure 2: the same net, once as it is and once with gradients on both sides."""
    spread = {True: 0.0, False: 0.0}
    for stop, seed in product((True, False), range(3)):
        with isolated("joint embedding", seed):
            method = SimSiam(Flat(), dim=8, stop_gradient=stop).double()
        given = batch(64)
        for number in range(300):
            descend(method, given, number, rate=1.0)
        made = normalize(method.step(given)["embeddings"][0], dim=1)
        spread[stop] += made.std(0).mean().item() * 8**0.5 / 3
    assert spread[True] > 0.9
    assert spread[False] < 0.7 * spread[True]


@pytest.mark.parametrize("name", MAKERS)
def test_one_view_or_three_are_refused(name: str) -> None:
    for views in (1, 3):
        with pytest.raises(DataError, match=f"two views of each sample, not {views}"):
            make(name).step(batch(views=views))


def test_settings_are_checked() -> None:
    for kind in (MoCoV2, MoCoV3, NNCLR):
        with pytest.raises(ConfigError, match="temperature must be above 0, not 0"):
            kind(Flat(), temperature=0)
    for kind in (MoCoV2, NNCLR):
        with pytest.raises(ConfigError, match="queue_size 4 is smaller than the batch of 8"):
            kind(Flat(), queue_size=4).double().step(batch())
    with pytest.raises(ConfigError, match="bottleneck"):
        SimSiam(Flat(), dim=4, bottleneck=5)
