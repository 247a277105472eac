"""What a run makes of samples: every form as it is written and read back, names that collide, and what is refused."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from toys import ToyPictures, toy_experiment, toy_method
from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.outputs import Form, Frames, Maker, Output
from withstand.core.part import again
from withstand.core.roles import Method, Product
from withstand.data.arrays.source import ArraySource
from withstand.engine.folder import RunFolder
from withstand.engine.outputs import Writer, joined, maker_of, outputs, write_condensed
from withstand.methods.attackers.adv_encoder import AdvEncoder
from withstand.methods.masked.t_jepa import TJEPA


def made_by(products: Mapping[str, Product], maker: Maker | None = None) -> Method:
    method = toy_method()
    method.products = lambda: {"encoder": method.encoder, **products}  # type: ignore[method-assign]
    method.maker = lambda: maker  # type: ignore[method-assign]
    return method


class Upside(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1 - x


class Brightest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def written(folder: Path, values: object, form: Form, words: tuple[str, ...] = ()) -> None:
    output = Output(values, form, words)  # type: ignore[arg-type]
    Writer(folder).write([([f"s{place}" for place in range(len(output))], {"found": output})])


def test_a_generator_is_applied_to_every_sample_in_its_order(tmp_path: Path) -> None:
    source, method = ToyPictures(70), made_by({"generator": Upside()})
    pieces = list(outputs(method, maker_of(method, None), source))
    assert torch.cat([batch.index for batch, _ in pieces]).equal(torch.arange(70))
    applied = Writer(tmp_path / "out").write(([f"{i}" for i in batch.index.tolist()], made) for batch, made in pieces)
    assert applied.count == 70
    for place in (0, 69):
        read = np.asarray(Image.open(tmp_path / "out" / "pictures" / f"{place}.png"))
        assert np.array_equal(read, 255 - source[[place]].x[0].permute(1, 2, 0).numpy())


def test_masks_are_the_likeliest_structure_of_each_place(tmp_path: Path) -> None:
    source, method = ToyPictures(3), made_by({"segmenter": Brightest()})
    made = joined(made for _, made in outputs(method, maker_of(method, None), source))
    whole = unit_range(source[range(3)].x)
    assert isinstance(made["masks"].values, Tensor)
    assert made["masks"].values.equal(whole.argmax(1))
    written(tmp_path / "out", made["masks"].values, "masks")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "found" / "s2.png")), whole.argmax(1)[2].numpy())


def test_masks_of_many_structures_are_kept_whole(tmp_path: Path) -> None:
    mask = torch.tensor([[[0, 255, 256, 65_535]]])
    written(tmp_path / "out", mask, "masks")
    assert np.asarray(Image.open(tmp_path / "out" / "found" / "s0.png")).tolist() == mask[0].tolist()


@pytest.mark.parametrize("values", [torch.tensor([[[-1, 2]]]), torch.tensor([[[70_000]]]), torch.rand(1, 2, 2)])
def test_masks_that_no_file_holds_are_refused(values: Tensor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="whole numbers from 0 to 65535"):
        written(tmp_path / "out", values, "masks")


@pytest.mark.parametrize("values", [torch.rand(1, 4, 2, 2), torch.full((1, 3, 2, 2), torch.nan)])
def test_pictures_that_no_file_holds_are_refused(values: Tensor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="finite and have 1 or 3 channels"):
        written(tmp_path / "out", values, "pictures")


def test_a_clips_frames_are_a_folder(tmp_path: Path) -> None:
    clips = [torch.zeros(2, 1, 4, 4), torch.ones(3, 1, 4, 4)]
    written(tmp_path / "out", clips, "pictures")
    assert [len(list((tmp_path / "out" / "found" / name).iterdir())) for name in ("s0", "s1")] == [2, 3]


def test_frames_are_made_as_they_are_written_without_gradients(tmp_path: Path) -> None:
    held, made = [], []
    level = torch.nn.Parameter(torch.ones(1, 2, 2))

    def frames() -> Iterator[Tensor]:
        for place in range(3):
            held.append(torch.is_grad_enabled())
            made.append((place, len(list((tmp_path / "out" / "found").rglob("0*.png")))))
            yield level * place / 2

    with torch.enable_grad():
        written(tmp_path / "out", [Frames(frames), Frames(lambda: iter([torch.zeros(3, 2, 2)]))], "pictures")
    assert held == [False] * 3
    assert made[-1] == (2, 0) or made[-1][1] >= 1
    folder = tmp_path / "out" / "found"
    assert [int(np.asarray(Image.open(path)).max()) for path in sorted((folder / "s0").iterdir())] == [0, 128, 255]
    assert [path.name for path in (folder / "s1").iterdir()] == ["000000.png"], "a clip of one frame is a folder too"


def test_frames_that_come_in_memory_are_whole_clips() -> None:
    clips = [Output([Frames(lambda count=count: iter(torch.rand(count, 3, 2, 2)))], "pictures") for count in (2, 3)]
    whole = joined({"clips": clip} for clip in clips)["clips"].values
    assert [tuple(row.shape) for row in whole] == [(2, 3, 2, 2), (3, 3, 2, 2)]  # type: ignore[union-attr]


def test_columns_and_points_are_tables(tmp_path: Path) -> None:
    made = {
        "class": Output(torch.tensor([1, 0]), "columns", ("cat", "dog")),
        "best": Output(torch.tensor([[0, 1], [1, 0]]), "columns", ("a,b", 'say "c"')),
        "score": Output(torch.tensor([0.5, 0.25]), "columns"),
        "text": Output(["one", "two\nlines"], "columns"),
        "hands": Output(torch.tensor([[[1.5, 2.0, 0.9]], [[3.0, 4.0, 0.1]]]), "points", ("wrist",)),
    }
    applied = Writer(tmp_path / "out").write([(["x.png", "y.png"], made)])
    with (tmp_path / "out" / "table.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["name", "class", "best 1", "best 2", "score", "text"]
    assert rows[0] == ["x.png", "dog", "a,b", 'say "c"', "0.5", "one"]
    assert rows[1] == ["y.png", "cat", 'say "c"', "a,b", "0.25", "two\\nlines"]
    with (tmp_path / "out" / "hands.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [
            ["x.png", "wrist", "1.5", "2.0", "0.8999999761581421"],
            ["y.png", "wrist", "3.0", "4.0", "0.10000000149011612"],
        ]
    assert any("table.csv: class, best, score, text" in line for line in applied.outputs)


def test_samples_of_one_name_get_files_of_their_own(tmp_path: Path) -> None:
    names = ["a/x.png", "a-x.jpg", "a-x (2).png", "../up.png", ".png", "..\\..\\z"]
    Writer(tmp_path / "out").write([(names, {"found": Output(torch.rand(6, 1, 2, 2), "pictures")})])
    files = sorted(path.name for path in (tmp_path / "out" / "found").iterdir())
    assert len(files) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "nothing is written outside the folder"


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        Writer(tmp_path)


def test_what_makes_nothing_of_samples_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"SimCLR makes nothing of samples to write \(it gives: encoder\)"):
        maker_of(toy_method(), None)
    with pytest.raises(ConfigError, match="gives no generator"):
        maker_of(toy_method(), "generator")
    with pytest.raises(ConfigError, match="the encoder cannot be applied"):
        maker_of(toy_method(), "encoder")


def test_a_methods_own_maker_has_settings_with_types() -> None:
    def best(batch: Batch, *, top: int = 1) -> dict[str, Output]:
        return {"best": Output(torch.zeros(len(batch), top), "columns")}

    method = made_by({"classifier": Upside()}, best)
    made = joined(made for _, made in outputs(method, maker_of(method, None), ToyPictures(5), {"top": 3}))
    assert [row.shape for row in made["best"].values if isinstance(row, Tensor)] == [torch.Size([3])] * 5
    with pytest.raises(ConfigError, match=r"no setting 'tops'.*'top'"):
        list(outputs(method, best, ToyPictures(5), {"tops": 3}))
    with pytest.raises(ConfigError, match="top of what this run makes must be int, not 'many'"):
        list(outputs(method, best, ToyPictures(5), {"top": "many"}))
    with pytest.raises(ConfigError, match="no setting 'top'"):
        list(outputs(method, maker_of(method, "classifier"), ToyPictures(5), {"top": 3}))


def test_a_maker_gives_a_row_a_sample() -> None:
    with pytest.raises(DataError, match="must have a row for each of 5 samples, not 4"):
        list(outputs(toy_method(), lambda batch: {"x": Output(torch.zeros(4), "columns")}, ToyPictures(5)))


def test_a_condensed_set_is_read_back_as_it_was(tmp_path: Path) -> None:
    x, y = torch.rand(4, 3, 5, 5), torch.tensor([0, 1, 1, 2])
    write_condensed(ArraySource(x.numpy(), y.numpy()), tmp_path / "out")
    source = ArraySource(x.numpy(), y.numpy())
    with np.load(tmp_path / "out" / "condensed.npz") as file:
        assert np.array_equal(file["x"], source[range(4)].x.numpy())
        assert np.array_equal(file["y"], y.numpy())


def test_a_record_says_what_a_run_gives_and_whether_its_encoder_stays(tmp_path: Path) -> None:
    plain = toy_experiment(epochs=1)
    attacked = replace(plain, method=AdvEncoder(again(plain.method.encoder), plain.source.shape, generator=False))
    taught = replace(plain, method=TJEPA.example())
    for place, (one, frozen) in enumerate(((plain, False), (attacked, True), (taught, False))):
        folder = RunFolder(tmp_path / str(place))
        folder.path.mkdir()
        folder.claim(one, fresh=False)
        assert folder.record()["encoder is frozen"] is frozen
        assert folder.record()["gives"] == list(one.method.products())
