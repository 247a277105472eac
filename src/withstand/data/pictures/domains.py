"""Pictures of several domains: a folder of domains, each a folder of classes, as domain generalisation has them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.files import printable
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.subset import Subset
from withstand.data.derived.wrapped import Wrapped
from withstand.data.pictures.decoding.listing import list_files
from withstand.data.pictures.folder_classes import classes_of

DOMAIN = "domain"
"""The attribute that says which domain a sample is of."""


class Domains(NamedTuple):
    """Each picture's domain, int64 `(N,)`, the domains' names, and the pictures' names below their domain's folder."""

    codes: Tensor
    names: tuple[str, ...]
    below: tuple[str, ...]


def domains_of(names: Sequence[str], folder: Path) -> Domains:
    """Return the domains of pictures, the first folders above which there is more than one.

    Args:
        names: relative to the folder, with `/` between folders.
        folder: where the pictures lie, for messages.

    Raises:
        DataError: pictures that lie in no domain.
    """
    names = list(names)
    while True:
        tops = [name.partition("/")[0] if "/" in name else None for name in names]
        found = sorted({top for top in tops if top is not None})
        below = [name.partition("/")[2] for name in names]
        if None in tops or len(found) != 1:
            break
        names = below
    strays = [name for name, top in zip(names, tops, strict=True) if top is None]
    if strays:
        raise DataError(
            f"{len(strays)} pictures of {str(folder)!r} lie in no domain's folder, as {printable(strays[0])}: move them"
        )
    place = {name: number for number, name in enumerate(found)}
    codes = torch.tensor([place[str(top)] for top in tops], dtype=torch.int64)
    return Domains(codes, tuple(map(printable, found)), tuple(below))


class DomainPart(Subset):
    """The samples of all domains but one, or those of one: what is learnt from, and what that is judged on.

    Args:
        source: says of its samples which domain they are of.
        domain: the one that is left out.
        part: "train" for the others, "test" for it.

    Raises:
        ConfigError: there is no such domain, or no such part.
        DataError: nobody says of the samples which domain they are of, or all are of one.
    """

    def __init__(self, source: Source, domain: str, part: Literal["train", "test"]) -> None:
        names = source.group_names.get(DOMAIN)
        if names is None:
            raise DataError(f"{source.name} knows no domains: a folder of domains, each a folder of classes, has them")
        if domain not in names:
            raise ConfigError(f"{source.name} has no domain {domain!r}: {nearest(domain, names)}")
        if part not in ("train", "test"):
            raise ConfigError(f"part {part!r} is unknown: 'train' or 'test'")
        out = source.attributes[DOMAIN] == names.index(domain)
        if bool(out.all()) or not bool(out.any()):
            raise DataError(f"{source.name} has samples of one domain alone, so that none can be left out")
        super().__init__(source, (out == (part == "test")).nonzero()[:, 0])

    @classmethod
    def example(cls) -> Self:
        return cls(_Example(), "two", "train")


class _Example(Wrapped):
    """A few pictures of two domains."""

    def __init__(self) -> None:
        x = torch.randint(0, 256, (8, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        self._wrap(ArraySource(x, torch.arange(8) % 3))

    def __getitem__(self, indices: Indices) -> Batch:
        return self.source[indices]

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {DOMAIN: torch.arange(8) % 2}

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        return {DOMAIN: ("one", "two")}

    def fingerprint(self) -> str:
        return self.source.fingerprint()


def holds_domains(data: Any) -> bool:
    """Return whether data are a folder of domains, each a folder of classes, by where its pictures lie."""
    folder = Path(data).expanduser() if isinstance(data, str | Path) else None
    if folder is None or not folder.is_dir():
        return False
    try:
        names = [file.name for file in list_files(folder)[0]]
        return classes_of(domains_of(names, folder).below, None, folder).labels is not None
    except DataError:  # pictures in no domain, or the parts of a set
        return False


def folder_of_domains(data: Any) -> Path:
    """Return the folder that holds domains.

    Raises:
        ConfigError: data that are no folder.
    """
    path = Path(data).expanduser() if isinstance(data, str | Path) else None
    if path is None or not path.is_dir():
        raise ConfigError("domains are left out of a folder of domains, each a folder of classes: name one as data")
    return path
