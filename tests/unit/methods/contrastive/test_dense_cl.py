"""DenseCL against the official computation, written out plainly."""

import pytest
import torch
import torch.nn.functional as F

from withstand.core.errors import ConfigError
from withstand.core.random import isolated
from withstand.methods.momentum_contrast.dense_cl import DenseCL, correspondence
from withstand.models.blocks.taps import with_last_maps
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT


def made(**settings: object) -> DenseCL:
    with isolated("dense"):
        encoder = Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3)
        return DenseCL(encoder, hidden=5, dim=4, queue_size=12, **settings).double()  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", [7, 1])
def test_the_loss_is_the_official_one(grid: int) -> None:
    method = made(grid=grid, share=0.3).eval()
    batch = method.example_batch()
    with torch.no_grad():  # the teacher shall differ
        for value in method.teacher.parameters():
            value.add_(0.01 * torch.sin(torch.arange(value.numel()).view_as(value).to(value)))
    seen, other = batch.views[0], batch.views[1]
    features, maps = with_last_maps(method.encoder, seen)
    encoder, head, cells = method.teacher.network
    with torch.no_grad():
        key_features, key_maps = with_last_maps(encoder, other)  # type: ignore[arg-type]
        if grid == 1:
            maps_, key_maps = maps.mean((2, 3), keepdim=True), key_maps.mean((2, 3), keepdim=True)
        else:
            maps_ = maps
        key, key_grid = F.normalize(head(key_features), dim=1), cells(key_maps).flatten(2)
    query, grid_ = F.normalize(method.head(features), dim=1), F.normalize(method.cells(maps_).flatten(2), dim=1)
    similar = F.normalize(maps_.flatten(2), dim=1).transpose(1, 2) @ F.normalize(key_maps.flatten(2), dim=1)
    best = similar.argmax(2)
    chosen = torch.stack([one[:, place] for one, place in zip(F.normalize(key_grid, dim=1), best, strict=True)])
    whole, dense = (queue.stored for queue in method.queues.each())
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ whole.T], 1) / 0.2
    pictures = F.cross_entropy(logits, torch.zeros(8, dtype=torch.int64))
    flat = grid_.permute(0, 2, 1).reshape(-1, 4)
    logits = torch.cat([(grid_ * chosen).sum(1).reshape(-1, 1), flat @ dense.T], 1) / 0.2
    local = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))
    torch.testing.assert_close(method.step(batch)["loss"], 0.7 * pictures + 0.3 * local)
    method.train().step(batch)
    method.after_step(1)
    fresh = method.queues.each()[1].stored[:8]
    # Keys are made in training mode then, so that batch statistics differ: what counts is that means of cells enter.
    assert torch.allclose(fresh.norm(dim=1), torch.ones(8, dtype=torch.float64))
    assert not torch.equal(fresh, made().queues.each()[1].stored[:8])


def test_cells_find_themselves_wherever_they_went() -> None:
    maps = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    found = correspondence(maps, 2 * maps[:, order])
    assert torch.equal(order[found], torch.arange(6).expand(3, -1))


def test_networks_without_maps_are_refused() -> None:
    with pytest.raises(ConfigError, match="has no stages"):
        DenseCL(Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3), dim=4, queue_size=12)
    with pytest.raises(ConfigError, match="share"):
        made(share=1.5)
