"""Classifiers of timm by name: normalised inside, of their own size, compared with folders by their names."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import withstand as ws
from withstand.api.places import found
from withstand.api.subjects import surrogate_of
from withstand.core.errors import ConfigError, DataError
from withstand.core.victims.victim import Victim
from withstand.data.load import load
from withstand.models.pictures.timm import TimmClassifier

timm = pytest.importorskip("timm")
GOLDFISH, TENCH, SORREL = "n01443537", "n01440764", "n02389026"


@pytest.fixture(autouse=True)
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave weights as they were drawn: none are downloaded."""
    made = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **settings: made(name, **settings))


def folder(path: Path, names: tuple[str, ...], side: int = 32) -> Path:
    draws = np.random.default_rng(0)
    for name in names:
        (path / name).mkdir(parents=True)
        for place in range(2):
            pixels = draws.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / name / f"{place}.png")
    return path


def test_normalisation_and_classes_are_the_published_models() -> None:
    torch.manual_seed(0)
    network = TimmClassifier("resnet18.a1_in1k").eval()
    x = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(network.model.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(network(x), network.model((x - mean) / std))
    assert len(network.classes) == network(x).shape[1] == 1000
    assert network.classes[:2] == (TENCH, GOLDFISH)
    assert list(network.classes) == sorted(network.classes)  # as ImageNet's folders are numbered


def test_pictures_that_it_does_not_take_are_told() -> None:
    network = TimmClassifier("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    with pytest.raises(DataError, match=r"built for pictures of 224 x 224 pixels, not 96 x 96: .*--size"):
        network(torch.rand(1, 3, 96, 96))
    with pytest.raises(DataError, match=r"takes pictures \(3, H, W\), not \(1, 96, 96\)"):
        network(torch.rand(1, 1, 96, 96))


def test_names_and_weights_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"timm has no model 'resnet18\.b1_in1k'.*resnet18"):
        ws.audit("timm:resnet18.b1_in1k", (torch.rand(4, 3, 32, 32), [0, 0, 1, 1]))

    def offline(name: str, **settings: object) -> nn.Module:
        raise OSError("We couldn't connect to the Hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match=r"no published weights for 'resnet18'.*needed once"):
        TimmClassifier("resnet18")


def test_folders_are_compared_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sure: dict[str, int] = {}

    class Sure(nn.Module):
        pretrained_cfg: ClassVar = {
            "mean": (0.5,) * 3, "std": (0.5,) * 3, "label_names": (TENCH, GOLDFISH, "n01484850", SORREL),
        }  # fmt: skip
        num_classes = 4

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.one_hot(torch.full((len(x),), sure["answer"]), 4) * 9.0 + 0 * x.sum((1, 2, 3))[:, None]

    monkeypatch.setattr(timm, "create_model", lambda name, **settings: Sure())
    data = folder(tmp_path / "some", (GOLDFISH, SORREL))
    for answer, right in ((1, 0.5), (3, 0.5), (0, 0.0)):  # the folders alone would be numbered 0 and 1
        sure["answer"] = answer
        finding = ws.audit("timm:resnet18", data, size=32, eps="1/255", steps=2)
        assert finding.figures["clean accuracy"].value == right
    with pytest.raises(DataError, match=r"class 'stranger', which the classifier does not know"):
        ws.audit("timm:resnet18", folder(tmp_path / "other", (SORREL, "stranger")), size=32)


def test_names_of_the_hub_go_to_timm_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = timm.create_model, []

    def told(name: str, **settings: object) -> nn.Module:
        asked.append((name, settings))
        return made("resnet18")

    monkeypatch.setattr(timm, "create_model", told)
    assert isinstance(found("timm:hf-hub:some/net"), TimmClassifier)
    assert asked == [("hf-hub:some/net", {"pretrained": True})]


def test_a_surrogate_that_says_its_classes_answers_in_the_victims_order(tmp_path: Path) -> None:
    def named(x: Tensor) -> dict[str, Tensor]:
        return {"logits": torch.arange(3.0).expand(len(x), 3)}

    named.classes = ("ant", "bird", "cat")  # type: ignore[attr-defined]
    source = load(str(folder(tmp_path, ("bird", "cat"), 4)), size=4)
    surrogate = surrogate_of(Victim(named), source, ("cat", "ant"))
    assert surrogate.output(torch.rand(2, 3, 4, 4)).tolist() == [[2.0, 0.0]] * 2
    with pytest.raises(DataError, match="does not know the class 'dog'"):
        surrogate_of(Victim(named), source, ("cat", "dog"))


def test_a_network_of_ones_own_may_say_its_classes(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 3))
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
    data = folder(tmp_path, ("bird", "cat"), 4)
    plain = ws.audit(net, data, size=4, eps="1/255", steps=2)
    assert plain.figures["clean accuracy"].value == 0.0
    net.classes = ["ant", "bird", "cat"]
    assert ws.audit(net, data, size=4, eps="1/255", steps=2).figures["clean accuracy"].value == 0.5
