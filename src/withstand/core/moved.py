"""Old module paths, so that runs and exports saved before a move still open."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MOVED = {
    "withstand.certify": "withstand.verification",
    "withstand.data.graphs.source.Labelled": "withstand.data.subset.Labelled",
    "withstand.attacks.apgd": "withstand.attacks.autoattack.apgd",
    "withstand.attacks.autoattack.AutoAttack": "withstand.attacks.autoattack.autoattack.AutoAttack",
    "withstand.attacks.deepfool": "withstand.attacks.inputs.deepfool",
    "withstand.attacks.draft": "withstand.attacks.autoattack.shortcuts.half_precision",
    "withstand.attacks.edge_flips": "withstand.attacks.inputs.edge_flips",
    "withstand.attacks.ensemble": "withstand.attacks.autoattack.ensemble",
    "withstand.attacks.ensemble_state": "withstand.attacks.autoattack.ensemble_state",
    "withstand.attacks.evasion": "withstand.attacks.adapted.evasion",
    "withstand.attacks.fab": "withstand.attacks.autoattack.fab",
    "withstand.attacks.gradient": "withstand.attacks.inputs.gradient",
    "withstand.attacks.look_ahead": "withstand.attacks.autoattack.square_turns",
    "withstand.attacks.momentum": "withstand.attacks.inputs.momentum",
    "withstand.attacks.noise": "withstand.attacks.inputs.noise",
    "withstand.attacks.outlook": "withstand.attacks.autoattack.shortcuts.giving_up",
    "withstand.attacks.screen": "withstand.attacks.autoattack.shortcuts.slope_screen",
    "withstand.attacks.square": "withstand.attacks.autoattack.square",
    "withstand.attacks.tables": "withstand.attacks.inputs.tables",
    "withstand.data.arrays.ArraySource": "withstand.data.arrays.source.ArraySource",
    "withstand.data.arrays.Stored": "withstand.data.arrays.source.Stored",
    "withstand.data.cache": "withstand.data.pictures.cache",
    "withstand.data.folder": "withstand.data.pictures.folder",
    "withstand.data.folder_classes": "withstand.data.pictures.folder_classes",
    "withstand.data.folder_parts": "withstand.data.pictures.folder_parts",
    "withstand.data.group_batches": "withstand.data.derived.group_batches",
    "withstand.data.grouped": "withstand.data.derived.grouped",
    "withstand.data.imbalanced": "withstand.data.derived.imbalanced",
    "withstand.data.named": "withstand.data.pictures.named",
    "withstand.data.npz_keys": "withstand.data.arrays.npz_keys",
    "withstand.data.pasted": "withstand.data.derived.pasted",
    "withstand.data.shrunk": "withstand.data.derived.shrunk",
    "withstand.data.subset": "withstand.data.derived.subset",
    "withstand.data.tinted": "withstand.data.derived.tinted",
    "withstand.evaluation.breaks": "withstand.evaluation.robustness.breaks",
    "withstand.evaluation.certificate": "withstand.evaluation.robustness.certificate",
    "withstand.evaluation.classifier": "withstand.evaluation.probes.classifier",
    "withstand.evaluation.contrastive_geometry": "withstand.evaluation.representation.contrastive_geometry",
    "withstand.evaluation.corruptions": "withstand.evaluation.robustness.corruptions",
    "withstand.evaluation.decisive": "withstand.evaluation.robustness.autoattack_stage",
    "withstand.evaluation.detected": "withstand.evaluation.detection.outcomes",
    "withstand.evaluation.detection.Detection": "withstand.evaluation.detection.detection.Detection",
    "withstand.evaluation.embedding_map": "withstand.evaluation.representation.embedding_map",
    "withstand.evaluation.few_shot": "withstand.evaluation.probes.few_shot",
    "withstand.evaluation.gauges": "withstand.evaluation.representation.gauges",
    "withstand.evaluation.graph_audit": "withstand.evaluation.structured.graph_audit",
    "withstand.evaluation.graph_nodes": "withstand.evaluation.structured.graph_nodes",
    "withstand.evaluation.graph_sets": "withstand.evaluation.structured.graph_sets",
    "withstand.evaluation.headline": "withstand.evaluation.robustness.headline",
    "withstand.evaluation.layers": "withstand.evaluation.representation.layers",
    "withstand.evaluation.linear": "withstand.evaluation.probes.linear",
    "withstand.evaluation.naive_bayes": "withstand.evaluation.probes.naive_bayes",
    "withstand.evaluation.naive_bayes_theory": "withstand.evaluation.probes.naive_bayes_theory",
    "withstand.evaluation.nearest_code": "withstand.evaluation.robustness.nearest_code",
    "withstand.evaluation.optional_prover": "withstand.evaluation.robustness.optional_prover",
    "withstand.evaluation.plausible": "withstand.evaluation.robustness.plausible",
    "withstand.evaluation.probe": "withstand.evaluation.probes.probe",
    "withstand.evaluation.probes.KNN": "withstand.evaluation.probes.named.KNN",
    "withstand.evaluation.probes.Linear": "withstand.evaluation.probes.named.Linear",
    "withstand.evaluation.probes.NaiveBayes": "withstand.evaluation.probes.named.NaiveBayes",
    "withstand.evaluation.probes.Centroid": "withstand.evaluation.probes.named.Centroid",
    "withstand.evaluation.projection_head": "withstand.evaluation.representation.projection_head",
    "withstand.evaluation.robustness.Audit": "withstand.evaluation.robustness.audit.RobustnessAudit",
    "withstand.evaluation.robustness.audit.Audit": "withstand.evaluation.robustness.audit.RobustnessAudit",
    "withstand.evaluation.sample_state": "withstand.evaluation.representation.sample_state",
    "withstand.evaluation.shifts": "withstand.evaluation.robustness.shifts",
    "withstand.evaluation.smoothed": "withstand.evaluation.robustness.smoothed",
    "withstand.evaluation.stages": "withstand.evaluation.robustness.stages",
    "withstand.evaluation.table_heads": "withstand.evaluation.structured.table_heads",
    "withstand.evaluation.table_probe": "withstand.evaluation.structured.table_probe",
    "withstand.evaluation.under_attack": "withstand.evaluation.robustness.audit_case",
    "withstand.losses.attraction": "withstand.losses.contrast.attraction",
    "withstand.losses.comp_sum": "withstand.losses.robust.comp_sum",
    "withstand.losses.hardness": "withstand.losses.contrast.hardness",
    "withstand.losses.individual_temperatures": "withstand.losses.contrast.individual_temperatures",
    "withstand.losses.mixing": "withstand.losses.agreement.mixing",
    "withstand.losses.redundancy": "withstand.losses.agreement.redundancy",
    "withstand.losses.variance": "withstand.losses.agreement.variance",
    "withstand.methods.attack_in_training": "withstand.methods.shared.attack_in_training",
    "withstand.methods.clustering.swav": "withstand.methods.non_contrastive.swav",
    "withstand.methods.distillation.byol": "withstand.methods.non_contrastive.byol",
    "withstand.methods.distillation.dino": "withstand.methods.non_contrastive.dino",
    "withstand.methods.distillation.simsiam": "withstand.methods.non_contrastive.simsiam",
    "withstand.methods.labelled": "withstand.methods.shared.labelled",
    "withstand.methods.predictive.t_jepa": "withstand.methods.masked.t_jepa",
    "withstand.methods.reconstruction.denoising_autoencoder": "withstand.methods.restoration.denoising_autoencoder",
    "withstand.methods.redundancy.barlow_twins": "withstand.methods.non_contrastive.barlow_twins",
    "withstand.methods.redundancy.mixed_barlow_twins": "withstand.methods.non_contrastive.mixed_barlow_twins",
    "withstand.methods.redundancy.vicreg": "withstand.methods.non_contrastive.vicreg",
    "withstand.methods.strategies": "withstand.methods.shared.strategies",
    "withstand.methods.weightings": "withstand.methods.shared.weightings",
    "withstand.models.autoencoder": "withstand.models.pictures.autoencoder",
    "withstand.models.concatenated": "withstand.models.blocks.concatenated",
    "withstand.models.convnet": "withstand.models.pictures.convnet",
    "withstand.models.ema": "withstand.models.blocks.ema",
    "withstand.models.heads": "withstand.models.blocks.heads",
    "withstand.models.norm": "withstand.models.blocks.norm",
    "withstand.models.normalized": "withstand.models.pictures.normalized",
    "withstand.models.pretexts": "withstand.models.pictures.pretexts",
    "withstand.models.prototypes": "withstand.models.blocks.prototypes",
    "withstand.models.queue": "withstand.models.blocks.queue",
    "withstand.models.resnet": "withstand.models.pictures.resnet",
    "withstand.models.reweighting": "withstand.models.blocks.reweighting",
    "withstand.models.scattering": "withstand.models.pictures.scattering",
    "withstand.models.scattering_encoder": "withstand.models.pictures.scattering_encoder",
    "withstand.models.second_bank": "withstand.models.blocks.second_bank",
    "withstand.models.timm": "withstand.models.pictures.timm",
    "withstand.models.vit": "withstand.models.pictures.vit",
    "withstand.schedules": "withstand.engine.schedules",
    "withstand.verification.activation": "withstand.verification.network.activation",
    "withstand.verification.capture_graph": "withstand.verification.network.capture_graph",
    "withstand.verification.curves": "withstand.verification.network.curves",
    "withstand.verification.input_split": "withstand.verification.search.input_split",
    "withstand.verification.live": "withstand.verification.training_bounds",
    "withstand.verification.network.Node": "withstand.verification.network.network.Node",
    "withstand.verification.network.Network": "withstand.verification.network.network.Network",
    "withstand.verification.operation": "withstand.verification.network.operation",
    "withstand.verification.product": "withstand.verification.network.product",
    "withstand.verification.relu_split": "withstand.verification.search.relu_split",
    "withstand.verification.settle": "withstand.verification.solvers",
    "withstand.verification.sub_problems": "withstand.verification.search.sub_problems",
    "withstand.verification.window": "withstand.verification.bounds.receptive_field",
    "withstand.views.blur": "withstand.views.pictures.blur",
    "withstand.views.color_views": "withstand.views.pictures.color_views",
    "withstand.views.corruptions": "withstand.views.pictures.corruptions",
    "withstand.views.crop": "withstand.views.pictures.crop",
    "withstand.views.geometry": "withstand.views.pictures.geometry",
    "withstand.views.noise": "withstand.views.pictures.noise",
    "withstand.views.padded_crop": "withstand.views.pictures.padded_crop",
    "withstand.views.picture": "withstand.views.pictures.picture",
    "withstand.views.values": "withstand.views.pictures.values",
    "withstand.views.pictures.values.GaussianNoise": "withstand.views.pictures.values.RandomGaussianNoise",
}
"""Where a part, a module, or a room with all its modules, lies now, by the path that it had."""


RETIRED_ARGUMENTS = {
    "withstand.methods": {"seed"},  # the engine draws for methods
}
"""Arguments that the parts of a room no longer take, and that saved descriptions may still name."""

RETIRED_STATE = {"steps", "epoch"}
"""Last names of buffers that methods no longer keep, and that saved checkpoints may still hold."""


def retired_arguments(path: str) -> set[str]:
    """Return the arguments that a part of this dotted path once took."""
    return {name for room, names in RETIRED_ARGUMENTS.items() if path.startswith(f"{room}.") for name in names}


def without_retired_state(state: Mapping[str, "Tensor"], known: Collection[str]) -> dict[str, "Tensor"]:
    """Return saved state without what is no longer kept; `known` are the names that are."""
    return {
        name: value for name, value in state.items() if name in known or name.rpartition(".")[2] not in RETIRED_STATE
    }


def current_path(name: str) -> str:
    """Return today's dotted path of what was once saved as `name`, through as many moves as there were.

    Of several old paths that fit, the longest decides.
    """
    while True:
        fits = [old for old in MOVED if name == old or name.startswith(f"{old}.")]
        if not fits:
            return name
        old = max(fits, key=len)
        name = MOVED[old] + name[len(old) :]
