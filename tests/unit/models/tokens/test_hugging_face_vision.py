"""Models of transformers as networks that answer prompts about pictures: likelihoods, gradients, what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vision_language import MODELS, SIDE, git, llava, pixels, vision
from withstand.attacks.language.steering import NLL, Steered, steer, steering
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.victims.victim import Victim
from withstand.models.pictures.processor import own_values, preparation
from withstand.models.tokens.hugging_face_vision import HuggingFaceVision

pytest.importorskip("transformers")
TARGET = "a photo of a red boat"


def pictures(count: int = 2, side: int = SIDE) -> Tensor:
    drawn = torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(4))
    return drawn.double() / 255


def plain_nll(model: HuggingFaceVision, image: Tensor, prompt: str, target: str) -> float:
    """What the model itself says by its own processor and labels, as a user of transformers would write it."""
    network: Any = model.model
    array = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    given = model.processor(text=[model._text(prompt)], images=[array], return_tensors="pt")
    said = model.tokenizer(target, add_special_tokens=False)["input_ids"]
    asked = given["input_ids"][0].tolist()
    ids = torch.tensor([[*asked, *said, 3]])
    with torch.no_grad():
        logits = network(
            input_ids=ids, pixel_values=given["pixel_values"].double(), attention_mask=torch.ones_like(ids)
        ).logits[0, -ids.shape[1] :]
    if model.image_token is not None:
        logits[:, model.image_token] = -torch.inf
    told = logits.log_softmax(1)
    return -sum(float(told[len(asked) + place - 1, token]) for place, token in enumerate([*said, 3]))


@pytest.mark.parametrize("name", MODELS)
def test_likelihoods_are_the_models_own(name: str) -> None:
    model, x = vision(name), pictures()
    prompts, targets = ["what is this", "describe it"], [TARGET, "a cat"]
    nll = model.nll(x, prompts, targets)
    for row in range(2):
        wanted = plain_nll(model, x[row], prompts[row], targets[row])
        assert float(nll[row].detach()) == pytest.approx(wanted, rel=1e-4)
    alone = [float(model.nll(x[row : row + 1], [prompts[row]], [targets[row]]).detach()) for row in range(2)]
    assert nll.tolist() == pytest.approx(alone, rel=1e-5), "company and padding change nothing"
    assert model.once == (name == "llava")


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_the_pixels_and_are_right(name: str) -> None:
    model, x = vision(name), pictures(1).requires_grad_()
    (slope,) = torch.autograd.grad(model.nll(x, ["describe it"], [TARGET]).sum(), x)
    assert bool(slope.isfinite().all())
    way = slope.sign()
    step = 1e-4
    with torch.no_grad():
        ends = [float(model.nll(x + sign * step * way, ["describe it"], [TARGET])) for sign in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((slope * way).sum()), rel=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_a_text_said_greedily_is_exact_and_the_attack_lowers_the_nll(name: str) -> None:
    model, x = vision(name, longest=6), pictures(3)
    with torch.no_grad():
        seen = model.read(x)
        for row, ids in enumerate(model.greedy(seen, model._prompt("what is this"))):
            text = model.tokenizer.decode(ids)
            if ids and len(ids) < 6 and model._target(text) == ids:
                assert bool(model.score(seen[row : row + 1], ["what is this"], [text]).exact)
                other = "boat" if text != "boat" else "cat"
                assert not bool(model.score(seen[row : row + 1], ["what is this"], [other]).exact)
        assert model.say(x, ["this", "it", "this"])[1] == model.say(x[1:2], ["it"])[0]
    victim = Victim(Steered(model, ("what is this", "describe it"), TARGET))
    single = x.float()
    with victim.held():
        found = steer(steering(0.1, 6, 0.02), victim, single, Draws(0, torch.arange(3)))
        before, after = victim.output(single, NLL).detach(), victim.output(found.x, NLL).detach()
    assert bool((after.mean(1) < before.mean(1)).all())


def test_pictures_are_encoded_once_for_all_prompts() -> None:
    model, x = vision("llava"), pictures()
    calls = []
    tower: Any = model.model
    tower.model.vision_tower.register_forward_hook(lambda *_: calls.append(1))
    victim = Steered(model, ("what", "this", "it"), TARGET)
    found = victim(x)[NLL]
    assert len(calls) == 1
    model.once = False
    torch.testing.assert_close(victim(x)[NLL], found, rtol=1e-5, atol=1e-6)


def test_targets_outside_the_vocabulary_are_refused() -> None:
    model = vision("git")
    model.require(TARGET, "the target")
    with pytest.raises(ConfigError, match="the target 'a red zebra' has the word 'zebra', which the tokenizer"):
        model.require("a red zebra", "the target")
    with pytest.raises(ConfigError, match="has 6 tokens, and answers are cut after 4"):
        vision("git", longest=4).require(TARGET, "the target")
    with pytest.raises(ConfigError, match="holds no word"):
        model.require(" ", "the target")


def test_a_processor_that_rounds_is_named_and_can_be_passed_straight_through() -> None:
    with pytest.raises(ConfigError, match="CLIPImageProcessor rounds resized pictures to bytes, which has no slope"):
        vision("llava", side=24)
    model, x = vision("llava", side=24, rounding="straight-through"), pictures(side=24).requires_grad_()
    assert "CLIPImageProcessor rounds resized pictures to bytes" in model.notes[0]
    (slope,) = torch.autograd.grad(model.nll(x, ["it"] * 2, [TARGET] * 2).sum(), x)
    assert bool((slope.flatten(1).abs().sum(1) > 0).all())
    with torch.no_grad():  # answers are to the processor's own pixels
        torch.testing.assert_close(model.read(x), own_values(model.processor.image_processor, x).double())
        wanted = plain_nll(model, x[0], "it", TARGET)
        assert float(model.nll(x[:1], ["it"], [TARGET])) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ConfigError, match="rounding 'straight' is unknown"):
        vision("llava", side=24, rounding="straight")


@pytest.mark.parametrize(("side", "made"), [(SIDE, 16), (24, 16), (40, 16), (20, 12)])
def test_preparing_is_what_the_processor_does(side: int, made: int) -> None:
    processor = pixels(made)
    prepare = preparation(processor, (3, side, side), "straight-through")
    assert prepare.rounds == (side != made)
    x = torch.nn.functional.interpolate(pictures(3, 5), (side, side), mode="bilinear")
    x = (x * 255).round() / 255
    arrays = [(one.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy() for one in x]
    own = processor(images=[np.ascontiguousarray(one) for one in arrays], return_tensors="pt")["pixel_values"].double()
    apart = (prepare.levels(prepare(x)) - prepare.levels(own)).abs()
    assert float(apart.max()) < 1.02
    assert float((apart > 0.5).double().mean()) < 0.25, "torchvision resizes bytes by whole numbers"
    torch.testing.assert_close(own_values(processor, x).double(), own)


def test_grey_pictures_are_read_as_colored_ones() -> None:
    prepare = preparation(pixels(), (1, SIDE, SIDE))
    grey = pictures(2)[:, :1]
    torch.testing.assert_close(prepare(grey), prepare(grey.expand(-1, 3, -1, -1)))


class _Inverting:
    """A processor that does something else."""

    do_resize = do_center_crop = do_normalize = do_rescale = False

    def __call__(self, images: list[Any], return_tensors: str) -> dict[str, Tensor]:
        return {"pixel_values": torch.stack([255.0 - torch.tensor(one).permute(2, 0, 1) for one in images])}


class _Tiles(_Inverting):
    def __call__(self, images: list[Any], return_tensors: str) -> dict[str, Tensor]:
        whole = super().__call__(images, return_tensors)["pixel_values"]
        return {"pixel_values": whole[:, None].expand(-1, 5, -1, -1, -1)}


def test_processors_that_cannot_be_followed_are_named() -> None:
    with pytest.raises(ConfigError, match="_Inverting does something else than to resize, cut and normalise"):
        preparation(_Inverting(), (3, 8, 8))
    with pytest.raises(ConfigError, match=r"_Tiles makes .* cut pictures into tiles"):
        preparation(_Tiles(), (3, 8, 8))
    with pytest.raises(ConfigError, match=r"not samples of shape \(4, 8, 8\)"):
        preparation(pixels(), (4, 8, 8))


def test_what_else_is_refused() -> None:
    model, processor = llava()
    with pytest.raises(ConfigError, match="CLIPImageProcessor has no image_processor"):
        HuggingFaceVision(model, processor.image_processor, (3, SIDE, SIDE))
    with pytest.raises(ConfigError, match="template must hold"):
        HuggingFaceVision(model, processor, (3, SIDE, SIDE), template="<image>")
    with pytest.raises(ConfigError, match="LlavaProcessor does not take the prompt '' with a picture"):
        HuggingFaceVision(model, processor, (3, SIDE, SIDE), template="{prompt}")
    other, its = git()
    with pytest.raises(ConfigError, match="GitVisionModel does not take token ids with pixel values alone"):
        HuggingFaceVision(other.git.image_encoder, its, (3, SIDE, SIDE))
    with pytest.raises(ConfigError, match=r"made for pictures \(3, 16, 16\), not \(3, 8, 8\)"):
        vision("git").read(pictures(1, 8))
    with pytest.raises(ConfigError, match="cannot be opened as a vision-language model"):
        HuggingFaceVision.load("/nowhere/at/all", (3, SIDE, SIDE))


def test_a_saved_model_is_opened_from_its_folder(tmp_path: Any) -> None:
    torch.manual_seed(0)
    model, processor = llava()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    opened = HuggingFaceVision.load(str(tmp_path), (3, SIDE, SIDE))
    ours = HuggingFaceVision(model, processor, (3, SIDE, SIDE))
    x = pictures(1).float()
    torch.testing.assert_close(opened.nll(x, ["it"], [TARGET]), ours.nll(x, ["it"], [TARGET]))
