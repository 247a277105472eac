"""What recipes on pictures with captions share: pictures, captions, words; and texts' towers and classes."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Source
from withstand.data.captions.made import spoken
from withstand.data.captions.named import CAPTIONED, folder_of
from withstand.data.captions.source import Captioned, CaptionedClasses, CaptionedFolder
from withstand.data.captions.table import FILE, table_of
from withstand.data.captions.words import Vocabulary
from withstand.data.derived.subset import holdout_or_all, in_whole
from withstand.data.load import DEFAULT_SIZE
from withstand.data.pictures.decoding.listing import open_parts
from withstand.recipes.setups.vision.pictures import CropSetup, both

TEMPLATES = ("a photo of a {}", "a picture of a {}", "the {} in this picture", "a {}", "the {}", "{}")
"""What is said of a class; those with words that no caption has are left out."""


@dataclass(frozen=True, kw_only=True)
class CaptionedSetup(CropSetup):
    """What recipes on pictures with captions can be told besides.

    Args:
        data: a folder of pictures with a captions.csv, the set flickr8k-mini, or labelled pictures, whose captions are
            made of their class and color.
        captions: the table of captions, where it is not in the folder.
        least_words: how often a word must stand in the captions to be known.
        context: words after which a caption is cut.
    """

    data: "str | Path | Source" = "flickr8k-mini"
    captions: str | None = None
    least_words: int = 2
    context: int = 75

    def parts(self) -> tuple[Source, Source]:
        """Return (train, test) of pictures with captions; words are learnt from the captions of train alone.

        Raises:
            DataError: neither captions nor classes, or data that cannot be read.
        """
        if self.leave_out is not None:
            raise ConfigError("leave_out is for pictures without captions")
        folder = self._folder()
        if folder is None:
            return self._made()
        self.reading.refuse("pictures with captions are read as they stand")
        size = DEFAULT_SIZE if self.size is None else self.size
        parts, _ = open_parts(folder)
        test = parts.get("test", parts.get("validation"))
        if "train" in parts and test is not None:
            train = self._captioned(parts["train"], size, folder)
            other = self._captioned(test, size, folder, classes=train.classes)  # numbered as the training part's
            vocabulary = self._learnt(train)
            return train.reading(vocabulary), other.reading(vocabulary)
        whole = self._captioned(folder, size, folder)
        train_part, _ = both(holdout_or_all(whole, self.holdout))
        return both(holdout_or_all(whole.reading(self._learnt(train_part)), self.holdout))

    def words(self, train: Source) -> Vocabulary:
        """Return the words that a part knows."""
        whole, _ = in_whole(train)
        if not isinstance(whole, Captioned):
            raise DataError(f"{train.name} has no captions")
        return whole.vocabulary

    def _class_names(self) -> tuple[str, ...]:
        """Return the names of classes that were asked for, of a folder that may have none; () for none."""
        return ()

    def _folder(self) -> Path | None:
        """Return the folder of captioned pictures that data names; None where captions have to be made."""
        if isinstance(self.data, str) and self.data in CAPTIONED:
            return folder_of(self.data)
        path = Path(self.data).expanduser() if isinstance(self.data, str | Path) else None
        if path is not None and path.is_dir():
            inside = any((part / FILE).is_file() for part in (path, *open_parts(path)[0].values()))
            if self.captions is not None or inside:
                return path
        if self.captions is not None:
            raise DataError("captions belong to a folder of pictures, which data names")
        return None

    def _captioned(
        self, part: Path, size: int, folder: Path, *, classes: tuple[str, ...] | None = None
    ) -> CaptionedFolder:
        table = self.captions or table_of(part, folder) or folder / FILE
        asked = self._class_names() or classes
        return CaptionedFolder(part, size, captions=str(table), classes=asked, cache_size=self.kept_side())

    def _made(self) -> tuple[Source, Source]:
        """Return parts of labelled pictures, with captions that are made."""
        train, test = both(super().parts())
        if isinstance(in_whole(train)[0], Captioned):
            return train, test
        if train.labels is None or not train.classes:
            raise DataError(
                f"{train.name} has neither captions nor classes: give a folder of pictures with a {FILE} (columns "
                "image and caption), or with one folder a class"
            )
        vocabulary = self._learnt(CaptionedClasses(train))
        return CaptionedClasses(train, vocabulary), CaptionedClasses(test, vocabulary)

    def _learnt(self, train: Source) -> Vocabulary:
        whole, rows = in_whole(train)
        if not isinstance(whole, Captioned):
            raise DataError(f"{train.name} has no captions to learn words from")
        said = [text for row in rows.tolist() for text in whole.captions[row]]
        return Vocabulary.learnt(said, least=self.least_words, context=self.context)


@dataclass(frozen=True, kw_only=True)
class CaptionSetup(CaptionedSetup):
    """What recipes of two towers, of pictures and of texts, can be told besides.

    Args:
        text_width: width of the text tower.
        text_layers: its blocks.
        text_heads: its attention heads.
        classes: names of classes for a zero-shot classifier, in words of the captions; the data's own if not said.
        templates: what is said of a class, with {} for its name; the usual ones if not said.
    """

    text_width: int = 128
    text_layers: int = 4
    text_heads: int = 4
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()

    def told(self, train: Source) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the classes and what is said of each; none where nothing names classes.

        Where nobody asked for classes, those of the data are taken if captions have all their words.
        """
        vocabulary = self.words(train)
        asked = tuple(self.classes)
        names = asked or train.classes
        if asked and train.classes and asked != train.classes:
            raise ConfigError(f"classes are those of the data, {', '.join(train.classes)}, in this order, or not said")
        strange = [name for name in names if not vocabulary.known(spoken(name))]
        if strange and not asked:
            warnings.warn(
                f"no caption has the words of the class {strange[0]!r}: there will be no zero-shot classifier",
                stacklevel=2,
            )
            return (), TEMPLATES
        usual = [one for one in TEMPLATES if vocabulary.known(one.replace("{}", " "))]
        return names, self.templates or tuple(usual)

    def _class_names(self) -> tuple[str, ...]:
        return tuple(self.classes)
