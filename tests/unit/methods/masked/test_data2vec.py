"""data2vec against the official computation, written out plainly: means of normalised upper blocks, smooth L1."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws, isolated
from withstand.methods.masked.data2vec import Data2Vec
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT, positions
from withstand.views.masks import blockwise_masks


def made(**settings: object) -> Data2Vec:
    with isolated("data2vec"):
        encoder = Normalized(ViT(2, 24, 3, 3, pooling="cls"), (0.5,) * 3, (0.25,) * 3)
        return Data2Vec(encoder, **{"layers": 2, **settings}).double()  # type: ignore[arg-type]


def batch(count: int = 5, size: int = 16) -> Batch:
    return ToyPictures(count, size=size)[range(count)]


def official(method: Data2Vec, x: Tensor, mask: Tensor) -> Tensor:
    x = (x - 0.5) / 0.25
    taught, vit = method.teacher.network.encoder, method.encoder.encoder

    def entering(network: ViT, w: Tensor) -> Tensor:
        tokens = network.project(x).flatten(2).transpose(1, 2)
        tokens = tokens * (1 - w) + method.filler * w + positions(8, 8, 24)
        return torch.cat([network.cls.expand(len(x), -1, -1), tokens], 1)

    with torch.no_grad():
        tokens, kept = entering(taught, torch.zeros(len(x), 64, 1, dtype=torch.float64)), []
        for block in taught.blocks:
            tokens = block(tokens)
            kept.append(tokens[:, 1:])
        targets = sum(layer_norm(one, (24,)) for one in kept[-method.layers :]) / method.layers
    seen = vit.norm(vit.blocks(entering(vit, mask[:, :, None].double())))[:, 1:]
    off = (method.decoder(seen.reshape(-1, 24)[mask.flatten()]) - targets.reshape(-1, 24)[mask.flatten()]).abs()
    return torch.where(off < method.beta, 0.5 * off.square() / method.beta, off - 0.5 * method.beta).mean()


@pytest.mark.parametrize("settings", [{}, {"layers": 3, "beta": 0.1}])
def test_loss_and_gradients_are_the_official_ones(settings: dict[str, object]) -> None:
    method, some = made(**settings), batch()
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.mul_(1.2)
    losses = [method.step(some)["loss"], official(method, some.x.double() / 255, method.masks(some))]
    parameters = {name: one for name, one in method.named_parameters() if one.requires_grad}
    ours, theirs = (torch.autograd.grad(loss, parameters.values()) for loss in losses)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=1e-12)
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11, msg=name)


def test_blocks_hide_about_what_is_wanted_and_never_more() -> None:
    most = torch.tensor([0.0, 0.4, 10.0, 20.5, 75.0, 120.0] * 20)
    hidden = blockwise_masks(Draws(0, torch.arange(120)), (14, 14), most)
    counts = hidden.sum(1)
    assert bool((counts <= most).all())
    assert not counts[most == 0].any()
    assert float((counts[most > 70] / most[most > 70]).mean()) > 0.9
    alone = blockwise_masks(Draws(0, torch.arange(120))[5:6], (14, 14), most[5:6])
    assert torch.equal(alone[0], hidden[5]), "a picture's mask hangs on nobody else"


def test_a_mask_is_made_of_few_rectangles() -> None:
    """Half the hidden patches' right neighbours are hidden too, as of no random mask of a fifth."""
    hidden = blockwise_masks(Draws(1, torch.arange(50)), (14, 14), torch.full((50,), 40)).view(50, 14, 14)
    beside = (hidden[:, :, 1:] & hidden[:, :, :-1]).sum() / hidden.sum()
    assert float(beside) > 0.6


def test_what_does_not_fit_is_refused() -> None:
    method = made(layers=9)
    with pytest.raises(ConfigError, match=r"last blocks must lie in \[1, 3\], not 9"):
        method.accept(ToyPictures(4, size=16), 2)
    for settings, words in (({"ratio": 1.0}, "inside"), ({"layers": 0}, "layers"), ({"beta": 0.0}, "beta")):
        with pytest.raises(ConfigError, match=words):
            made(**settings)
    with pytest.raises(ConfigError, match="narrowest must lie"):
        blockwise_masks(Draws(0, torch.arange(2)), (4, 4), torch.ones(2), narrowest=0.0)
