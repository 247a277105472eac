"""C-GAC: what teaches whom, and what the recipe refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from withstand.core.batch import KEYPOINTS, MASK, VISIBLE, Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import describe
from withstand.core.random import Draws
from withstand.core.roles import network_of
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.synthetic.landmarks import LANDMARKS, LandmarkDigits, landmarks
from withstand.data.pictures.npz.keypoints import KeypointFile, has_keypoints
from withstand.engine.outputs import maker_of, outputs
from withstand.evaluation.dense.keypoints.judge import KeypointJudge
from withstand.methods.dense.c_gac import CGAC, LABELLED
from withstand.models.dense.locator import Located, Locator
from withstand.recipes.dense.c_gac import SETUP, experiment, pairs_of
from withstand.views.pictures.placement import Placement

STILL = Placement(3, mirrored=0.0, turned=0.0, shifted=0.0, hidden=0.0)


class Bright(Locator):
    """Tells the brightest pixel of each channel, and a mask of what is brighter than a half: equivariant."""

    def forward(self, x: Tensor) -> Located:
        peaks = (x * 4 - 3).clamp_min(0) + 0 * self.mask.weight.sum() + 0 * self.maps.weight.sum()
        return Located(peaks[:, :2], 400 * (x[:, 2] - 0.5))


def viewed(batch: Batch, view: Placement) -> Batch:
    known = view(batch.beside[LABELLED], Draws(0, batch.index))
    return replace(view(replace(batch, views=()), Draws(1, batch.index)), beside={LABELLED: known})


def make(**settings: object) -> CGAC:
    torch.manual_seed(0)
    return CGAC(**{**CGAC.example()._init_args, **settings})  # type: ignore[arg-type]


def gradients(method: CGAC, batch: Batch) -> dict[str, Tensor]:
    method.zero_grad()
    method.step(batch)["loss"].backward()
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def test_without_weight_it_goes_on_with_the_labelled_pictures_alone() -> None:
    stage, plain = make(weight=0.0), make()
    batch = plain.example_batch()
    stage.load_state_dict(plain.state_dict())
    beside = stage.step(batch)
    alone = stage.step(batch.beside[LABELLED])
    assert torch.equal(beside["loss"], alone["loss"])
    assert set(beside) == {"loss", "source"}


def test_no_gradient_reaches_what_answers() -> None:
    method = make(distil=0.0)
    batch = method.example_batch()
    ours = gradients(method, batch)
    method.weight = 0.3
    theirs = gradients(method, batch)
    for name in ours:
        same = torch.allclose(ours[name], theirs[name])
        assert same == name.startswith("teachers."), name


def test_the_students_answers_do_not_learn_from_its_teachers() -> None:
    method = make()
    batch = method.example_batch()
    ours = gradients(method, batch)
    method.distil = 0.7
    theirs = gradients(method, batch)
    for name in ours:
        assert torch.allclose(ours[name], theirs[name]) == (not name.startswith("teachers.")), name


def test_agreement_under_geometry_costs_an_equivariant_network_nothing() -> None:
    method = make(teachers="none", keypoints=1.0).eval()
    method.locator = Bright.example()
    plain = method.example_batch()
    x = torch.zeros(8, 3, 8, 8)
    x[:, 0, 2, 3] = x[:, 1, 5, 6] = 1.0
    x[:, 2, 1:4, 2:7] = 1.0
    batch = viewed(replace(plain, x=x), replace(STILL, mirrored=0.5))
    target = method.step(batch)["target"]
    maps = torch.zeros(8, 2, 8, 8)
    maps[:, 0, 2, 3] = maps[:, 1, 5, 6] = 1.0
    bumps = method.step(viewed(replace(plain, x=x), STILL))["target"]
    torch.testing.assert_close(target, bumps, msg="what is left is the width of bumps, whatever moves")
    assert float(target) < 0.01


def test_a_still_view_agrees_with_itself_on_masks() -> None:
    method = make(teachers="none", keypoints=1e-12, weight=1.0).eval()
    batch = viewed(method.example_batch(), STILL)
    probabilities = method.locator(batch.x).logits.sigmoid().detach()
    entropy = -(probabilities * probabilities.log() + (1 - probabilities) * (1 - probabilities).log()).mean()
    torch.testing.assert_close(method.step(batch)["target"], entropy)


def test_teachers_may_change_places() -> None:
    method = make()
    batch = method.example_batch()
    one = method.eval().confidences(batch.x / 255)
    first, second = (teacher.state_dict() for teacher in method.teachers)
    first = {name: value.clone() for name, value in first.items()}
    method.teachers[0].load_state_dict(second)
    method.teachers[1].load_state_dict(first)
    assert torch.equal(method.confidences(batch.x / 255), one)


def test_equal_teachers_weigh_everything_1_and_are_noticed() -> None:
    method = make()
    assert method.collapsed() == ""
    method.teachers[1].load_state_dict(method.teachers[0].state_dict())
    assert method.step(method.example_batch())["confidence"] == 1
    assert "same weights" in (method.collapsed() or "")


def test_nothing_is_said_of_teachers_that_are_not_there() -> None:
    assert make(teachers="none").collapsed() is None
    trial = KeypointJudge.example().example_trial()
    known = KeypointJudge(shown=2).evaluate(trial.subject, trial.source)
    assert [check.name for check in known.checks] == ["the teachers are two networks"]
    assert KeypointJudge(shown=2).evaluate(make(teachers="none"), trial.source).checks == ()


def test_strength_0_weighs_everything_1() -> None:
    method = make(strength=0.0)
    assert method.step(method.example_batch())["confidence"] == 1


def test_the_first_batch_sets_the_unit_of_disagreement() -> None:
    method = make()
    batch = method.example_batch()
    sure = method.step(batch)["confidence"]
    assert bool(method.measured)
    assert (method.medians > 0).all()
    assert 0.4 < float(sure) < 0.7, "2 (1 - sigmoid(1)) at the median"
    kept = method.medians.clone()
    method.step(replace(batch, x=255 - batch.x))
    assert torch.equal(method.medians, kept)


def test_averaged_teachers_follow_and_are_not_trained() -> None:
    method = make(teachers="averaged", momentum=0.75)
    assert not any(p.requires_grad for p in method.teachers.parameters())
    before = [p.clone() for p in method.teachers[0].parameters()]
    method.after_step(1)
    for own, old, student in zip(method.teachers[0].parameters(), before, method.locator.parameters(), strict=True):
        torch.testing.assert_close(own, 0.75 * old + 0.25 * student)
    stage = make(teachers="averaged", weight=0.0)
    assert all(p.requires_grad for p in stage.teachers.parameters()), "they learn from labels before"


def test_masks_wait_for_their_turn() -> None:
    method = make(pose_first=0.5, keypoints=1e-9)
    batch = method.example_batch()
    method.before_run(10)
    early, late = (method.step(replace(batch, step=step))["target"] for step in (4, 5))
    assert early < 1e-6 < late


def test_points_with_sides_change_places_in_mirrors() -> None:
    method = make(swaps=((0, 1),), masks=0.0, weight=0.0, teachers="none")
    known = method.example_batch().beside[LABELLED]
    points = torch.tensor([[1.0, 2.0], [6.0, 5.0]]).expand(8, 2, 2)
    mirror = replace(STILL, count=1, mirrored=1.0)
    own = mirror(replace(known, views=(), extras={KEYPOINTS: points}), Draws(0, known.index))
    swapped = torch.tensor([[6.0, 5.0], [1.0, 2.0]]).expand(8, 2, 2)
    plain = make(masks=0.0, weight=0.0, teachers="none")
    plain.load_state_dict(method.state_dict())
    other = replace(own, extras={**own.extras, KEYPOINTS: swapped})
    assert torch.equal(method.step(own)["loss"], plain.step(other)["loss"])
    assert not torch.equal(plain.step(own)["loss"], plain.step(other)["loss"])


def test_points_that_are_not_known_or_leave_the_picture_teach_nothing() -> None:
    method = make(masks=0.0, weight=0.0, teachers="none").eval()
    known = method.example_batch().beside[LABELLED]
    far = replace(known, extras={**known.extras, KEYPOINTS: torch.full((8, 2, 2), 40.0)})
    assert method.step(far)["loss"] == 0
    hidden = replace(known, extras={**known.extras, VISIBLE: torch.zeros(8, 2, dtype=torch.bool)})
    assert method.step(hidden)["loss"] == 0


@pytest.mark.parametrize(
    "wrong",
    [{"teachers": "ema"}, {"weight": -1.0}, {"distil": float("inf")}, {"strength": -0.1}, {"keypoints": 0.0},
     {"sigma": 0.0}, {"delta": -1.0}, {"pose_first": 1.5}, {"momentum": 2.0}, {"swaps": ((0, 2),)}],
)  # fmt: skip
def test_settings_out_of_range_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        make(**wrong)


def test_what_cannot_be_learnt_from_is_said() -> None:
    method = make()
    batch = method.example_batch()
    with pytest.raises(DataError, match="beside"):
        method.step(replace(batch, beside={}))
    with pytest.raises(DataError, match="views"):
        method.step(replace(batch, views=batch.views[:1]))
    bare = replace(batch.beside[LABELLED], extras={})
    with pytest.raises(DataError, match="keypoints"):
        method.step(replace(batch, beside={LABELLED: bare}))
    with pytest.raises(ConfigError, match="run of its own"):
        method.inherit(_Other.example())
    with pytest.raises(ConfigError, match="no teachers"):
        method.inherit(make(teachers="none"))


class _Other(CGAC):
    """Stands in for another method."""

    @classmethod
    def example(cls) -> "CGAC":
        from withstand.methods.dense.segmentation import Segmentation

        return Segmentation.example()  # type: ignore[return-value]


def test_a_later_stage_goes_on_from_all_three_and_keeps_the_start() -> None:
    earlier, later = make(weight=0.0), make()
    with torch.no_grad():
        for p in earlier.parameters():
            p.add_(0.1)
    later.inherit(earlier)
    for one, two in zip(earlier.networks(), later.networks(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(later.start.parameters(), earlier.locator.parameters(), strict=True))
    assert list(later.locators()) == ["before adaptation", "student"]


def test_what_it_makes_of_pictures() -> None:
    method = make().eval()
    source = ArraySource(method.example_batch().x)
    ((_, made),) = outputs(method, maker_of(method, None), source)
    assert made["keypoints"].values.shape == (8, 2, 3)
    assert made["masks"].values.shape == (8, 8, 8)
    assert made["confidence"].form == "columns"
    assert torch.equal(network_of(method, "keypoints")(source[range(8)].x), made["keypoints"].values)
    assert torch.equal(network_of(method, "segmenter")(source[range(8)].x).argmax(1), made["masks"].values)
    assert "segmenter" not in make(masks=0.0).products()


# ---- data


def write(path: Path, *, count: int = 20, side: int = 8, **arrays: object) -> Path:
    draws = np.random.default_rng(0)
    x = draws.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    points = draws.uniform(1, side - 2, (count, 2, 2))
    np.savez(path, **{"x": x, "keypoints": points, "mask": (x[..., 0] > 128).astype(np.uint8)} | arrays)
    return path


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    points = np.full((20, 2, 3), 3.25)
    points[0, 0, 2] = 0
    points[1, 1, 0] = np.nan
    points[2, 1, 1] = 11.0
    source = KeypointFile(write(tmp_path / "hands.npz", kp=points))
    assert source[[5]].extras[KEYPOINTS].shape == (1, 2, 2)
    np.savez(tmp_path / "other.npz", x=np.zeros((20, 8, 8, 3), np.uint8), kp=points)
    batch = KeypointFile(tmp_path / "other.npz")[range(20)]
    assert MASK not in batch.extras
    unknown = (~batch.extras[VISIBLE]).nonzero().tolist()
    assert unknown == [[0, 0], [1, 1], [2, 1]]
    assert torch.equal(batch.extras[KEYPOINTS][3], torch.full((2, 2), 3.25))


def test_another_size_moves_points_and_masks_along(tmp_path: Path) -> None:
    x = np.zeros((4, 16, 16, 3), np.uint8)
    x[:, 4:8, 8:12] = 255
    points = np.tile(np.array([9.5, 5.5]), (4, 1, 1))
    np.savez(tmp_path / "square.npz", x=x, keypoints=points, mask=x[..., 0] // 255)
    batch = KeypointFile(tmp_path / "square.npz", 8)[range(4)]
    assert batch.x.shape == (4, 3, 8, 8)
    assert batch.extras[KEYPOINTS][0].tolist() == [[4.5, 2.5]]
    assert batch.extras[MASK][0].nonzero().tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]
    with pytest.raises(DataError, match="squares"):
        KeypointFile(write(tmp_path / "oblong.npz", x=np.zeros((20, 8, 6, 3), np.uint8), mask=np.zeros((20, 8, 6), int),
                           keypoints=np.full((20, 2, 2), 3.0)), 8)  # fmt: skip


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (
            np.random.default_rng(0).uniform(-1, 1, (20, 2, 2)),
            r"must be in pixels, and these lie in \[-0\.\d+, 0\.\d+\]",
        ),
        (np.random.default_rng(0).uniform(0, 1, (20, 2, 2)), r"must be in pixels"),
        (np.zeros((20, 4)), r"must be numbers \(N, J, 2\).*\(20, 4\)"),
        (np.zeros((20, 2, 4)), r"\(20, 2, 4\)"),
        (np.zeros((20, 0, 2)), r"\(20, 0, 2\)"),
        (np.full((19, 2, 2), 3.0), "19 rows for 20"),
        (np.full((20, 2, 2), np.nan), "no point is known"),
        (np.full((20, 2, 2), 80.0), "outside"),
        (np.full((20, 2, 2), "a"), "must be numbers"),
    ],
)
def test_points_that_are_none_are_refused(tmp_path: Path, points: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        KeypointFile(write(tmp_path / "wrong.npz", keypoints=points))


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((20, 7, 8), int),
        np.zeros((20, 8, 8)),
        np.zeros((20, 8, 8, 1), int),
        np.full((20, 8, 8), -1),
    ],
)
def test_masks_of_another_kind_are_refused(tmp_path: Path, mask: object) -> None:
    with pytest.raises(DataError, match="mask must be"):
        KeypointFile(write(tmp_path / "wrong.npz", mask=mask))


def test_no_points_are_no_such_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", x=np.zeros((4, 8, 8, 3), np.uint8))
    assert not has_keypoints(tmp_path / "plain.npz")
    with pytest.raises(DataError, match="keypoints"):
        KeypointFile(tmp_path / "plain.npz")


def test_landmarks_are_the_outermost_pixels() -> None:
    mask = torch.zeros(1, 6, 7, dtype=torch.bool)
    mask[0, 1, 2] = mask[0, 2, 1:6] = mask[0, 4, 3] = True
    assert landmarks(mask)[0].tolist() == [
        [2, 1],
        [3, 4],
        [1, 2],
        [5, 2],
        [pytest.approx(20 / 7), pytest.approx(15 / 7)],
    ]


def test_both_looks_are_of_the_same_digits() -> None:
    clean, photos = LandmarkDigits("clean", count=30), LandmarkDigits("photos", count=30)
    one, two = clean[range(30)], photos[range(30)]
    assert torch.equal(one.extras[KEYPOINTS], two.extras[KEYPOINTS])
    assert torch.equal(one.extras[MASK], two.extras[MASK])
    assert not torch.equal(one.x, two.x)
    assert one.extras[KEYPOINTS].shape == (30, len(LANDMARKS), 2)
    assert torch.equal((one.x[:, 0] > 0.3 * 255).long(), one.extras[MASK])
    part = LandmarkDigits("photos", first=10, count=5)
    assert torch.equal(part[range(5)].x, two.x[10:15])
    for wrong in ({"look": "dark"}, {"first": 1790, "count": 10}):
        with pytest.raises(ConfigError, match=r"look|first"):
            LandmarkDigits(**wrong)  # type: ignore[arg-type]


# ---- the recipe


def test_the_target_brings_no_labels_to_training(tmp_path: Path) -> None:
    path = write(tmp_path / "hands.npz")
    made = experiment(replace(SETUP, data=str(path), target=str(path), batch=4), width=2, levels=2)
    made.check()
    assert not made.source[[0]].extras
    assert set(made.beside[LABELLED][[0]].extras) == {KEYPOINTS, VISIBLE, MASK}
    assert made.test is not None
    assert KEYPOINTS in made.test[[0]].extras
    assert not made.judges[0].lacks(made.method, made.source), "the judge is not left out for what is learnt from"
    assert describe(made.first.method)["init_args"]["weight"] == 0  # type: ignore[union-attr,call-overload,index]


def test_a_target_without_points_is_learnt_from_whole(tmp_path: Path) -> None:
    """Nothing of it can judge: what judges are labelled pictures."""
    known = write(tmp_path / "hands.npz")
    np.savez(tmp_path / "bare.npz", x=np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8))
    made = experiment(replace(SETUP, data=str(known), target=str(tmp_path / "bare.npz"), batch=4), width=2, levels=2)
    assert len(made.source) == 20
    assert made.test is not None
    assert KEYPOINTS in made.test[[0]].extras


def test_labelled_pictures_without_masks_leave_masks_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", x=np.zeros((20, 8, 8, 3), np.uint8), keypoints=np.full((20, 3, 2), 3.0))
    path = str(tmp_path / "points.npz")
    made = experiment(replace(SETUP, data=path, target=path, batch=4), width=2, levels=2)
    assert isinstance(made.method, CGAC)
    assert made.method.masks == 0


@pytest.mark.parametrize(
    ("data", "target", "words"),
    [
        ("landmark-digitz", None, "did you mean 'landmark-digits'"),
        ("landmark-digits", "hands.npz", "5 points a picture, and target 2"),
        ("hands.npz", None, "by target"),
        ("plain.npz", "hands.npz", "has no points"),
    ],
)
def test_data_that_do_not_fit_are_refused(tmp_path: Path, data: str, target: str | None, words: str) -> None:
    write(tmp_path / "hands.npz")
    np.savez(tmp_path / "plain.npz", x=np.zeros((20, 8, 8, 3), np.uint8))
    there = {name: str(tmp_path / name) for name in ("hands.npz", "plain.npz")}
    with pytest.raises(DataError, match=words):
        experiment(replace(SETUP, data=there.get(data, data), target=there.get(target or "", target)))


def test_sides_fit_the_levels(tmp_path: Path) -> None:
    path = write(tmp_path / "hands.npz", side=10)
    made = experiment(replace(SETUP, data=str(path), target=str(path), batch=4), levels=3)
    with pytest.raises(DataError, match=r"multiples of 4.*--size"):
        made.check()


def test_swaps_are_pairs() -> None:
    assert pairs_of("0-1,2-3") == ((0, 1), (2, 3))
    assert pairs_of("") == ()
    for wrong in ("0", "0-a", "0-1-2"):
        with pytest.raises(ConfigError, match="0-1,2-3"):
            pairs_of(wrong)
