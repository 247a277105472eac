"""Features: what an encoder makes of a source, computed once and read by every probe.

Sizes: `N` samples, `D` feature width, `K` classes. Features live on the CPU in float32.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor, nn

from withstand.attacks.problem import is_deep
from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import DataError
from withstand.core.random import Draws, derive
from withstand.core.roles import Method, Source, View
from withstand.core.victims.victim import Victim

Embedder = Callable[[Tensor], Tensor]
"""Whatever embeds: samples `(B, ...)` in, features `(B, D)` out; bytes, as pictures', arrive as float in [0, 1]."""
ProgressCallback = Callable[[int, int], None]
"""Called after each batch with (samples done, samples in all)."""


@dataclass(frozen=True, repr=False)
class Features:
    """Embedded samples.

    Attributes:
        x: features, float32 `(N, D)` on the CPU, finite.
        y: labels from 0, int64 `(N,)`, -1 for a sample without one; or None.
        index: each sample's place in its source, int64 `(N,)`; every draw hangs on it, so that the order of
            samples changes nothing.
        classes: the names of labels 0, 1, ...; may be empty.
        names: what each sample is called, as a picture's file; may be empty.
        parts: which part of the data each sample comes from, as "train" or "test"; may be empty.
        notes: (what, how) of what had to be bent to fit what was learnt, as categories that training did not have.

    Raises:
        DataError: shapes that do not fit, features that are not finite, labels below -1.
    """

    x: Tensor
    y: Tensor | None
    index: Tensor
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Return one line: how many samples, how wide, what is known of them."""
        counted = [f"{self.parts.count(part):,} {part}" for part in dict.fromkeys(self.parts)]
        known = [f"{len(self.classes)} classes"] if self.classes else ["labels"] if self.y is not None else []
        known += ["names"] if self.names else []
        return f"<Features {len(self.x):,} x {self.x.shape[-1]}{''.join(f', {one}' for one in (*counted, *known))}>"

    def __post_init__(self) -> None:
        if self.x.dim() != 2 or self.x.dtype != torch.float32 or self.x.is_cuda:
            raise DataError(f"features must be float32 (N, D) on the CPU, not {self.x.dtype} {tuple(self.x.shape)}")
        if not len(self.x):
            raise DataError("there are no samples to evaluate on")
        for name, values in (("labels", self.y), ("index", self.index)):
            if values is None:
                continue
            if values.dtype != torch.int64 or values.shape != self.x.shape[:1]:
                raise DataError(
                    f"{name} must be int64 ({len(self.x)},), one a sample, not {values.dtype} {tuple(values.shape)}"
                )
        for what, words in (("names", self.names), ("parts", self.parts)):
            if words and len(words) != len(self.x):
                raise DataError(f"there are {len(words)} {what} for {len(self.x)} samples")
        if self.y is not None and int(self.y.min()) < -1:
            raise DataError(f"labels must count from 0, not from {int(self.y.min())}; -1 is a sample without one")
        bad = ~torch.isfinite(self.x).all(1)
        if bool(bad.any()):
            raise DataError(
                f"the features of {int(bad.sum())} of {len(self.x)} samples are NaN or infinite, the first at index "
                f"{int(self.index[bad][0])}: the encoder diverged, or its inputs are out of range"
            )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def width(self) -> int:
        """Feature width D."""
        return self.x.shape[1]

    @property
    def labels(self) -> Tensor:
        """The labels, every one known.

        Raises:
            DataError: there are none, or some samples lack theirs.
        """
        if self.y is None:
            raise DataError("this probe needs labels and the source has none: only Gauges and Map work without")
        if int(self.y.min()) < 0:
            lacking = int((self.y < 0).sum())
            raise DataError(f"{lacking} of {len(self)} samples have no label: leave them out (Labelled(source) does)")
        return self.y

    def label_words(self) -> list[str]:
        """Return each sample's label in words, its number where classes have no names; "" without one."""
        known = [-1] * len(self) if self.y is None else self.y.tolist()
        count = len(self.classes)
        return ["" if y < 0 else self.classes[y] if y < count else str(y) for y in known]

    def __getitem__(self, rows: Tensor) -> "Features":
        """Return the chosen rows."""
        names, parts = (
            tuple(words[row] for row in torch.arange(len(self))[rows].tolist()) if words else ()
            for words in (self.names, self.parts)
        )
        y = None if self.y is None else self.y[rows]
        return Features(self.x[rows], y, self.index[rows], self.classes, names, parts, self.notes)

    def digest(self) -> str:
        """Return a short hash of which samples these are and how they are labelled, whatever their order."""
        order = self.index.argsort(stable=True)
        hashed = blake2b(self.index[order].numpy().tobytes(), digest_size=6)
        if self.y is not None:
            hashed.update(self.y[order].numpy().tobytes())
        return hashed.hexdigest()


def embed(
    subject: Embedder,
    source: Source,
    *,
    batch: int = 512,
    limit: int | None = None,
    progress: ProgressCallback | None = None,
) -> Features:
    """Run an encoder over a source, in eval mode and without gradients; every mode and flag is restored.

    Args:
        subject: a module, a method (its `embed` is used), a bound method of a module, or any function.
        source: the samples; pictures of bytes are handed over as float in [0, 1].
        batch: samples in one forward pass.
        limit: embed only this many samples, drawn evenly by their index; None for all.
        progress: called after each batch.

    Raises:
        DataError: features that are not one finite vector a sample.
    """
    rows, batch = _chosen(len(source), limit), source.at_once or batch
    batches: list[Tensor] = []
    with _held(subject), torch.no_grad():
        device = place_of(subject)
        layout: torch.memory_format | None = None
        for start in range(0, len(rows), batch):
            samples = source[rows[start : start + batch]].x.to(device)
            layout = layout or _fastest_layout(subject, samples)
            if layout is torch.channels_last:
                samples = samples.contiguous(memory_format=layout)
            batches.append(_forward(subject, samples))
            if progress is not None:
                progress(min(start + batch, len(rows)), len(rows))
    if not batches:
        raise DataError("the source is empty: there is nothing to embed")
    labels = source.labels
    y = None if labels is None else labels[rows].cpu()
    names = tuple(source.names[row] for row in rows.tolist()) if source.names else ()
    return Features(torch.cat(batches), y, rows, source.classes, names, notes=tuple(source.notes))


def joined(pieces: Sequence[Features]) -> Features:
    """Return the samples of several pieces one after the other; places are each piece's own."""
    first = pieces[0]
    labels = [piece.y for piece in pieces if piece.y is not None]
    y = None
    if labels:
        y = torch.cat([torch.full((len(piece),), -1) if piece.y is None else piece.y for piece in pieces])
    names = tuple(name for piece in pieces for name in piece.names or ("",) * len(piece))
    return Features(
        torch.cat([piece.x for piece in pieces]),
        y,
        torch.cat([piece.index for piece in pieces]),
        next((piece.classes for piece in pieces if piece.classes), first.classes),
        names if any(names) else (),
        tuple(part for piece in pieces for part in piece.parts or ("",) * len(piece))
        if any(any(piece.parts) for piece in pieces)
        else (),
        tuple(dict.fromkeys(note for piece in pieces for note in piece.notes)),
    )


def embed_views(
    subject: Embedder, source: Source, view: View, *, batch: int = 512, limit: int | None = None, seed: int = 0
) -> tuple[Features, Features]:
    """Embed two views of each sample, drawn from `(seed, index)`; arguments as in `embed`.

    Raises:
        DataError: the view gives fewer than two views.
    """
    rows = _chosen(len(source), limit)
    pairs: list[tuple[Tensor, Tensor]] = []
    with _held(subject), torch.no_grad():
        device = place_of(subject)
        for start in range(0, len(rows), batch):
            samples = source[rows[start : start + batch]].to(device)
            views = view(samples, Draws(derive(seed, "gauges"), samples.index)).views
            if len(views) < 2:
                raise DataError(f"alignment needs a view that makes two views, not {len(views)}")
            pairs.append((_forward(subject, views[0]), _forward(subject, views[1])))
    first, second = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return Features(first, None, rows), Features(second, None, rows)


def place_of(subject: Embedder) -> torch.device:
    """Return where a subject's network is, and its inputs have to be."""
    return device_of_network(_module(subject))


def _chosen(count: int, limit: int | None) -> Tensor:
    if limit is None or limit >= count:
        return torch.arange(count)
    return torch.arange(limit) * count // limit


def _forward(subject: Embedder, samples: Tensor) -> Tensor:
    call = subject.embed if isinstance(subject, Method) else subject
    out: object = call(unit_range(samples))
    if not isinstance(out, Tensor):
        names = f" with {', '.join(map(repr, out))}: pick one of them" if isinstance(out, Mapping) else ""
        raise DataError(f"the encoder must give one tensor, not a {type(out).__name__}{names}")
    if out.dim() != 2 or len(out) != len(samples):
        raise DataError(
            f"the encoder must give features ({len(samples)}, D), one vector a sample, not {tuple(out.shape)}: take a "
            "mean over places or steps, of a padded sequence over its own alone, or flatten"
        )
    return out.detach().to("cpu", torch.float32)


def _fastest_layout(subject: Embedder, samples: Tensor) -> torch.memory_format:
    """Return the layout in which a subject is fastest: features differ by rounding alone.

    Deep convolutional networks take channels-last in half the time on a processor; one that calls `view` on its
    pictures refuses it.
    """
    module = _module(subject)
    if module is None or not isinstance(samples, Tensor) or samples.dim() != 4 or samples.device.type != "cpu":
        return torch.contiguous_format
    if not is_deep(module):
        return torch.contiguous_format
    try:
        _forward(subject, samples[:1].contiguous(memory_format=torch.channels_last))
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        return torch.contiguous_format
    return torch.channels_last


def _module(subject: Embedder) -> nn.Module | None:
    owner = getattr(subject, "__self__", subject)  # a bound method's module
    return owner if isinstance(owner, nn.Module) else None


def _held(subject: Embedder) -> AbstractContextManager[object]:
    module = _module(subject)
    return nullcontext() if module is None else Victim(module).held()
