"""ColloSSL: which devices are chosen, which windows meet, and a user's own recordings through the whole path."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from withstand.cli.main import main
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.data.derived.subset import Subset
from withstand.data.windows.source import WindowSource
from withstand.losses.contrast.explicit import group_info_nce
from withstand.losses.discrepancy import mmd
from withstand.methods.sensors.collossl import ColloSSL, derangement
from withstand.methods.shared.device_selection import FLOOR, distances_to, group_weights, select
from withstand.models.windows.tpn import TPN, AnchorEncoder, fitting_kernels

pd = pytest.importorskip("pandas", reason="extra table")

DISTANCES = [0.3, 0.0, 0.1, 0.2]


def test_documented_sets_of_devices() -> None:
    assert select(DISTANCES, 1, "closest_pos_all_neg") == ([2], [2, 3, 0])
    assert select(DISTANCES, 1, "closest_pos_rest_neg") == ([2], [3, 0])
    assert select(DISTANCES, 1, "closest_only") == ([2], [2])
    assert select(DISTANCES, 1, "hard_negative") == ([2], [3, 0])
    assert select([0.5, 0.5, 0.0, 0.5], 2, "closest_pos_all_neg") == ([0], [0, 1, 3]), "ties go by device order"
    with pytest.raises(DataError, match=r"1 device\(s\)"):
        select([0.0], 0, "closest_pos_all_neg")
    with pytest.raises(ConfigError, match="selection 'near' is unknown"):
        select(DISTANCES, 1, "near")  # type: ignore[arg-type]


def test_distances_and_weights_by_the_plain_formula() -> None:
    norms = torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(0)).double().abs()
    norms[:, 2] = norms[:, 0]
    found = distances_to(norms, 0)
    assert found.tolist() == pytest.approx([0, float(mmd(norms[:, 0], norms[:, 1])), FLOOR])
    near, far = group_weights(found, [2, 1])
    assert float(near) == pytest.approx(FLOOR)
    assert far.tolist() == pytest.approx([1.0, FLOOR / float(found[1])])
    near, far = group_weights(found, [2, 1], largest=10.0)
    assert (float(near), float(far[0])) == pytest.approx((0.1, 1.0))


@pytest.mark.parametrize("count", [2, 3, 10])
def test_no_window_meets_its_own_time(count: int) -> None:
    seen = set()
    for step in range(20):
        batch = Batch(torch.zeros(count, 1), torch.arange(count), step=step)
        found = derangement(batch, count, "negatives")
        assert sorted(found.tolist()) == list(range(count))
        assert not bool((found == torch.arange(count)).any())
        seen.add(tuple(found.tolist()))
    assert len(seen) > 1 or count == 2


def test_a_step_by_its_parts() -> None:
    method, batch = ColloSSL.example().double(), WindowSource.example()[range(8)]
    x = batch.x.double()
    anchor = method.encoder.anchor
    lengths = x[:, :, :3].norm(dim=2)
    distances = torch.stack(
        [mmd(lengths[:, anchor], lengths[:, place]).clamp_min(1e-4) for place in range(3)]
    )  # fmt: skip
    distances[anchor] = 0
    others = sorted((place for place in range(3) if place != anchor), key=lambda place: float(distances[place]))
    codes = [method.encoder.trunk(x[:, place]) for place in range(3)]
    far = [codes[place][derangement(batch, 8, f"negatives {place} 0")] for place in others]
    inverse = 1 / distances[others]
    expected = group_info_nce(
        codes[anchor], codes[others[0]][None], torch.stack(far), 0.05,
        positive_weights=torch.ones(1), negative_weights=inverse,
    )  # fmt: skip
    terms = method.step(batch.with_x(x))
    torch.testing.assert_close(terms["loss"], expected)
    assert int(terms["closest"]) == others[0]
    assert terms["aligned"].item() == pytest.approx(
        torch.nn.functional.cosine_similarity(codes[anchor], codes[others[0]]).mean().item(), abs=1e-6
    )


def test_the_published_sign_pushes_aligned_windows_apart() -> None:
    batch = WindowSource.example()[range(8)]
    aligned = {}
    for published in (False, True):
        torch.manual_seed(0)
        method = ColloSSL(
            AnchorEncoder(TPN(3, (6, 8), (3, 2), 0.0)), published_sign=published, selection="closest_only"
        )  # fmt: skip
        optimizer = torch.optim.Adam(method.parameters(), 0.01)
        for _ in range(30):
            terms = method.step(batch)
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
        terms = method.step(batch)
        aligned[published] = float(terms["aligned"] - terms["misaligned"])
    assert aligned[False] > 0.02 > 0 > aligned[True]


def test_batches_never_mix_users() -> None:
    method = ColloSSL(AnchorEncoder.example(), users=(9, 20, 14))
    whose = torch.arange(3).repeat_interleave(torch.tensor([9, 20, 14]))
    order = torch.randperm(43, generator=torch.Generator().manual_seed(0))
    found = method.order(order, 7)
    assert len(found) == 43 // 7 * 7
    assert all(len(set(whose[rows].tolist())) == 1 for rows in found.view(-1, 7))
    assert torch.equal(found, method.order(order, 7))


def test_what_does_not_fit_is_refused() -> None:
    source = WindowSource.example()
    method = ColloSSL(AnchorEncoder.example(), users=(4, 4))
    method.accept(source, 4)
    with pytest.raises(DataError, match="batch 5 is larger than any user's windows, 4"):
        method.accept(source, 5)
    with pytest.raises(ConfigError, match=r"users must be \(4, 4\)"):
        ColloSSL.example().accept(source, 4)
    with pytest.raises(ConfigError, match="the anchor is device 3"):
        ColloSSL(AnchorEncoder(TPN.example(), 3), users=(4, 4)).accept(source, 4)
    alone = WindowSource(source[range(8)].x[:, :1], ("wrist",), source.channels)
    with pytest.raises(DataError, match="at least 2"):
        ColloSSL(AnchorEncoder(TPN.example())).accept(alone, 4)
    with pytest.raises(DataError, match="readings"):
        TPN(3).forward(torch.zeros(2, 3, 20))


def test_the_network_is_tpn() -> None:
    torch.manual_seed(0)
    network = TPN(6).eval()
    x = torch.randn(2, 6, 150)
    first, second, third = (layer for layer in network.layers if isinstance(layer, torch.nn.Conv1d))
    assert [layer.weight.shape for layer in (first, second, third)] == [(32, 6, 24), (64, 32, 16), (96, 64, 8)]
    expected = third(second(first(x).relu()).relu()).relu().max(dim=2).values
    torch.testing.assert_close(network(x), expected)
    assert fitting_kernels(150) == (24, 16, 8)
    assert sum(fitting_kernels(18)) - 2 <= 18


@pytest.mark.thorough
def test_a_users_recordings_go_the_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draws = np.random.default_rng(0)
    for user in ("anna", "ben", "carla"):
        (tmp_path / "lab" / user).mkdir(parents=True)
        pace = np.repeat(draws.permutation([1.0, 3.0] * 3), 100)
        phase = np.cumsum(pace) * 0.3
        for place, device in enumerate(("hip", "wrist")):
            columns = {f"acc_{axis}": np.sin(phase + place + turn) for turn, axis in enumerate("xyz")}
            told = np.where(pace > 2, "run", "walk")
            table = pd.DataFrame({"time_s": np.arange(600) / 50, **columns, "activity": told})
            table.to_csv(tmp_path / "lab" / user / f"{device}.csv", index=False)
    run, data = str(tmp_path / "run"), str(tmp_path / "lab")
    told = "train collossl --epochs 2 --batch 16 --width 6 --seconds 0.5 --anchor wrist --quiet --held-out ben"
    assert main([*told.split(), "--data", data, "--out", run]) == 0
    assert main(["probe", run]) == 0
    shown = capsys.readouterr().out
    assert "cosine of aligned windows" in shown
    assert main(["embed", run, "--out", str(tmp_path / "codes.npz")]) == 0
    with np.load(tmp_path / "codes.npz") as codes:
        assert codes["x"].shape == (72, 6)
    assert main(["audit", run, "--samples", "4", "--steps", "1", "--ensemble", "none"]) == 0
    assert main(["report", run]) == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "windows" in page
    assert "devices" in page
    assert main(["train", "collossl", "--data", data, "--anchor", "writs", "--out", str(tmp_path / "no")]) == 2
    assert "there is no device 'writs'" in capsys.readouterr().err


def test_held_out_windows_are_kept_from_training() -> None:
    from withstand.recipes.sensors.collossl import SETUP, experiment

    made = experiment(SETUP.__class__(data=WindowSource.example(), width=6, batch=4, held_out=("ben",)))
    assert isinstance(made.source, Subset)
    assert isinstance(made.test, Subset)
    assert set(made.source.rows.tolist()).isdisjoint(made.test.rows.tolist())
    assert math.prod(made.source.shape) == 3 * 3 * 12
