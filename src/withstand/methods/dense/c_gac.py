"""C-GAC: keypoints and masks taught where there are labels, and carried to other pictures by agreement under geometry.

paper: Domain Adaptive Hand Keypoint and Pixel Localization in the Wild (Ohkawa et al., 2022)
needs: pictures without labels, and labelled ones beside; views of both that say what moved where   modalities: pictures
sizes: B pictures, J points, H x W pixels; network 0 is the student, 1 and 2 are the teachers
differences: the official code has no teachers: their loop is the paper's as it is told there, and each of its steps
  moves the three networks at once. A teacher's disagreement is divided by its median on the first batch, task by task.
  Points are rounded to the nearest pixel, there cut off, which draws them to the upper left with each round of
  pseudo-labels. Points outside the picture do not count, there their heatmaps are to be 0. Weights keep the official
  ratio of both losses, 1e5.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor, nn

from withstand.core.batch import KEYPOINTS, MASK, VISIBLE, Batch, unit_range
from withstand.core.devices.distributed import gather
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.outputs import Maker, Output
from withstand.core.part import again
from withstand.core.roles import Method, Product, Source, Terms
from withstand.losses.agreement.heatmaps import DELTA, confidence, heatmap_loss, heatmaps, highest, mask_loss
from withstand.methods.shared.localisation import disagreements, mean_answer, swapped_points
from withstand.models.blocks.memory.ema import follow
from withstand.models.dense.locator import Keypoints, Located, Locator, MaskSegmenter
from withstand.models.dense.unet import UNetEncoder
from withstand.views.pictures.placement import GEOMETRY, HIDDEN, Placement, inside, moved, painted, placed

LABELLED = "labelled"
"""The name in `Batch.beside` of pictures with labels."""
Teachers: TypeAlias = Literal["distilled", "averaged", "none"]
"""How teachers learn from the student: by its answers (the paper's), by an average of its weights; or the student
answers itself, which is GAC."""


class CGAC(Method):
    """Three networks learn keypoints and a mask from labels; two teach the third on pictures without.

    A network's loss on labelled pictures is the task's on views of them. On pictures without labels the student is to
    say of a view what the teachers say of the picture, moved as the view was; how far the teachers disagree sets the
    picture's weight. The teachers learn likewise from the student, on views of their own.

    Args:
        locator: the student; teachers are of its kind, with weights of their own.
        teachers: how they learn; see `Teachers`.
        weight: of pictures without labels, for the student; 0 learns from labelled ones alone.
        distil: the same for distilled teachers.
        strength: lambda_d, how fast weights fall with disagreement in units of its median; 0 for all weights 1.
        keypoints: what Huber's loss of heatmaps weighs.
        delta: where Huber's loss turns from a square into a line. At the published 0.01 it is nearly the absolute
            difference, under which small networks first tell empty maps; 1 is half the squared difference.
        masks: what the cross-entropy of masks weighs; 0 for no masks.
        sigma: of heatmaps, as a share of the picture's longer side.
        pose_first: share of the run in which masks do not yet learn from pictures without labels.
        momentum: what averaged teachers keep at each step. They come ever closer to the student and to each other,
            so that their disagreement fades.
        swaps: pairs of points that change places in a mirrored picture, as left and right.
    """

    taught_by = "keypoints"

    encoder: UNetEncoder

    def __init__(
        self,
        locator: Locator,
        *,
        teachers: Teachers = "distilled",
        weight: float = 0.1,
        distil: float = 0.1,
        strength: float = 1.0,
        keypoints: float = 1e5,
        masks: float = 1.0,
        delta: float = DELTA,
        sigma: float = 1 / 16,
        pose_first: float = 0.5,
        momentum: float = 0.99,
        swaps: tuple[tuple[int, int], ...] = (),
    ) -> None:
        super().__init__()
        if teachers not in get_args(Teachers):
            raise ConfigError(f"teachers {teachers!r} is unknown: {nearest(teachers, get_args(Teachers))}")
        for name, value in (("weight", weight), ("distil", distil), ("strength", strength), ("masks", masks)):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name} must be at least 0 and finite, not {value!r}")
        for name, value in (("keypoints", keypoints), ("delta", delta), ("sigma", sigma)):
            if not 0 < value < float("inf"):
                raise ConfigError(f"{name} must be above 0 and finite, not {value!r}")
        for name, value in (("pose_first", pose_first), ("momentum", momentum)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], not {value!r}")
        self.medians: Tensor
        self.measured: Tensor
        self.swapped = swapped_points(swaps, locator.points)
        self.encoder, self.locator, self.how = locator.network.encoder, locator, teachers
        self.teachers = nn.ModuleList(again(locator) for _ in range(0 if teachers == "none" else 2))
        self.start = again(locator).requires_grad_(False)
        self.weight, self.distil, self.strength = weight, distil, strength
        self.delta, self.sigma = delta, sigma
        self.keypoints, self.masks, self.pose_first, self.momentum = keypoints, masks, pose_first, momentum
        self.follows = weight > 0 and teachers == "averaged"
        if self.follows:
            self.teachers.requires_grad_(False)
        if not masks:
            for network in self.networks():
                network.mask.requires_grad_(False)
        self.register_buffer("medians", torch.ones(2))
        self.register_buffer("measured", torch.zeros((), dtype=torch.bool))
        self._steps: int | None = None

    @classmethod
    def example(cls) -> Self:
        return cls(Locator.example(), keypoints=10.0)

    def example_batch(self, rows: range = range(8)) -> Batch:
        """Return pictures without labels, with labelled ones beside, and as many views as there may be networks."""
        plain = super().example_batch(rows)
        points = torch.stack((plain.index % 5 + 1, plain.index % 4 + 2), 1)[:, None].repeat(1, self.locator.points, 1)
        mask = (plain.x[:, 0] > 128).long()
        known = replace(
            plain, x=255 - plain.x, views=(), extras={KEYPOINTS: points.to(torch.get_default_dtype()), MASK: mask}
        )
        view = Placement(3, mirrored=0.0)
        return replace(
            view(replace(plain, y=None, views=()), plain.draws("target")),
            beside={LABELLED: view(known, plain.draws("source"))},
        )

    def networks(self) -> list[Locator]:
        """Return the student and its teachers."""
        return [self.locator, *self._teachers()]

    def products(self) -> dict[str, Product]:
        """Return the student: its encoder, its points `(B, J, 3)` with heights of bumps, its mask's logits."""
        given: dict[str, Product] = {"encoder": self.encoder, "keypoints": Keypoints(self.locator)}
        return given | ({"segmenter": MaskSegmenter(self.locator)} if self.masks else {})

    def maker(self) -> Maker:
        return self.found_in

    def found_in(self, batch: Batch) -> dict[str, Output]:
        """Return points with the heights of their bumps, masks, and how sure two teachers are of each picture."""
        told = self.locator(batch.x)
        made = {"keypoints": Output(highest(told.maps), "points")}
        if self.masks:
            made["masks"] = Output((told.logits > 0).long(), "masks")
        if self.teachers:
            made["confidence"] = Output(self.confidences(batch.x), "columns")
        return made

    def confidences(self, x: Tensor) -> Tensor:
        """Return each picture's weight by how far the teachers disagree, `(B,)`: 1 for all without teachers."""
        if not self.teachers:
            return torch.ones(len(x), device=x.device)
        one, two = (network(x) for network in self._teachers())
        return confidence(self._scaled(disagreements(one, two, self.delta)), self.strength)

    def locators(self) -> Mapping[str, nn.Module]:
        """Return the networks that tell points and masks, by name: the student last, before it what it started from."""
        return ({"before adaptation": self.start} if self.weight else {}) | {"student": self.locator}

    def collapsed(self) -> str | None:
        """Return in words that both teachers are one network, whose agreement says nothing; "" otherwise.

        None without teachers.
        """
        if len(self.teachers) < 2:
            return None
        one, two = (list(network.parameters()) for network in self._teachers())
        alike = all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        return "both teachers have the same weights: they agree on everything" if alike else ""

    def accept(self, source: Source, batch: int) -> None:
        channels = next(self.encoder.parameters()).shape[1]
        if len(source.shape) != 3 or source.shape[0] != channels:
            raise DataError(f"points are told of pictures of {channels} channels, not of samples of {source.shape}")
        unit = 2 ** (len(self.encoder.channels) - 1)
        if source.shape[1] % unit or source.shape[2] % unit:
            raise DataError(
                f"sides of pictures must be multiples of {unit} for {len(self.encoder.channels)} levels, not "
                f"{source.shape[1]} x {source.shape[2]}: choose them by --size"
            )

    def inherit(self, earlier: Method) -> None:
        """Go on from an earlier stage of this method.

        Raises:
            ConfigError: another method, other networks, or no teachers where there are some here.
        """
        if not isinstance(earlier, CGAC):
            raise ConfigError(f"c-gac goes on from a run of its own, not from one of {type(earlier).__name__}")
        theirs = earlier.networks()
        if len(theirs) < 1 + len(self.teachers):
            raise ConfigError("the earlier stage has no teachers: take teachers none here, or train them there")
        try:
            for mine, other in zip(self.networks(), theirs, strict=False):
                mine.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise ConfigError("the earlier stage's networks have other widths or points: give the same") from error
        self.start.load_state_dict(self.locator.state_dict())

    def before_run(self, steps: int) -> None:
        self._steps = steps

    def after_step(self, step: int) -> None:
        if self.follows:
            for teacher in self._teachers():
                follow(teacher, self.locator, self.momentum)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and its parts: `source` and `target` of the student, `teachers`, and the mean `confidence`.

        Raises:
            DataError: labelled pictures without points, or views that do not say what moved.
        """
        known = batch.beside.get(LABELLED, batch)
        if known is batch and self.weight:
            raise DataError(f"c-gac reads labelled pictures beside its batch, by the name {LABELLED!r}")
        learning = [self.locator] if self.follows else self.networks()
        supervised = [self._supervised(network, known, place).mean() for place, network in enumerate(learning)]
        loss = torch.stack(supervised).sum()
        terms: Terms = {"source": supervised[0].detach()}
        if self.weight:
            x = unit_range(batch.x, self._dtype())
            with torch.no_grad():
                answers = [network(x) for network in self.networks()]
            sure = self._weights(answers)
            told = answers[0] if not self.teachers else mean_answer(answers[1:])
            target = (sure * self._consistent(self.locator, batch, 0, told)).mean()
            loss = loss + self.weight * target
            terms |= {"target": target.detach(), "confidence": sure.mean()}
            if self.teachers and not self.follows:
                taught = torch.stack(
                    [
                        self._consistent(network, batch, place, answers[0]).mean()
                        for place, network in enumerate(self._teachers(), start=1)
                    ]
                )
                loss = loss + self.distil * taught.sum()
                terms["teachers"] = taught.mean().detach()
        return {"loss": loss, **terms}

    def _supervised(self, network: Locator, batch: Batch, place: int) -> Tensor:
        """Return each labelled picture's loss in one view, `(B,)`."""
        if KEYPOINTS not in batch.extras:
            raise DataError(f"c-gac learns from points in the extra {KEYPOINTS!r}, and the labelled pictures have none")
        points = batch.extras[KEYPOINTS].to(self._dtype())
        visible = batch.extras.get(VISIBLE, torch.ones(points.shape[:2], dtype=torch.bool, device=points.device))
        if points.shape[1:] != (self.locator.points, 2):
            raise DataError(f"points must be (B, {self.locator.points}, 2), not {tuple(points.shape)}")
        mask = batch.extras.get(MASK)
        if mask is None:
            mask = torch.full((len(points), *batch.x.shape[2:]), -1, device=points.device)
        return self._task(network, batch, place, points, visible, mask.to(self._dtype()), self.masks)

    def _consistent(self, network: Locator, batch: Batch, place: int, told: Located) -> Tensor:
        """Return each picture's loss against what was told of it, in one view, `(B,)`."""
        points, mask = highest(told.maps)[:, :, :2].to(self._dtype()), told.logits.to(self._dtype()).sigmoid()
        everything = torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
        early = self._steps is not None and batch.step < self.pose_first * self._steps
        return self._task(network, batch, place, points, everything, mask, 0.0 if early else self.masks)

    def _task(
        self, network: Locator, batch: Batch, place: int, points: Tensor, visible: Tensor, mask: Tensor, masks: float
    ) -> Tensor:
        if len(batch.views) <= place or GEOMETRY not in batch.extras:
            raise DataError(f"c-gac takes {1 + len(self.teachers)} views that say what moved: see views.Placement")
        matrices = batch.extras[GEOMETRY][:, place].to(points.dtype)
        height, width = batch.views[place].shape[2:]
        points = placed(points, matrices)
        if self.swapped:
            mirrored = torch.linalg.det(matrices[:, :, :2].float()) < 0
            points = torch.where(mirrored[:, None, None], points[:, self.swapped], points)
            visible = torch.where(mirrored[:, None], visible[:, self.swapped], visible)
        visible = visible & inside(points, height, width)
        found = network(unit_range(batch.views[place], points.dtype).to(points.dtype))
        wanted = heatmaps(points, height, width, self.sigma * max(height, width))
        loss = self.keypoints * heatmap_loss(found.maps, wanted, visible, self.delta)
        if not masks:
            return loss
        known = moved((mask >= 0).to(points.dtype)[:, None], matrices) > 0.5
        mask = moved(mask.clamp_min(0)[:, None], matrices)
        if HIDDEN in batch.extras:
            mask = painted(mask, batch.extras[HIDDEN][:, place])
        return loss + masks * mask_loss(found.logits, torch.where(known, mask, -1.0)[:, 0])

    def _weights(self, answers: list[Located]) -> Tensor:
        """Return each picture's weight, `(B,)`; the first batch's medians become the units of disagreement."""
        if not self.teachers:
            return torch.ones(len(answers[0].maps), device=answers[0].maps.device)
        apart = disagreements(answers[1], answers[2], self.delta)
        if not bool(self.measured):
            self.medians.copy_(gather(apart).median(0).values)
            self.measured.fill_(True)
        return confidence(self._scaled(apart), self.strength)

    def _scaled(self, apart: Tensor) -> Tensor:
        """Return disagreement in units of its medians, the mean over tasks; a median of 0 is none and is left out."""
        counts = (self.medians > 0) & torch.tensor([True, self.masks > 0], device=apart.device)
        units = apart / torch.where(counts, self.medians, 1.0).to(apart.dtype)
        return (units * counts).sum(1) / counts.sum().clamp_min(1)

    def _teachers(self) -> list[Locator]:
        return [network for network in self.teachers if isinstance(network, Locator)]

    def _dtype(self) -> torch.dtype:
        return self.locator.mask.weight.dtype
