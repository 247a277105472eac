"""Floor 1: sources of samples."""

from withstand.data.arrays import ArraySource as ArraySource
from withstand.data.dataset import DatasetSource as DatasetSource
from withstand.data.folder import ImageFolder as ImageFolder
from withstand.data.load import load as load
from withstand.data.load import splits as splits
from withstand.data.named import NamedSource as NamedSource
from withstand.data.subset import Subset as Subset
from withstand.data.subset import holdout as holdout
