"""Every view and every source of the package, held to its role by existing: each gives an example of itself."""

import inspect
import pickle
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import TensorDataset

from toys import toy_rows
from walk import of_role
from withstand.core.batch import Batch, as_structured, tensors_of
from withstand.core.part import class_path
from withstand.core.random import Draws
from withstand.core.roles import Source, View
from withstand.data.arrays.source import ArraySource
from withstand.data.captions.source import CaptionedFolder
from withstand.data.clips.load import FrameTracks
from withstand.data.dataset import DatasetSource
from withstand.data.derived.grouped import Grouped
from withstand.data.derived.imbalanced import Imbalanced
from withstand.data.derived.paired import PairedSource
from withstand.data.derived.separate import Separate
from withstand.data.derived.shrunk import Shrunk
from withstand.data.derived.subset import Held, Labelled, Subset
from withstand.data.derived.synthetic.pasted import Pasted
from withstand.data.derived.synthetic.scattered import Scattered
from withstand.data.derived.synthetic.tinted import Tinted
from withstand.data.pictures.files import PictureFiles
from withstand.data.pictures.folder import ImageFolder
from withstand.data.pictures.named import NamedSource
from withstand.data.pictures.npz.keypoints import KeypointFile
from withstand.data.pictures.npz.kinds import Kinds
from withstand.data.pictures.npz.scenes import SceneFile
from withstand.data.pictures.shards.source import Shards
from withstand.data.pictures.whole import WholePictures
from withstand.data.tables.source import TableSource
from withstand.views import presets
from withstand.views.pictures.colors.color_views import ColorJitter
from withstand.views.pictures.values import Normalize

SIDE = 20
TOLERANCE = 2e-6
"""How much a picture may change with its company: matrix products of other sizes sum in another order."""

PRESETS = {
    name: function
    for name, function in inspect.getmembers(presets, inspect.isfunction)
    if function.__module__ == presets.__name__ and not name.startswith("_") and name.endswith(("_small", "_large"))
}
GRAPHS = "withstand.data.graphs."
"""Sources that `test_graph_contract.py` holds to their role."""

VIEWS: dict[str, Callable[[], View]] = {
    **{class_path(view): view.example for view in of_role(View) if view.example_batch is View.example_batch},
    **PRESETS,
}
"""Those that change any pictures."""


def tensors(batch: Batch) -> dict[str, Tensor]:
    """Every tensor of a batch."""
    found = tensors_of(batch.x, "x") | dict(batch.extras)
    for place, view in enumerate(batch.views):
        found |= tensors_of(view, f"view {place}")
    return found


@pytest.mark.parametrize("kind", of_role(View), ids=class_path)
def test_a_view_leaves_all_but_its_outcome_as_it_was(kind: type[View]) -> None:
    """Whatever its samples are: pictures, records, clips, graphs, captions."""
    view = kind.example()
    batch = view.example_batch()
    kept = {name: value.clone() for name, value in tensors(batch).items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    made = view(batch, Draws(0, batch.index))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, kept[name]) for name, value in tensors(batch).items())
    assert torch.equal(made.index, batch.index)
    assert (made.y is None) == (batch.y is None)
    assert made.y is None or torch.equal(made.y, batch.y)
    if made.views:
        assert all(len(one) == len(batch) for one in made.views)
        assert all(torch.equal(value, kept[name]) for name, value in tensors_of(made.x, "x").items())
    again = tensors(view(batch, Draws(0, batch.index)))
    assert all(torch.equal(value, again[name]) for name, value in tensors(made).items())


def pictures(channels: int = 3, *, floats: bool = False) -> Batch:
    """Seven pictures that are not square."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (7, channels, SIDE, SIDE + 4), dtype=torch.uint8, generator=generator)
    return Batch(x / 255 if floats else x, torch.arange(40, 47), torch.arange(7))


def seen(view: View, batch: Batch, *, seed: int = 0, epoch: int = 0) -> tuple[Tensor, ...]:
    result = view(batch, Draws(seed, batch.index, epoch=epoch))
    return result.views or (result.x,)


def test_views_are_found() -> None:
    assert PRESETS
    assert class_path(ColorJitter) in VIEWS


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("floats", [False, True], ids=["bytes", "floats"])
def test_views(name: str, channels: int, floats: bool) -> None:
    view, batch = VIEWS[name](), pictures(channels, floats=floats)
    before = batch.x.clone()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    result = view(batch, Draws(0, batch.index))
    # What was given stays, the global generators too, and what belongs to the samples is handed on.
    assert torch.equal(batch.x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(result.index, batch.index)
    assert result.y is not None
    assert torch.equal(result.y, torch.arange(7))
    outputs = result.views or (result.x,)
    if result.views:
        assert torch.equal(result.x, before)
    for output in outputs:
        assert output.dtype == torch.float32
        assert output.shape[:2] == (7, channels)
        assert bool(output.isfinite().all())
        assert type(view) is Normalize or (output.min() >= 0 and output.max() <= 1)
    # The same again for the same seed and epoch, whole or one by one.
    for again, output in zip(seen(view, batch), outputs, strict=True):
        assert torch.equal(again, output)
    rows = torch.tensor([5, 0, 2])
    part = Batch(batch.x[rows], batch.index[rows])
    for some, output in zip(seen(view, part), outputs, strict=True):
        torch.testing.assert_close(some, output[rows], atol=TOLERANCE, rtol=0)
    # Bytes and the same numbers as floats are the same picture; at 224 pixels torch's kernel rounds bytes twice.
    if name.endswith("_large"):
        return
    for other, output in zip(seen(view, pictures(channels, floats=not floats)), outputs, strict=True):
        torch.testing.assert_close(other, output, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_change_with_seed_and_epoch_and_from_view_to_view(name: str) -> None:
    view, batch = PRESETS[name](), pictures()
    first, second, *_ = seen(view, batch)
    assert not torch.equal(first, second)
    assert not torch.equal(first, seen(view, batch, seed=1)[0])
    assert not torch.equal(first, seen(view, batch, epoch=1)[0])
    assert not torch.equal(first[0], first[1])


def array(path: Path) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)


def mapped(path: Path) -> Source:
    np.save(path / "x.npy", array(path))
    return ArraySource(path / "x.npy", np.arange(12) % 3)


def dataset(path: Path) -> Source:
    return DatasetSource(TensorDataset(torch.from_numpy(array(path)), torch.arange(12)))


def picture_files(path: Path) -> Source:
    paths = [path / f"{place}.png" for place in range(4)]
    for place, one in enumerate(paths):
        Image.fromarray(np.full((8, 8, 3), 40 * place, dtype=np.uint8)).save(one)
    return PictureFiles([str(one) for one in paths], 8)


def folder(path: Path) -> Source:
    for place, picture in enumerate(array(path)):
        target = path / "pictures" / ("even", "odd")[place % 2] / f"{place}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.transpose(1, 2, 0)).save(target)
    return ImageFolder(path / "pictures", 8, cache=path / "cache")


def shards(path: Path) -> Source:
    (path / "shards").mkdir(exist_ok=True)
    for shard in range(2):
        with tarfile.open(path / "shards" / f"{shard}.tar", "w") as archive:
            for place in range(6 * shard, 6 * shard + 6):
                picture = BytesIO()
                Image.fromarray(array(path)[place].transpose(1, 2, 0)).save(picture, "PNG")
                for suffix, content in (("png", picture.getvalue()), ("cls", b"even" if place % 2 else b"odd")):
                    member = tarfile.TarInfo(f"{place}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, BytesIO(content))
    return Shards(path / "shards", 8, cache=path / "cache")


def kinds(path: Path) -> Source:
    np.savez(path / "kinds.npz", real=array(path)[:7], gan=array(path)[7:])
    return Kinds(path / "kinds.npz")


def captioned(path: Path) -> Source:
    names = folder(path).names
    (path / "pictures" / "captions.csv").write_text("image,caption\n" + "".join(f"{name},a thing\n" for name in names))
    return CaptionedFolder(path / "pictures", 8, cache=path / "cache")


def whole(path: Path) -> Source:
    folder(path)
    return WholePictures(path / "pictures", cache=path / "cache")


def scenes(path: Path) -> Source:
    pictures = array(path)
    np.savez(path / "scenes.npz", x=pictures.transpose(0, 2, 3, 1), mask=pictures[:, 0] // 64)
    return SceneFile(path / "scenes.npz")


def keypoints(path: Path) -> Source:
    pictures = array(path)
    points = np.random.default_rng(1).uniform(0, 7, (12, 3, 2))
    np.savez(path / "points.npz", x=pictures.transpose(0, 2, 3, 1), keypoints=points, mask=pictures[:, 0] // 128)
    return KeypointFile(path / "points.npz")


def frame_tracks(path: Path) -> Source:
    np.save(path / "tracks.npy", np.stack([array(path), array(path)[::-1], array(path)], 1))
    return FrameTracks(path / "tracks.npy")


class Visits(ArraySource):
    """Rows of four users."""

    @property
    def attributes(self) -> dict[str, Tensor]:
        return {"user": torch.arange(len(self)) // 3}


SOURCES: dict[str, tuple[type[Source], Callable[[Path], Source]]] = {
    "array": (ArraySource, lambda path: ArraySource(array(path), np.arange(12) % 3)),
    "unlabelled rows": (ArraySource, lambda path: ArraySource(array(path).reshape(12, -1)[:, :7].astype(np.float32))),
    "mapped": (ArraySource, mapped),
    "dataset": (DatasetSource, dataset),
    "folder": (ImageFolder, folder),
    "shards": (Shards, shards),
    "kinds": (Kinds, kinds),
    "captioned folder": (CaptionedFolder, captioned),
    "whole pictures": (WholePictures, whole),
    "frame tracks": (FrameTracks, frame_tracks),
    "scenes": (SceneFile, scenes),
    "keypoints": (KeypointFile, keypoints),
    "named": (NamedSource, lambda path: NamedSource("digits")),
    "table": (TableSource, lambda path: toy_rows()),
    "subset": (Subset, lambda path: Subset(mapped(path), [7, 3, 9, 3, 0])),
    "picture files": (PictureFiles, picture_files),
    "labelled": (Labelled, lambda path: Labelled(ArraySource(array(path), [None, *range(11)]))),
    "held train": (Held, lambda path: Held(mapped(path), "train", fraction=0.3)),
    "imbalanced": (Imbalanced, lambda path: Imbalanced(mapped(path), "step", ratio=0.5)),
    "grouped": (Grouped, lambda path: Grouped(mapped(path), (0, 1, 0))),
    "pasted": (Pasted, lambda path: Pasted(mapped(path), NamedSource("digits"))),
    "shrunk": (Shrunk, lambda path: Shrunk(mapped(path), 2)),
    "scattered": (Scattered, lambda path: Scattered(NamedSource("digits"), 30)),
    "tinted": (Tinted, lambda path: Tinted(NamedSource("digits"), told="tint")),
    "part of a paired one": (Subset, lambda path: Subset(PairedSource.example(), [5, 1, 3])),
    "separate": (Separate, lambda path: Separate(Visits(array(path), np.arange(12) % 3), "train", "user")),
    "held test": (Held, lambda path: Held(mapped(path), "test", fraction=0.3)),
}


SOURCES |= {
    class_path(kind): (kind, lambda path, kind=kind: kind.example())
    for kind in of_role(Source)
    if not kind.__module__.startswith(GRAPHS) and kind not in {kind for kind, _ in SOURCES.values()}
}


def structured(source: Source, again: Source) -> None:
    """Hold a source of samples that no single tensor holds to its role."""
    count = len(source)
    whole = source[range(count)]
    for chosen in (torch.tensor([2, 0, 2]), [2, 0, 2], range(1, 3), [count - 1]):
        batch, rows = source[chosen], torch.as_tensor(chosen, dtype=torch.int64)
        assert batch.index.tolist() == rows.tolist()
        assert len(batch.x) == len(rows)
        assert (batch.y is None) == (source.labels is None)
        if batch.y is not None and source.labels is not None:
            assert torch.equal(batch.y, source.labels[rows])
    assert source.kind != "sample", "messages and reports call samples by what they are"
    for known in (*source.attributes.values(), *([] if source.sizes is None else [source.sizes])):
        assert len(known) == count
    for wrong in ([count], [-1]):
        with pytest.raises(IndexError):
            source[wrong]
    assert 0 < len(source.fingerprint()) <= 64
    assert again.fingerprint() == source.fingerprint()
    copied = pickle.loads(pickle.dumps(source))
    assert copied.fingerprint() == source.fingerprint()
    first, second = (tensors_of(one.x, "x") for one in (whole, copied[range(count)]))
    assert all(torch.equal(second[part], value) for part, value in first.items())


@pytest.mark.parametrize("name", SOURCES)
def test_sources(name: str, tmp_path: Path) -> None:
    kind, make = SOURCES[name]
    source = make(tmp_path)
    assert type(source) is kind
    count = len(source)
    whole = source[torch.arange(count)]
    if as_structured(whole.x) is not None:
        structured(source, make(tmp_path))
        return
    assert whole.x.shape == (count, *source.shape)
    assert whole.index.dtype == torch.int64
    # Any order, repeats too, as a tensor, a list or a range; and the index says which they are.
    for chosen in (torch.tensor([2, 0, 2]), [2, 0, 2], range(1, 3), [count - 1]):
        batch, rows = source[chosen], torch.as_tensor(chosen, dtype=torch.int64)
        assert batch.index.tolist() == rows.tolist()
        assert torch.equal(batch.x, whole.x[rows])
        assert batch.extras.keys() == whole.extras.keys()
        for extra, value in batch.extras.items():
            assert torch.equal(value, whole.extras[extra][rows])
        assert (batch.y is None) == (source.labels is None)
        if batch.y is not None and source.labels is not None:
            assert torch.equal(batch.y, source.labels[rows])
    # What is read belongs to the reader.
    before = whole.x.clone()
    source[[0]].x.zero_()
    assert torch.equal(source[torch.arange(count)].x, before)
    kept = {extra: value.clone() for extra, value in whole.extras.items()}
    for value in source[[0]].extras.values():
        value.zero_()
    for extra, value in source[torch.arange(count)].extras.items():
        assert torch.equal(value, kept[extra])
    assert source.kind != "sample", "messages and reports call samples by what they are"
    if isinstance(inner := getattr(source, "source", None), Source):
        assert source.kind == inner.kind
    # What is known of every sample has a row for each.
    for known in (*source.attributes.values(), *([] if source.sizes is None else [source.sizes])):
        assert len(known) == count
    # Labels and their names.
    if source.labels is not None:
        assert source.labels.shape == (count,)
        assert source.labels.dtype == torch.int64
        assert not source.classes or int(source.labels.max()) < len(source.classes)
    for wrong in ([count], [-1]):
        with pytest.raises(IndexError):
            source[wrong]
    # The fingerprint is the data's: the same when read again, from elsewhere, and after a pickle.
    mark = source.fingerprint()
    assert isinstance(mark, str)
    assert 0 < len(mark) <= 64
    assert make(tmp_path).fingerprint() == mark
    copied = pickle.loads(pickle.dumps(source))
    assert type(copied) is kind
    assert copied.fingerprint() == mark
    assert torch.equal(copied[[1, 0]].x, source[[1, 0]].x)


def test_other_data_have_another_fingerprint() -> None:
    x = array(Path())
    marks = {ArraySource(x, np.arange(12) % 3).fingerprint(), ArraySource(x).fingerprint()}
    marks |= {Subset(ArraySource(x), rows).fingerprint() for rows in ([0, 1], [1, 0], [0])}
    masks = [np.arange(12), np.arange(12) + 1, np.arange(12.0)]
    marks |= {PairedSource(ArraySource(x), {"mask": mask}).fingerprint() for mask in masks}
    marks |= {PairedSource(ArraySource(x), {"other": masks[0]}).fingerprint()}
    x = x.copy()
    x[11, 2, 7, 7] ^= 1
    marks |= {ArraySource(x).fingerprint()}
    assert len(marks) == 10
