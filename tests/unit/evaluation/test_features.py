import pytest
import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.random import Draws
from withstand.core.roles import View
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.features import Features, embed, embed_views


def pictures(count: int = 23) -> Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))


def test_pictures_arrive_as_floats_in_the_unit_range_in_index_order() -> None:
    x = pictures()
    found = embed(nn.Flatten(), ArraySource(x, torch.arange(23) % 3), batch=7)
    assert torch.equal(found.x, x.flatten(1).float() / 255)
    assert torch.equal(found.index, torch.arange(23))
    assert torch.equal(found.labels, torch.arange(23) % 3)
    assert found.width == 192


def test_modes_flags_buffers_and_random_state_are_restored() -> None:
    net = network()
    net[2].eval()
    before = [module.training for module in net.modules()]
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    state = torch.get_rng_state()
    found = embed(net, ArraySource(pictures()), batch=4)
    assert [module.training for module in net.modules()] == before
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, buffers[name]) for name, value in net.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)
    net.eval()
    torch.testing.assert_close(found.x, net(pictures().float() / 255).detach())


def test_a_bound_method_holds_its_module_too() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def embed(self, x: Tensor) -> Tensor:
            assert not self.training
            return self.net(x)

    model = Model()
    embed(model.embed, ArraySource(pictures()))
    assert model.training


def test_modes_are_restored_after_an_error() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(RuntimeError):
        embed(net, ArraySource(pictures()))
    assert net.training


def test_any_function_embeds_and_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    embed(lambda x: x.mean((2, 3)), ArraySource(pictures()), batch=10, progress=lambda a, b: told.append((a, b)))
    assert told == [(10, 23), (20, 23), (23, 23)]


def test_limit_takes_samples_evenly() -> None:
    assert embed(nn.Flatten(), ArraySource(pictures()), limit=5).index.tolist() == [0, 4, 9, 13, 18]


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (lambda x: x, "one vector a sample.*or flatten"),
        (lambda x: {"logits": x.flatten(1)}, "'logits'"),
        (lambda x: x[:1].flatten(1), "must give features"),
        (lambda x: torch.where(torch.arange(len(x))[:, None] == 3, torch.nan, x.flatten(1)), "first at index 3"),
    ],
)
def test_what_is_no_feature_vector_is_refused(subject, message: str) -> None:
    with pytest.raises(DataError, match=message):
        embed(subject, ArraySource(pictures()))


def test_features_refuse_what_does_not_fit() -> None:
    x, index = torch.zeros(3, 2), torch.arange(3)
    for bad in (
        lambda: Features(x.double(), None, index),
        lambda: Features(x[0], None, index),
        lambda: Features(x, torch.zeros(2, dtype=torch.int64), index),
        lambda: Features(x, torch.tensor([0, 1, -2]), index),
        lambda: Features(x, torch.zeros(3), index),
        lambda: Features(x[:0], None, index[:0]),
        lambda: Features(x / 0, None, index),
    ):
        with pytest.raises(DataError):
            bad()
    with pytest.raises(DataError, match="needs labels"):
        _ = Features(x, None, index).labels


def test_digest_knows_samples_and_labels_but_not_their_order() -> None:
    features = Features(torch.randn(9, 2), torch.arange(9) % 2, torch.arange(9))
    shuffled = features[torch.randperm(9)]
    assert shuffled.digest() == features.digest()
    assert features[torch.arange(8)].digest() != features.digest()
    assert Features(features.x, 1 - features.labels, features.index).digest() != features.digest()


class Noisy(View):
    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        x = batch.x.float() / 255
        return batch.with_views(*(x + draws.uniform(3, 8, 8) * 0.1 for _ in range(2)))


def test_views_do_not_depend_on_the_batch() -> None:
    source = ArraySource(pictures())
    first = embed_views(nn.Flatten(), source, Noisy(), batch=4)
    second = embed_views(nn.Flatten(), source, Noisy(), batch=23)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a.x, b.x)
    assert not torch.equal(first[0].x, first[1].x)


class Deep(nn.Module):
    """Five convolutions, which note the layout that their pictures came in."""

    def __init__(self, *, views: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(5)))
        self.views, self.met = views, set[bool]()

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            self.met.add(x.is_contiguous(memory_format=torch.channels_last))
        flat = x.view(len(x), -1) if self.views else x.flatten(1)
        return torch.cat([self.layers(x).mean((2, 3)), flat[:, :1]], 1)


@pytest.mark.parametrize("views", [False, True])
def test_deep_convolutional_networks_meet_their_fastest_layout(views: bool) -> None:
    """And those that call `view` meet the one that they can take."""
    network = Deep(views=views).eval()
    source = ArraySource(pictures(7))
    found = embed(network, source, batch=4)
    assert network.met == {not views}
    with torch.no_grad():
        torch.testing.assert_close(found.x, network(source[range(7)].x.float() / 255))
