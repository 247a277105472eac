"""Options that let any recipe run on a few toy samples, told by the recipe's own signature; importable by tests."""

from inspect import Parameter, signature
from typing import get_args

from graphs import graph
from toys import ToyPictures, toy_rows
from withstand.core.options import options_of
from withstand.core.roles import Source
from withstand.data.clips.whole import Clips
from withstand.data.interactions.source import Catalogue
from withstand.data.pairs.source import RecordSource
from withstand.data.volumes.source import VolumeSource
from withstand.data.windows.source import WindowSource
from withstand.engine.experiment import Experiment
from withstand.recipes.catalogue import Entry
from withstand.recipes.items.item_ssl import ItemSetup
from withstand.recipes.setups.language import LanguageSetup
from withstand.recipes.setups.structured.flows import FlowSetup
from withstand.recipes.setups.structured.records import RecordSetup
from withstand.recipes.setups.structured.tables import TableSetup
from withstand.recipes.setups.structured.windows import WindowSetup
from withstand.recipes.setups.vision.bare_pictures import BareSetup
from withstand.recipes.setups.vision.clips import ClipSetup
from withstand.recipes.setups.vision.keypoints import KeypointSetup
from withstand.recipes.setups.vision.origins import OriginSetup
from withstand.recipes.setups.vision.pictures import PictureSetup
from withstand.recipes.setups.vision.super_resolution import SuperSetup
from withstand.recipes.setups.vision.tracks import TrackSetup


def trains(item: Entry) -> bool:
    """Return whether a recipe trains something."""
    return hasattr(item.module(), "experiment")


def needs_a_run(item: Entry) -> bool:
    """Return whether a recipe builds on a run that was trained before."""
    options = options_of(item.module().experiment)
    return any(Experiment in get_args(option.hint) and option.default is None for option in options)


def toy_options(item: Entry, *, pictures: Source | None = None, rows: Source | None = None) -> dict[str, object] | None:
    """Return data and a narrow network, of the kind that the recipe's setup is for, a graph where it has none.

    None where there are no toys of its kind.

    Args:
        item: the recipe.
        pictures: in place of toy pictures.
        rows: in place of a toy table.
    """
    setup = signature(item.module().experiment).parameters.get("setup", Parameter("setup", Parameter.KEYWORD_ONLY))
    if isinstance(setup.default, TrackSetup):
        return {"data": pictures or ToyPictures(512), "width": 4, "simulate": True}
    if isinstance(setup.default, OriginSetup):
        return {"data": pictures or ToyPictures(512), "width": 4, "generate": True}
    if isinstance(setup.default, PictureSetup):
        return {"data": pictures or ToyPictures(512), "width": 4}
    if isinstance(setup.default, BareSetup):
        return {"data": pictures or ToyPictures(512), "width": 4}
    if isinstance(setup.default, LanguageSetup):
        return {"model": "tiny:llama", "batch": 4}
    if isinstance(setup.default, RecordSetup):
        return {"data": RecordSource.example(), "width": 8, "buckets": 64}
    if isinstance(setup.default, TableSetup):
        return {"data": rows or toy_rows(), "hidden": 16}
    if isinstance(setup.default, ItemSetup):
        return {"data": Catalogue.example(), "width": 6, "batch": 4}
    if isinstance(setup.default, WindowSetup):
        return {"data": WindowSource.example(), "width": 6, "batch": 4}
    if isinstance(setup.default, ClipSetup):
        return {"data": Clips.example(), "frames": 3, "crop": 32, "width": 4, "blocks": 1, "flow_width": 2}
    if isinstance(setup.default, KeypointSetup):
        return {"width": 2}
    if isinstance(setup.default, SuperSetup | FlowSetup):
        return None
    if "axis" in signature(item.module().experiment).parameters:
        return {"data": VolumeSource.example(), "width": 2, "batch": 8}
    return {"data": graph(60), "hidden": 16}
