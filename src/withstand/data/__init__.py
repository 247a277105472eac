"""Floor 1: sources of samples."""

from withstand.data.arrays.source import ArraySource as ArraySource
from withstand.data.dataset import DatasetSource as DatasetSource
from withstand.data.derived.subset import Subset as Subset
from withstand.data.derived.subset import holdout as holdout
from withstand.data.load import load as load
from withstand.data.load import splits as splits
from withstand.data.pictures.folder import ImageFolder as ImageFolder
from withstand.data.pictures.named import NamedSource as NamedSource
