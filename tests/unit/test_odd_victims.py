"""Any network a user brings, through every face: served with the right figures, or told in one line.

The victims are linear, so that their robust accuracy is known exactly.
"""

import json
import re
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import withstand as ws
from victims import Scored
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.inputs.gradient import PGD
from withstand.cli.main import main
from withstand.core.errors import ConfigError, DataError, WithstandError
from withstand.core.threat import Ball
from withstand.core.victims.answers import NetworkError
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.robustness.audit import RobustnessAudit

EPS = 16 / 255
RANGES = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-3.0, 5.0), (-128.0, 127.0)]
Answer = namedtuple("Answer", ["features", "logits"])


class Wrapped(nn.Module):
    """What `outer` makes of a network's logits."""

    def __init__(self, outer: Callable[[Tensor], object], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.outer = inner or Scored(), outer

    def forward(self, x: Tensor) -> object:
        return self.outer(self.inner(x))


class Fixed(Scored):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(8, -1))


class Raising(Scored):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("a name that\nis not there")


class InPlace(Scored):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(1.0))


class Doubled(Scored):
    """Single precision weights behind a buffer in double precision, as `(x - mean) / std` often is."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x.double() - self.mean).float())


class Many(Scored):
    """A thousand classes, of which two ever win."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x), torch.full((len(x), 998), -50.0)], 1)


SERVED: dict[str, Callable[[], nn.Module]] = {
    "plain": Scored,
    "in train mode": lambda: Scored().train(),
    "double": lambda: Scored().double(),
    "half": lambda: Scored().half(),
    "bfloat16": lambda: Scored().bfloat16(),
    "a double buffer": Doubled,
    "one logit": lambda: Wrapped(lambda out: out[:, 1]),
    "one logit in a column": lambda: Wrapped(lambda out: out[:, 1:]),
    "half, one logit": lambda: Wrapped(lambda out: out[:, 1]).half(),
    "a dict": lambda: Wrapped(lambda out: {"logits": out, "features": out.exp(), "loss": None}),
    "a dict in half": lambda: Wrapped(lambda out: {"logits": out}).half(),
    "a named tuple": lambda: Wrapped(lambda out: Answer(out.exp(), out)),
    "a tuple of one": lambda: Wrapped(lambda out: (out,)),
    "a list of one": lambda: Wrapped(lambda out: [out]),
    "a thousand classes": Many,
    "writes on its input": InPlace,
    "squeezed": lambda: Wrapped(lambda out: out[..., None, None].squeeze()),
    "squeezed in a dict": lambda: Wrapped(lambda out: {"logits": out[..., None].squeeze()}),
    "one logit, squeezed": lambda: Wrapped(lambda out: out[:, 1:].squeeze()),
    "TorchScript": lambda: torch.jit.trace(Scored(), torch.rand(2, 12)),
}
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a tuple": (lambda: Wrapped(lambda out: (out, out)), r"a tuple of 2 things \(\(40, 2\), \(40, 2\)\)"),
    "a dict without logits": (lambda: Wrapped(lambda out: {"scores": out}), "no output 'logits': allowed: scores"),
    "an empty dict": (lambda: Wrapped(lambda out: {}), "a dict without tensors: it must hold 'logits'"),
    "a string": (lambda: Wrapped(lambda out: "cat"), "gives a str: it must give a torch tensor"),
    "an array": (lambda: Wrapped(lambda out: out.detach().numpy()), "gives a ndarray"),
    "classes": (lambda: Wrapped(lambda out: out.argmax(1)), "type torch.int64: logits"),
    "one number": (lambda: Wrapped(lambda out: out.sum()), r"shape \(\) for 40 inputs"),
    "one row": (lambda: Wrapped(lambda out: out.sum(0, keepdim=True)), r"shape \(1, 2\) for 40 inputs"),
    "a probability": (lambda: Wrapped(lambda out: out[:, 1].sigmoid()), "a probability or a logit"),
    "NaN": (lambda: Wrapped(lambda out: out / 0 * 0), "NaN or infinite values for 40 of 40 clean inputs"),
    "infinity": (lambda: Wrapped(lambda out: out.where(out != out[0], torch.inf)), "NaN or infinite"),
    "maps": (lambda: Wrapped(lambda out: out[..., None, None]), r"logits must be \(N, C\)"),
    "another width": (lambda: Scored(width=13), r"shape \(40, 12\): RuntimeError in 'layer' \(Linear\)"),
    "channels": (lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), r"RuntimeError in '0' \(Conv2d\)"),
    "a fixed batch": (Fixed, "takes batches of 8 alone"),
    "batch statistics": (
        lambda: nn.Sequential(nn.BatchNorm1d(12, track_running_stats=False), Scored()),
        r"'0' \(BatchNorm1d\) normalises by the batch",
    ),
    "no weights yet": (lambda: nn.Sequential(nn.LazyLinear(2)), "lazy layers"),
    "a sparse tensor": (lambda: Wrapped(lambda out: out.to_sparse()), "gives a sparse tensor"),
    "an exit": (lambda: Wrapped(lambda out: sys.exit(3)), r"SystemExit at test_odd_victims.py:\d+: 3$"),
    "an exception": (Raising, r"KeyError at test_odd_victims.py:\d+: 'a name that\\nis not there'"),
    "in double": (lambda: Raising().double(), "KeyError at test_odd_victims"),
    "too few classes": (lambda: Wrapped(lambda out: out[:, :1] - 5), r"labels lie in \[0, 2\]"),
}


def audited(subject: object, x: Tensor, y: Tensor, eps: float) -> dict[str, float]:
    """Return the figures of an audit at one radius."""
    audit = RobustnessAudit(Ball("linf", eps), linf=(), l2=(), steps=8, ensemble="none", pictures=0)
    found = audit.evaluate(subject, ArraySource(x, y))  # type: ignore[arg-type]
    assert found.protocol["samples"] == len(x)
    return found.numbers


def robust(model: Scored, x: Tensor, y: Tensor, eps: float) -> float:
    return float((model.worst(x, y, eps) > 0).double().mean())


@pytest.mark.parametrize("name", SERVED)
def test_odd_networks_are_served_with_the_right_figures(name: str) -> None:
    model, net = Scored(), SERVED[name]()
    x, y = model.inputs(EPS)
    wanted = robust(model, x, y, EPS)
    assert 0.2 < wanted < robust(model, x, y, 0.0) == 0.9
    numbers = audited(net, x, y, EPS)
    assert numbers["clean accuracy"] == 0.9
    assert numbers["robust accuracy, linf 16/255"] == wanted
    found = PGD(Ball("linf", EPS), steps=10)(Victim(net), x, y, generator=0)
    assert found.success.double().mean() == 1 - wanted
    assert (Ball("linf").size(found.x - x) <= EPS * (1 + 1e-6)).all()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    x, y = Scored().inputs(EPS)
    y[0] = 2 if name == "too few classes" else y[0]
    out = tmp_path / "audit"
    for face in (
        lambda: ws.audit(make(), (x, y), out=out, steps=2),
        lambda: ws.certify(make(), (x, y), out=out),
        lambda: ws.certify(make(), (x, y), norm="l2", method="smoothing", out=out),
        lambda: PGD(Ball("linf", EPS), steps=2)(Victim(make()), x, y),
    ):
        with pytest.raises(WithstandError, match=words) as caught:
            face()
        assert "\n" not in str(caught.value)
        assert not out.exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("limits", RANGES)
def test_an_attack_stays_in_the_victims_own_range_and_finds_all_there_is(
    limits: tuple[float, float], dtype: torch.dtype
) -> None:
    low, high = limits
    model = Scored(low, high)
    victim = Victim(Scored(low, high).to(dtype), low=low, high=high)
    radius = victim.radius("16/255")
    assert radius == victim.radius(radius) == pytest.approx(16 / 255 * (high - low))
    x, y = model.inputs(radius)
    found = PGD(Ball("linf", radius), steps=10)(victim, x, y, generator=0)
    assert torch.equal(found.success, model.worst(x, y, radius) <= 0)
    assert low <= found.x.min() <= found.x.max() <= high
    assert (Ball("linf").size(found.x.double() - x) <= radius * (1 + 1e-6)).all()


@pytest.mark.parametrize("limits", [(-1.0, 1.0), (0.0, 255.0)])
def test_a_fraction_is_a_share_of_the_range_and_a_number_in_input_units(limits: tuple[float, float]) -> None:
    low, high = limits
    model, radius = Scored(low, high), 16 / 255 * (high - low)
    x, y = model.inputs(radius)
    victim = Victim(model, low=low, high=high)
    shares, units = (ws.audit(victim, (x, y), eps=eps, steps=8, ensemble="none").numbers for eps in ("16/255", radius))
    assert shares == units
    assert shares["clean accuracy"] == 0.9
    assert shares[f"robust accuracy, linf {radius:.4g}"] == robust(model, x, y, radius)
    usual = RobustnessAudit().radii(victim)
    assert max(usual["linf"]) == pytest.approx(radius)
    assert max(usual["l2"]) == pytest.approx(2 * (high - low))


@pytest.mark.parametrize(
    ("eps", "norm", "words"),
    [
        ("0.03", "linf", "next to nothing of the input range, 0 to 255"),
        (8 / 255, "linf", "8 is what 0.03137"),
        (0.5, "l2", "127.5 is what 0.5"),
        ("300", "linf", "more than the whole input range, 0 to 255$"),
        ("2/1", "linf", "more than the whole input range"),
    ],
)
def test_radii_for_another_range_are_refused(eps: float | str, norm: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Victim(nn.Flatten(), high=255).radius(eps, norm)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=words):
        ws.audit(Victim(Scored(0, 255), high=255), Scored(0, 255).inputs(0.0), eps=eps, norm=norm)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in SERVED if name != "one logit, squeezed"])  # a number: of what?
def test_a_single_sample_is_enough_for_every_face(name: str) -> None:
    x, y = Scored().inputs(EPS)
    one = (x[1:2], y[1:2])
    found = ws.audit(SERVED[name](), one, steps=2, ensemble="none")
    assert found.numbers["clean accuracy"] == 1
    assert found.about == "all 1 samples of data (500 were asked for)"
    assert ws.attack(SERVED[name](), one, samples=1)[0].success.shape == (1,)


def test_decimal_fractions_and_tiny_shares() -> None:
    assert Victim(nn.Flatten()).radius("0.5/255") == 0.5 / 255
    assert Victim(nn.Flatten(), high=255).radius("0.01/255") == pytest.approx(0.01)
    with pytest.raises(ConfigError, match="did you mean 8/255"):
        Victim(nn.Flatten()).radius(8)


def test_pictures_in_another_range_than_the_victims_are_refused() -> None:
    with pytest.raises(DataError, match=r"lie in \[0, 1\], and this victim's input range is 0 to 255"):
        Victim(nn.Flatten(), high=255).ready(torch.rand(4, 1, 3, 3))
    assert Victim(nn.Flatten(), low=-1, high=1).ready(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).tolist() == [
        [[[-1, 1]]]
    ]


class Turned(torch.autograd.Function):
    """A step whose way back is not there."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:
        raise ZeroDivisionError("no way\nback")


class Backless(Scored):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Turned.apply(x))


def test_an_exception_in_the_backward_pass_is_one_line() -> None:
    x, y = Scored().inputs(EPS)
    words = r"backward pass fails on inputs of shape .+: ZeroDivisionError at test_odd_victims.py:\d+: no way back$"
    for face in (
        lambda: ws.audit(Backless(), (x, y), steps=2),
        lambda: ws.attack(Backless(), (x, y), samples=40),
        lambda: PGD(Ball("linf", EPS), steps=2)(Victim(Backless()), x, y),
        lambda: FAB(Ball("linf", EPS), steps=2)(Victim(Backless()), x, y),
        lambda: APGD(Ball("linf", EPS), steps=4)(Victim(Backless()), x, y),
    ):
        with pytest.raises(NetworkError, match=words):
            face()


CENTRED: dict[str, Callable[[Tensor], Tensor]] = {
    "less the batch's mean": lambda out: out - out.mean(0),
    "by the batch's largest": lambda out: out / out.abs().max(),
    "ranks in the batch": lambda out: out.argsort(0).argsort(0).float() + 0 * out,
    "turned round": lambda out: out.flip(0),
}


@pytest.mark.parametrize("name", CENTRED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_answers_that_hang_on_the_batch_are_refused(name: str, dtype: torch.dtype) -> None:
    x, y = Scored().inputs(EPS)
    net = Wrapped(CENTRED[name]).to(dtype)
    for given in (x, x[:12]):
        with pytest.raises(NetworkError, match="hang on the other inputs of their batch"):
            Victim(net).examine(given)
    with pytest.raises(NetworkError, match="hang on the other inputs of their batch"):
        ws.audit(net, (x, y), steps=2, ensemble="none")


def test_a_network_that_draws_at_random_is_not_taken_for_one_that_hangs_on_its_batch() -> None:
    x, _ = Scored().inputs(EPS)
    Victim(Wrapped(lambda out: out + torch.randn_like(out))).examine(x)
    Victim(Wrapped(lambda out: out)).examine(x[:1])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of all these networks, and data for them."""
    folder = tmp_path_factory.mktemp("odd")
    lines = ["from test_odd_victims import REFUSED, SERVED"]
    lines += [f"served_{place} = SERVED[{name!r}]" for place, name in enumerate(SERVED)]
    lines += [f"refused_{place} = REFUSED[{name!r}][0]" for place, name in enumerate(REFUSED)]
    (folder / "odd.py").write_text("\n".join(lines))
    x, y = Scored().inputs(EPS)
    np.savez(folder / "data.npz", x=x.numpy(), y=y.numpy())
    np.savez(folder / "three.npz", x=x.numpy(), y=np.arange(len(y)) % 3)
    return folder


@pytest.mark.parametrize("name", SERVED)
def test_odd_networks_are_attacked_from_the_command_line(
    name: str, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, out = f"{shelf / 'odd.py'}:served_{list(SERVED).index(name)}", tmp_path / "found.npz"
    words = ["attack", network, "--data", str(shelf / "data.npz"), "--eps", "16/255", "--out", str(out), "--json"]
    assert main([*words, "--samples", "40"]) == 0
    x, y = Scored().inputs(EPS)
    facts = json.loads(capsys.readouterr().out)
    assert facts["success"] == pytest.approx(1 - robust(Scored(), x, y, EPS))
    with np.load(out) as arrays:
        assert np.abs(arrays["adversarial"] - arrays["x"]).max() <= EPS * (1 + 1e-6)
        assert arrays["success"].mean() == pytest.approx(facts["success"])


@pytest.mark.parametrize("name", REFUSED)
def test_odd_networks_are_refused_in_one_line_on_the_command_line(
    name: str, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, out = f"{shelf / 'odd.py'}:refused_{list(REFUSED).index(name)}", tmp_path / "out"
    data = shelf / ("three.npz" if name == "too few classes" else "data.npz")
    for words in (
        ["attack", network, "--samples", "40", "--out", str(out) + ".npz"],
        ["audit", network, "--steps", "2", "--out", str(out)],
        ["certify", network, "--out", str(out)],
    ):
        assert main([*words, "--data", str(data)]) == 2
        told = capsys.readouterr()
        assert re.search(REFUSED[name][1], told.err)
        assert (told.out, told.err.count("\n")) == ("", 1)
        assert not list(tmp_path.iterdir())


def test_attack_takes_any_range_and_normalisation_and_tells_what_is_missing(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from victims import Scored\ndef bytes_(): return Scored(0, 255)\ndef even(): return Scored(-1, 1)\n"
    )
    x, y = Scored(0, 255).inputs(16)
    np.savez("wide.npz", x=x.numpy(), y=y.numpy())
    np.savez("unit.npz", x=x.numpy() / 255, y=y.numpy())
    wanted = pytest.approx(1 - robust(Scored(0, 255), x, y, 16.0))
    for words in (
        ["mine.py:bytes_", "--data", "wide.npz", "--high", "255", "--eps", "16/255"],
        ["mine.py:bytes_", "--data", "wide.npz", "--high", "255", "--eps", "16"],
        ["mine.py:even", "--data", "unit.npz", "--normalize", "0.5,0.5", "--eps", "16/255"],
    ):
        assert main(["attack", *words, "--samples", "40", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["success"] == wanted
        assert facts["path"] == f"adversarial-{words[0].replace('.', '-').replace(':', '-').strip('_')}.npz"
        assert Path(facts["path"]).is_file()
    for words, expected in {
        ("mine.py:even",): "needs --data",
        ("mine.py:even", "--data", "wide.npz"): "outside [0, 1]",
        ("mine.py:even", "--data", "unit.npz", "--low", "0.5"): "outside [0.5, 1]",
        ("mine.py:even", "--data", "unit.npz", "--attack", "pdg"): "'pgd'",
        ("mine.py:even", "--data", "unit.npz", "--samples", "0"): "samples must be at least 1",
        ("mine.py:even", "--data", "unit.npz", "--out", "found.npy"): "must name an .npz file",
        ("mine.py:even", "--data", "unit.npz", "--eps", "8"): "did you mean 8/255",
    }.items():
        assert main(["attack", *words]) == 2
        assert expected in capsys.readouterr().err
    assert main(["attack", "mine.py:even", "--data", "unit.npz", "--samples", "500"]) == 0
    assert "of 40 (500 were asked for) predictions wrong" in capsys.readouterr().out


BAD = {
    ":net": "':net' is no run folder, and no network",
    "odd.py:": "'odd.py:' is no run folder, and no network",
    "odd.py:missing": "'odd.py' has no 'missing'",
    "odd.py:served_0 --steps 0": "steps must be at least 1, not 0",
    "odd.py:served_0 --samples 0": "samples must be at least 1, not 0",
    "odd.py:served_0 --eps 0 --out never": "eps above 0",
}


@pytest.mark.parametrize("words", BAD)
def test_what_an_audit_cannot_be_asked_is_told_before_anything_is_written(
    words: str, shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shelf)
    before = sorted(path.name for path in shelf.iterdir())
    assert main(["audit", *words.split(), "--data", "data.npz"]) == 2
    told = capsys.readouterr().err
    assert BAD[words] in told
    assert told.count("\n") == 1
    assert sorted(path.name for path in shelf.iterdir() if path.name != "__pycache__") == [
        name for name in before if name != "__pycache__"
    ]


def test_attack_takes_an_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    x, y = Scored().inputs(EPS)
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    file = tmp_path / "net.onnx"
    torch.onnx.export(
        Scored().eval(), (x[:2],), str(file), dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"]
    )
    words = ["attack", str(file), "--data", str(tmp_path / "data.npz"), "--eps", "16/255", "--samples", "40", "--json"]
    assert main([*words, "--out", str(tmp_path / "found.npz")]) == 0
    assert json.loads(capsys.readouterr().out)["success"] == pytest.approx(1 - robust(Scored(), x, y, EPS))
