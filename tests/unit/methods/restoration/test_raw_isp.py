"""RAW-ISP: the filter's blend, pictures of any size, what each network learns from, both stages, and bad input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.victims.victim import Victim
from withstand.defenses.purifier import Purifier
from withstand.engine.launch import train
from withstand.evaluation.restoration.raw_round_trip import ERROR, PASSED, RawRoundTrip
from withstand.losses.restoration.structure import multi_scale_similarity
from withstand.methods.restoration.raw_isp import RawISP
from withstand.methods.restoration.srgan import SuperResolution
from withstand.models.restoration.bayer import demosaic, packed_mosaic, unpacked
from withstand.models.restoration.camera import Camera, process, unprocess
from withstand.models.restoration.raw_unet import ClassicPipeline, FromRaw, RawFilter, ToRaw
from withstand.recipes.restoration import raw_isp

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def made(**settings: object) -> RawISP:
    with isolated("raw-isp"):
        return RawISP(ToRaw((2, 3)), FromRaw((2, 3)), **settings).double()  # type: ignore[arg-type]


def pictures(height: int = 8, width: int = 8, count: int = 3) -> Tensor:
    return torch.rand(count, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def blend(omega: float) -> RawFilter:
    method = made(omega=omega)
    found = method.product("purifier")
    assert isinstance(found, RawFilter)
    with torch.no_grad():  # RAW within its range, where nothing is clamped
        method.encoder.levels.last.bias += 0.5
    return found.eval()


def test_the_filter_blends_the_learnt_and_the_classic_rendering() -> None:
    x = pictures()
    one = blend(0.7)
    raw = one.raw(x)
    learnt, classic = one.from_raw(raw).clamp(0, 1), process(demosaic(unpacked(raw)), Camera().colors())
    torch.testing.assert_close(one(x), 0.7 * learnt + 0.3 * classic)
    assert torch.equal(blend(1.0)(x), learnt)
    torch.testing.assert_close(blend(0.0)(x), classic)
    assert 0 <= float(one(x).detach().min()) <= float(one(x).detach().max()) <= 1


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 11), (5, 30), (3, 4)])
def test_odd_sides_are_filled_by_reflection_and_cut_again(height: int, width: int) -> None:
    one, x = blend(0.7), pictures(height, width)
    assert one(x).shape == x.shape
    down, right = -height % 4, -width % 4
    wide = torch.nn.functional.pad(x, (0, right, 0, down), mode="reflect")
    assert torch.equal(one(x), one(wide)[..., :height, :width])


def test_a_classic_pipeline_of_units_is_bilinear_demosaicing() -> None:
    plain = Camera(1.0, 1.0, 1.0, IDENTITY, gamma=1.0, tone=False)
    raw = packed_mosaic(pictures(), "GBRG")
    torch.testing.assert_close(
        ClassicPipeline(plain, "GBRG", "bilinear")(raw), demosaic(unpacked(raw), "GBRG", "bilinear")
    )


def test_straight_through_the_gradient_is_that_of_the_model_at_the_cleaned_picture() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3), torch.nn.Softplus()).double()
    guard = Purifier(Victim(model), blend(0.7), gradient="straight-through")
    x = pictures().requires_grad_()
    (through,) = torch.autograd.grad(guard.exposed().model(x).square().sum(), x)
    cleaned = guard.purify(x.detach()).requires_grad_()
    (there,) = torch.autograd.grad(model(cleaned).square().sum(), cleaned)
    torch.testing.assert_close(through, there)


def test_the_filters_own_slopes_are_exact() -> None:
    one, x = blend(0.7), (0.2 + 0.6 * pictures(4, 4, 1)).requires_grad_()
    assert torch.autograd.gradcheck(one, (x,), eps=1e-7, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("joint", [False, True])
def test_the_loss_is_the_sum_of_what_both_networks_lower(joint: bool) -> None:
    method, x = made(joint=joint, noise=0.0), pictures()
    batch = Batch(x, torch.arange(3))
    raw = packed_mosaic(unprocess(x, Camera().colors()))
    terms = method.step(batch)
    torch.testing.assert_close(terms["raw"], l1_loss(method.encoder.raw(x), raw))
    if joint:
        seen = method.from_raw(method.encoder.raw(x).clamp(0, 1))
        wanted = l1_loss(seen, x) + 1 - multi_scale_similarity(seen, x)
        torch.testing.assert_close(terms["picture"], wanted)
    torch.testing.assert_close(terms["loss"], terms["raw"] + terms["picture"])
    (slope,) = torch.autograd.grad(
        method.step(batch)["picture"] * 0 + method.step(batch)["loss"], method.encoder.levels.last.weight
    )
    alone = torch.autograd.grad(l1_loss(method.encoder.raw(x), raw), method.encoder.levels.last.weight)[0]
    assert torch.allclose(slope, alone) != joint, "apart, F learns from RAW alone; jointly, from pictures too"


def test_raw_that_comes_along_is_learnt_from() -> None:
    method, x = made(noise=0.0), pictures()
    own = torch.rand(3, 4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    terms = method.step(Batch(x, torch.arange(3), extras={"raw": own}))
    torch.testing.assert_close(terms["raw"], l1_loss(method.encoder.raw(x), own))
    with pytest.raises(DataError, match="packed"):
        method.step(Batch(x, torch.arange(3), extras={"raw": own[:, :1]}))


def test_what_f_learns_from_has_noise_and_less_of_it_passes_after_training() -> None:
    noisy, clean = (made(noise=noise).step(Batch(pictures(), torch.arange(3)))["raw"] for noise in (0.1, 0.0))
    assert noisy != clean
    with isolated("raw-isp"):
        method = RawISP(ToRaw((8,)), FromRaw((8,)), noise=0.3, structure=0.0)
    data = ToyPictures(16, size=8)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    for step in range(60):
        optimizer.zero_grad()
        method.step(replace(data[list(range(16))], step=step))["loss"].backward()
        optimizer.step()
    found = RawRoundTrip(samples=8).evaluate(method.product("purifier"), data)
    assert found.figures[PASSED].value < 0.9


def test_stages_hand_on_and_the_judge_sees_raw_frames(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(64, 1024, (32, 32)).astype(np.uint16)
    np.savez(tmp_path / "frames.npz", one=frame, pattern="GRBG", black=64, white=1023)
    setup = replace(raw_isp.SETUP, raw=str(tmp_path / "frames.npz"), tile=8, epochs=1, batch=4)
    experiment = raw_isp.experiment(setup, first_epochs=1, width=2, depth=2)
    first = experiment.first
    assert not isinstance(first, str | None)
    assert (first.method.joint, experiment.method.joint) == (False, True)  # type: ignore[attr-defined]
    assert experiment.method.purifier().pattern == "GRBG"  # type: ignore[operator]
    train(experiment, tmp_path / "run", quiet=True)
    found = RawRoundTrip().evaluate(experiment.method.product("purifier"), experiment.source, test=experiment.test)
    assert found.figures[ERROR].of == 3
    assert {"before", "RAW", "after"} <= found.pictures.keys()
    shown = found.pictures["RAW"]
    assert not shown[:, 0::2, 0::2, [0, 2]].any(), "at its first place GRBG has green alone"
    with pytest.raises(ConfigError, match="own first stage"):
        made(joint=True).inherit(SuperResolution.example())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"omega": 1.5}, "omega"),
        ({"noise": -1.0}, "noise"),
        ({"structure": float("nan")}, "structure"),
        ({"pattern": "RGBG"}, "pattern"),
        ({"way": "malver"}, "malvar"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(**settings)


def test_data_that_have_no_mosaic_are_refused() -> None:
    setup = replace(raw_isp.SETUP, data=ToyPictures(16, channels=1, size=8), batch=4)
    with pytest.raises(DataError, match="color pictures"):
        raw_isp.experiment(setup, width=2).check()
    with pytest.raises(DataError, match="too small"):
        blend(0.7)(pictures(2, 9))
    for changes, said in (({"black": 3.0}, "--raw"), ({"raw": "x.npz", "data": "mnist"}, "--data mnist or --raw")):
        with pytest.raises(ConfigError, match=said):
            raw_isp.experiment(replace(raw_isp.SETUP, **changes))
    with pytest.raises(ConfigError, match="--weights"):
        raw_isp.experiment(replace(raw_isp.SETUP, data=ToyPictures(16)), layer="layer1")
