"""Slot-TTA: slots and masks without an order, their matching, scores of partitions, episodes that leave no trace."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn
from torch.nn.functional import one_hot

from toys import ToyPictures
from withstand.core.batch import MASK
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.victims.victim import Victim
from withstand.data.derived.paired import PairedSource
from withstand.data.pictures.npz.scenes import SceneFile
from withstand.defenses.restoring import RESTORED, Restoring, restoring
from withstand.evaluation.dense.segmentation.partitions import adjusted_rand, matched_iou
from withstand.evaluation.dense.segmentation.scenes import Scenes
from withstand.losses.agreement.slot_masks import matched_mask_loss, matching
from withstand.methods.dense.slot_tta import SlotTTA
from withstand.models.dense.slots import SlotAttention, SlotDecoder, SlotEncoder, SlotNetwork


def made() -> SlotTTA:
    with isolated("slots"):
        return SlotTTA.example().double()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def masks(count: int = 3, parts: int = 4, seed: int = 0) -> Tensor:
    return torch.randint(0, parts, (count, 6, 6), generator=torch.Generator().manual_seed(seed))


def test_another_order_of_slots_is_another_order_of_masks_alone() -> None:
    method, x, order = made(), numbers(2, 3, 8, 8).sigmoid(), torch.tensor([2, 0, 3, 1])
    before = method.scenes()(x)
    with torch.no_grad():
        method.encoder.attention.table.copy_(method.encoder.attention.table[order])
    after = method.scenes()(x)
    torch.testing.assert_close(after["logits"], before["logits"][:, order])
    torch.testing.assert_close(after[RESTORED], before[RESTORED])


def test_slots_do_not_hang_on_the_order_of_inputs() -> None:
    with isolated("attention"):
        attention = SlotAttention(3, 8).double()
    inputs = numbers(2, 10, 8)
    torch.testing.assert_close(attention(inputs.flip(1)), attention(inputs))
    weights = attention.weights(attention.table.expand(2, -1, -1), attention.key(inputs))
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 3, dtype=torch.float64))


def test_rounds_are_the_published_ones() -> None:
    with isolated("attention"):
        attention = SlotAttention(3, 8, rounds=2).double()
    inputs = numbers(1, 10, 8)
    normed = attention.norm_inputs(inputs)
    slots = attention.table[None]
    for _ in range(2):
        logits = attention.query(attention.norm_slots(slots)) @ attention.key(normed).mT / 8**0.5
        shares = logits.softmax(1) + 1e-8
        updates = shares / shares.sum(2, keepdim=True) @ attention.value(normed)
        slots = attention.cell(updates[0], slots[0])[None]
        slots = slots + attention.mlp(attention.norm_out(slots))
    torch.testing.assert_close(attention(inputs), slots)


def test_one_slot_has_the_whole_picture_and_blocks_begin_as_the_identity() -> None:
    network = SlotNetwork(SlotEncoder(slots=1, width=6, layers=1), SlotDecoder(3, 6, 2))
    told = network(torch.rand(2, 3, 5, 7))
    assert told["logits"].shape == (2, 1, 5, 7)
    assert (told["logits"].softmax(1) == 1).all()
    decoder = network.decoder
    nn.init.zeros_(decoder.second[0].bias)
    nn.init.zeros_(decoder.second[1].bias)
    slots = torch.randn(2, 3, 6)
    grid = torch.stack(torch.meshgrid(torch.arange(5) / 5 - 0.5, torch.arange(7) / 7 - 0.5, indexing="ij"), 2)
    net = decoder.place(grid).view(1, 1, 35, 6) + sum(layer(slots) for layer in decoder.slot)[:, :, None]
    wanted = decoder.last(torch.relu(net)).view(2, 3, 5, 7, 4)
    pictures, logits = decoder(slots, (5, 7))
    torch.testing.assert_close(pictures, wanted[..., :3].permute(0, 1, 4, 2, 3))
    torch.testing.assert_close(logits, wanted[..., 3])


def test_the_mask_loss_is_that_of_a_loop() -> None:
    logits, true = numbers(3, 5, 6, 6), masks()
    true[1] = true[1].clamp_max(1)  # a picture with fewer objects
    told = logits.softmax(1)
    positive = negative = 0
    terms = []
    for picture in range(3):
        last = int(true[picture].max())
        whole = one_hot(true[picture], 5).movedim(2, 0).double()
        places = matching(whole.flatten(1)[None], told[picture].flatten(1)[None])[0]
        for label in range(last + 1):
            positive += int(whole[label].sum())
            negative += int((1 - whole[label]).sum())
            terms.append((whole[label], told[picture, places[label]]))
    above = below = 0.0
    for mask, slot in terms:
        weight = torch.where(mask > 0, negative / positive, 1.0).double()
        above += (weight * nn.functional.binary_cross_entropy(slot, mask, reduction="none")).sum()
        below += weight.sum()
    torch.testing.assert_close(matched_mask_loss(logits, true), above / (below + 1e-6))


def test_the_mask_loss_knows_no_order_and_is_0_for_right_masks() -> None:
    logits, true = numbers(3, 5, 6, 6), masks()
    torch.testing.assert_close(matched_mask_loss(logits[:, [4, 2, 0, 1, 3]], true), matched_mask_loss(logits, true))
    sure = 60 * one_hot(true, 5).movedim(3, 1).double()
    assert float(matched_mask_loss(sure[:, [4, 2, 0, 1, 3]], true)) < 1e-6


def test_more_objects_than_slots_are_refused() -> None:
    with pytest.raises(DataError, match="masks hold the numbers 0 to 3, and 3 slots tell 0 to 2: take 4 slots"):
        matched_mask_loss(numbers(3, 3, 6, 6), masks())
    with pytest.raises(DataError, match="count from 0"):
        matched_mask_loss(numbers(3, 3, 6, 6), masks() - 1)

    class Crowded(ToyPictures):
        @property
        def attributes(self) -> dict[str, Tensor]:
            return {"objects": torch.tensor([4, 1])}

    with pytest.raises(DataError, match="up to 4 objects and a background, and there are 4 slots: take 5 or more"):
        made().accept(Crowded(2, size=8), 2)


def test_the_rand_index_is_sklearns() -> None:
    found, true = masks(6, 3, seed=1), masks(6, 4)
    found[0], true[1] = true[0], 2
    whole, things = adjusted_rand(found, true), adjusted_rand(found, true, foreground=True)
    for place in range(6):
        one, other = found[place].flatten().numpy(), true[place].flatten().numpy()
        assert float(whole[place]) == pytest.approx(adjusted_rand_score(other, one), abs=1e-12)
        assert float(things[place]) == pytest.approx(adjusted_rand_score(other[other > 0], one[other > 0]), abs=1e-12)
    assert float(adjusted_rand(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4))) == 1
    assert adjusted_rand(found[:1], torch.zeros(1, 6, 6), foreground=True).isnan()
    torch.testing.assert_close(adjusted_rand(3 - found, true), whole)


def test_intersections_over_unions_are_of_matched_parts() -> None:
    true = torch.tensor([[[0, 0, 1, 1], [0, 0, 2, 2]]])
    found = torch.tensor([[[3, 3, 0, 0], [3, 3, 0, 0]]])
    assert float(matched_iou(found, true)) == pytest.approx((1 + 0.5 + 0) / 3)
    assert float(matched_iou((true + 1) % 3, true)) == 1


def test_an_episode_leaves_no_trace_and_no_order() -> None:
    method = made().float().eval()
    network, x = method.scenes(), torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    guard = Restoring(Victim(network), steps=3, rate=1e-2)
    first = guard(x).outputs
    again = guard(x.flip(0)).outputs
    assert isinstance(first, dict)
    assert isinstance(again, dict)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in kept.items())
    for name, value in first.items():
        assert torch.equal(again[name].flip(0), value)
    error = [(told[RESTORED] - x).square().flatten(1).mean(1) for told in (first, network(x))]
    assert (error[0] < error[1]).all()


def test_masks_and_what_they_compose_are_applied() -> None:
    method = made().float().eval()
    make, batch = method.maker(), method.example_batch()
    assert make is not None
    plain = method.scenes()(batch.x)
    assert torch.equal(make(batch)["masks"].values, plain["logits"].argmax(1))
    assert torch.equal(make(batch)["restored"].values, plain[RESTORED].clamp(0, 1))


def test_apply_adapts_to_each_scene_alone_where_the_run_tells_how() -> None:
    with isolated("slots"):
        method = SlotTTA(SlotEncoder.example(), SlotDecoder.example(), masks=0.1, adapted=restoring).eval()
    batch = method.example_batch()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    clean = batch.x / 255
    guard = restoring(method.scenes(), 2, 1e-2)(clean).outputs
    assert isinstance(guard, dict)
    with torch.no_grad():  # as apply runs it
        found, none = method.masks_of(batch, steps=2, rate=1e-2), method.masks_of(batch, steps=0)
        alone = method.masks_of(method.example_batch(range(2, 3)), steps=2, rate=1e-2)
        unsaid = method.masks_of(method.example_batch(range(1)), rate=1e-2)
        said = method.masks_of(method.example_batch(range(1)), steps=20, rate=1e-2)
    restored = torch.as_tensor(found["restored"].values)
    torch.testing.assert_close(restored, guard[RESTORED].clamp(0, 1))
    assert not torch.equal(restored, torch.as_tensor(none["restored"].values))
    torch.testing.assert_close(torch.as_tensor(alone["restored"].values)[0], restored[2])
    assert torch.equal(torch.as_tensor(unsaid["restored"].values), torch.as_tensor(said["restored"].values))
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    with pytest.raises(ConfigError, match="steps must be at least 0"):
        method.masks_of(batch, steps=-1)
    with pytest.raises(ConfigError, match="does not tell how to adapt"):
        SlotTTA.example().masks_of(batch, steps=1)


def test_true_masks_change_no_prediction() -> None:
    method, pictures = made().float().eval(), ToyPictures(4, size=8)
    truths = [torch.arange(64).view(1, 8, 8).repeat(4, 1, 1) // size for size in (20, 30)]
    findings = [
        Scenes(restoring, steps=2, samples=4, rate=1e-2).evaluate(method, PairedSource(pictures, {MASK: one}))
        for one in truths
    ]
    shown = [found.pictures["after adaptation"] for found in findings]
    assert np.array_equal(shown[0], shown[1])
    with pytest.raises(DataError, match="has no masks"):
        Scenes(restoring).evaluate(method, pictures)


def test_a_restoring_network_is_needed() -> None:
    with pytest.raises(DataError, match="needs a network that gives an output 'restored'"):
        Restoring(nn.Sequential(nn.Flatten(), nn.Linear(36, 5)))(torch.rand(2, 1, 6, 6))


def test_scenes_are_read_from_a_file(tmp_path: Path) -> None:
    x, mask = np.zeros((4, 6, 5, 3), np.uint8), np.arange(120).reshape(4, 6, 5) % 4
    np.savez(tmp_path / "scenes.npz", x=x, mask=mask)
    source = SceneFile(tmp_path / "scenes.npz")
    assert source.shape == (3, 6, 5)
    assert torch.equal(source[[2]].extras[MASK][0], torch.from_numpy(mask[2]))
    assert source.attributes["objects"].tolist() == [3] * 4
    assert isinstance(source.like(str(tmp_path / "scenes.npz")), SceneFile)
    np.savez(tmp_path / "other.npz", x=x, mask=mask[:, :5])
    np.savez(tmp_path / "none.npz", x=x)
    np.savez(tmp_path / "floats.npz", x=x, mask=mask / 2)
    for name, words in (("other", "masks are"), ("none", "is no .npz file"), ("floats", "whole numbers")):
        with pytest.raises(DataError, match=words):
            SceneFile(tmp_path / f"{name}.npz")
