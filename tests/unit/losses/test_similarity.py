import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from withstand.losses import similarity
from withstand.losses.contrast.contrastive import dcl, nt_xent
from withstand.losses.precision import unit_rows
from withstand.losses.similarity import pairwise_logsumexp, similarity_logsumexp


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain(queries: Tensor, keys: Tensor, temperature: float, exclude: Tensor) -> Tensor:
    mask = torch.zeros(len(queries), len(keys), dtype=torch.bool).scatter(1, exclude, True)
    return (queries @ keys.T / temperature).masked_fill(mask, -torch.inf).logsumexp(1)


def gradients(values: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    upstream = draw(len(values), seed=9)  # another weight for each row, as a mean would hide mistakes
    return list(torch.autograd.grad(values @ upstream, inputs, retain_graph=True))


@pytest.fixture(params=[1, 3, 32, 1000], ids="{}-rows-a-stripe".format)
def stripes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_height", lambda *_: request.param)


@pytest.mark.usefixtures("stripes")
@pytest.mark.parametrize("excluded", [0, 1, 4])
def test_logsumexp_and_gradients_equal_the_plain_formula(excluded: int) -> None:
    queries, keys = draw(37, 5).requires_grad_(), draw(23, 5, seed=1).requires_grad_()
    exclude = torch.stack(
        [torch.randperm(23, generator=torch.Generator().manual_seed(i))[:excluded] for i in range(37)]
    )
    ours, theirs = (f(queries, keys, 0.3, exclude) for f in (similarity_logsumexp, plain))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    for a, b in zip(gradients(ours, [queries, keys]), gradients(theirs, [queries, keys]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("stripes")
@pytest.mark.parametrize("temperature", [0.5, 0.05, 0.001])
@pytest.mark.parametrize("paired", [False, True])
def test_pairwise_equals_the_plain_formula(temperature: float, paired: bool) -> None:
    raw = draw(38, 5).requires_grad_()
    points = unit_rows(raw)
    partner = torch.arange(38).roll(19)[:, None] if paired else torch.empty(38, 0, dtype=torch.int64)
    ours = pairwise_logsumexp(points, temperature, partner)
    theirs = plain(points, points, temperature, torch.cat([torch.arange(38)[:, None], partner], 1))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(*(gradients(x, [raw])[0] for x in (ours, theirs)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("temperature", [1.0, 0.07, 0.021, 0.019, 0.005])
def test_float32_is_as_good_at_every_temperature(temperature: float) -> None:
    """Both sides of the limit below which exponents need a shift; antipodal clusters are the worst case."""
    exact = torch.cat([draw(20, 8) * 0.05 + 1, draw(20, 8, seed=1) * 0.05 - 1])
    nothing = torch.empty(40, 0, dtype=torch.int64)
    results = []
    for dtype in (torch.float32, torch.float64):
        raw = exact.to(dtype).requires_grad_()
        values = pairwise_logsumexp(unit_rows(raw), temperature, nothing)
        results.append((values.double(), torch.autograd.grad(values.mean(), raw)[0].double()))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-5)
    scale = results[1][1].abs().max().item()
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0, atol=1e-5 * scale / temperature)


def test_only_wanted_gradients_are_computed() -> None:
    queries, keys = draw(4, 3).requires_grad_(), draw(6, 3)
    similarity_logsumexp(queries, keys, 1.0, torch.empty(4, 0, dtype=torch.int64)).sum().backward()
    assert queries.grad is not None
    assert keys.grad is None


class Largest(TorchDispatchMode):
    """Remembers the largest storage that any operation made, and how many products of matrices ran."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = self.products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        self.products += function.__name__.startswith(("mm", "addmm"))
        return out


@pytest.mark.parametrize("loss", [nt_xent, dcl])
def test_no_tensor_comes_near_the_whole_matrix(loss) -> None:  # type: ignore[no-untyped-def]
    z1, z2 = (draw(2048, 16, seed=s, dtype=torch.float32).requires_grad_() for s in (0, 1))
    with Largest() as largest:
        loss(z1, z2).backward()
    assert largest.products >= 3 * 32, "the stripes of both passes must be seen"
    assert largest.elements <= 128 * 4096  # the whole matrix has 32 times as many
