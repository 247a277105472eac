"""Style layers in place of an encoder's submodules: where they lie, and what survives."""

import copy
import json
import pickle

import pytest
import torch
from torch import Tensor

from toys import ToyPictures
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import again, build, describe
from withstand.core.random import isolated
from withstand.engine.export import to_safetensors
from withstand.engine.optimizers import LARS, SGD, AdamW
from withstand.methods.robust.advstyle import StyleTraining
from withstand.models.blocks.normalization.style import DSU, AdvStyle, MixStyle, StyleLayer, perturbed
from withstand.models.pictures.convnets.convnet import ConvNet
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.styled import Styled, stages_of
from withstand.recipes.robust import advstyle
from withstand.verification.network.capture import capture

SHAPE = (3, 16, 16)


def resnet(stem: str = "small", depth: int = 18) -> Normalized:
    with isolated("styled"):
        return Normalized(ResNet(2, depth, stem=stem), (0.5,) * 3, (0.25,) * 3)  # type: ignore[arg-type]


def styled(style: StyleLayer | None = None) -> Styled:
    encoder = resnet()
    return Styled(encoder, stages_of(encoder, SHAPE), style or AdvStyle(), shape=SHAPE)


def pictures(count: int = 4) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def layers(network: torch.nn.Module) -> dict[str, StyleLayer]:
    return {name: module for name, module in network.named_modules() if isinstance(module, StyleLayer)}


def test_layers_lie_behind_the_first_convolution_the_pool_and_each_stage() -> None:
    small, large = (resnet(stem) for stem in ("small", "large"))
    ends = ("encoder.blocks.1", "encoder.blocks.3", "encoder.blocks.5", "encoder.blocks.7")
    assert stages_of(small, SHAPE) == ("encoder.stem", *ends)
    assert stages_of(large, (3, 64, 64)) == ("encoder.stem", "encoder.pool", *ends)
    assert stages_of(small, (3, 8, 8)) == ("encoder.stem", *ends[:3]), "the last stage's maps are 1 x 1"
    assert stages_of(resnet(depth=34), SHAPE)[1:] == tuple(f"encoder.blocks.{end}" for end in (2, 6, 12, 15))
    found = Styled(large, stages_of(large, (3, 64, 64)), DSU(), shape=(3, 64, 64))
    assert [layer.channels for layer in layers(found).values()] == [2, 2, 2, 4, 8, 16]


def test_timm_s_residual_networks_say_of_their_stages() -> None:
    timm = pytest.importorskip("withstand.models.pictures.timm")
    pytest.importorskip("timm")
    encoder = timm.Timm("resnet10t")
    assert stages_of(encoder, (3, 64, 64))[-2:] == ("model.layer3", "model.layer4")


@pytest.mark.parametrize("style", [AdvStyle(), DSU(), MixStyle()], ids=lambda style: type(style).__name__)
def test_in_eval_mode_it_is_the_encoder_and_taken_out_layers_leave_its_state(style: StyleLayer) -> None:
    plain, subject, x = resnet().eval(), styled(style).eval(), pictures()
    assert torch.equal(subject(x), plain(x))
    bare = subject.plain()
    assert bare.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(bare.state_dict())
    assert torch.equal(bare.eval()(x), plain(x))
    assert layers(subject)
    assert not layers(bare)


def test_layers_survive_descriptions_copies_pickles_and_files(tmp_path: object) -> None:
    subject = styled()
    rebuilt = build(json.loads(json.dumps(describe(subject))))
    for other in (rebuilt, again(subject), copy.deepcopy(subject), pickle.loads(pickle.dumps(subject))):
        assert describe(other) == describe(subject)
        assert layers(other).keys() == layers(subject).keys()
        assert not {id(p) for p in other.parameters()} & {id(p) for p in subject.parameters()}
        other.load_state_dict(subject.state_dict())
    path = to_safetensors(subject.eval(), tmp_path / "encoder.safetensors")  # type: ignore[operator]
    assert path.is_file()
    capture(subject, pictures())


def test_training_mode_changes_features_and_the_sizes_learn() -> None:
    with isolated("method"):
        subject = styled(AdvStyle(adversarial=1.0, batch=0.0))
        method = StyleTraining(subject, classes=4)
    batch = ToyPictures(8)[range(8)]
    method.step(batch)["loss"].backward()
    for layer in layers(subject).values():
        for size in layer.sizes():  # type: ignore[operator]
            assert size.grad.abs().max() > 0
    with perturbed(subject, batch):
        one = subject(method.samples(batch))
    with perturbed(subject, batch):
        assert torch.equal(subject(method.samples(batch)), one)


def test_layers_that_sit_out_still_have_a_gradient_of_0_for_process_groups() -> None:
    with isolated("method"):
        method = StyleTraining(styled(AdvStyle(adversarial=0.0, batch=0.0)), classes=4)
    method.step(ToyPictures(8)[range(8)])["loss"].backward()
    for layer in method.adversaries():
        for size in layer.sizes():
            assert size.grad is not None
            assert not size.grad.any()


@pytest.mark.parametrize("optimizer", [SGD(0.1, 0.5), AdamW(0.1, 0.5), LARS(0.1, 0.5)], ids=lambda o: type(o).__name__)
def test_sizes_escape_weight_decay(optimizer: SGD) -> None:
    subject = styled()
    made = optimizer.make(subject.parameters())
    decayed = {id(p) for group in made.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed
    assert not {id(size) for layer in layers(subject).values() for size in layer.sizes()} & decayed  # type: ignore[operator]


def test_sizes_that_run_away_are_told() -> None:
    method = StyleTraining(styled(AdvStyle(adversarial=1.0, batch=0.0)), classes=4)
    method.step(ToyPictures(8)[range(8)])
    method.before_epoch(None)  # type: ignore[arg-type]
    with torch.no_grad():
        for size in method.adversaries()[0].sizes():
            size.mul_(30)
    with pytest.warns(UserWarning, match="have grown 30-fold: a lower weight or learning rate"):
        method.before_epoch(None)  # type: ignore[arg-type]


def test_bad_places_get_one_line() -> None:
    encoder = resnet()
    for names, message in (
        (("encoder.stm",), r"no layer 'encoder.stm': .*encoder.stem"),
        ((), "layers must name at least one submodule"),
        (("encoder",), r"'encoder' gives no maps \(B, C, H, W\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            Styled(encoder, names, AdvStyle(), shape=SHAPE)
    with pytest.raises(ConfigError, match=r"'encoder.blocks.7' gives maps of 1 x 1 for pictures of 8 x 8"):
        Styled(encoder, ("encoder.blocks.7",), AdvStyle(), shape=(3, 8, 8))
    assert not layers(encoder)
    Styled(encoder, ("encoder.stem",), AdvStyle(), shape=SHAPE)
    with pytest.raises(ConfigError, match="has style layers already"):
        Styled(encoder, ("encoder.stem",), AdvStyle(), shape=SHAPE)
    with pytest.raises(ConfigError, match="ConvNet says of no stages where styles could change"):
        stages_of(ConvNet(2, SHAPE), SHAPE)
    with pytest.raises(ConfigError, match=r"kind 'advstile' is unknown: .*advstyle"):
        advstyle.experiment(kind="advstile")  # type: ignore[arg-type]


def test_one_sample_has_no_styles_to_compare() -> None:
    method = StyleTraining(styled(), classes=4)
    with pytest.raises(DataError, match="give it two or more"):
        method.step(ToyPictures(1)[range(1)])
