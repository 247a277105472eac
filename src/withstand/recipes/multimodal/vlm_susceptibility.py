"""VLM susceptibility: how far a picture steers what a captioner says, and how much of that a purifier takes back.

paper: Visual Adversarial Examples Jailbreak Aligned Large Language Models (Qi, Huang, Panda, Henderson, Wang, Mittal;
  AAAI 2024)
claims: one picture within a small radius makes a network that answers prompts about pictures say chosen sentences, on
  prompts too that its maker never asked; cleaning pictures helps in part
learns from: pictures with captions: photos, images and text; pictures in folders by class, whose captions are then made
use it when: a network that answers questions about pictures is to be given to others, and it must be known how far a
  picture alone can put words in its mouth, and whether JPEG or fewer bits help against who knows of them
not for: classifiers, which withstand audit attacks; sentences that would harm: a harmless one measures the same
differences: a small captioner is trained here and attacked; `withstand steer` judges a Hugging
  Face network of one's own. Each picture is steered by itself, so that rates have intervals, where the
  paper makes one picture; one sentence is wanted, where the paper raises a corpus; every step reads all known prompts,
  where the official code draws eight of its texts. The best point by the known prompts is kept, not the last. JPEG and
  bit depth stand for the paper's diffusion purifier, each against attackers who know it too.
command: withstand train vlm-susceptibility --data photos/
time: 159 processor seconds for the claim, 3 seeds
reached: reproduced: within 16/255 a steered picture makes the captioner say the wanted sentence in 0.992 ± 0.014 of
  cases, noise of the same size in 0.042 ± 0.038. JPEG leaves 0.183 to those who do not know of it, and 0.617 to those
  who do
"""

from dataclasses import replace

from withstand.core.errors import ConfigError
from withstand.data.captions.words import Vocabulary, words_of
from withstand.defenses.filters import by_bit_depth, by_jpeg
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import AdamW
from withstand.engine.schedules import WarmupCosine
from withstand.evaluation.robustness.vision_language.susceptibility import Susceptibility
from withstand.methods.multimodal.captioner import PROMPTS, Captioner
from withstand.recipes.setups.vision.captioned_pictures import CaptionedSetup
from withstand.recipes.setups.vision.pictures import encoder
from withstand.views.pictures.crop import RandomResizedCrop

SETUP = replace(CaptionedSetup(), data="fashion-mnist-small", epochs=20, batch=128, learning_rate=1e-3)
KNOWN = 4
"""The first prompts, which the attacker asks; the others are held out."""


def experiment(
    setup: CaptionedSetup = SETUP,
    *,
    target: str | None = None,
    prompts: tuple[str, ...] = PROMPTS[:KNOWN],
    held_out: tuple[str, ...] = PROMPTS[KNOWN:],
    eps: tuple[str, ...] = ("4/255", "8/255", "16/255", "32/255"),
    headline: str = "16/255",
    steps: int = 100,
    step: str = "1/255",
    attacked: int = 50,
    decoder_width: int = 128,
    decoder_layers: int = 2,
    decoder_heads: int = 4,
    prefix: int = 8,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, encoder, budget.
        learning_rate: of AdamW.
        target: the harmless sentence that pictures are steered to, in words of the captions; the rarest caption of the
            test pictures if not said.
        prompts: what the attacker asks.
        held_out: what is asked when it counts; the captioner learns to answer both.
        eps: Linf radii, ascending.
        headline: the radius that the finding is read for, one of eps.
        steps: of each attack; 5,000 in the paper.
        step: a step's length.
        attacked: test pictures that are attacked.
        decoder_width: width of the decoder.
        decoder_layers: its blocks.
        decoder_heads: its attention heads.
        prefix: tokens that stand for a picture.
    """
    train, test = setup.parts()
    learnt = setup.words(train)
    asked = dict.fromkeys(word for prompt in (*prompts, *held_out) for word in words_of(prompt))
    if target is not None:
        learnt.require(target, "the target")
    vocabulary = Vocabulary((*learnt.words, *(word for word in asked if word not in learnt.words)), learnt.context)
    if not train.shape or len(train.shape) != 3:
        raise ConfigError(f"pictures (C, H, W) are captioned, not samples of shape {train.shape}")
    method = Captioner(
        encoder(setup.model, setup.width, setup.depth, train.shape),
        vocabulary,
        prompts=(*prompts, *held_out),
        width=decoder_width,
        layers=decoder_layers,
        heads=decoder_heads,
        prefix=prefix,
    )
    batch = min(setup.batch, len(train))
    plan = Plan(
        epochs=setup.epochs,
        batch=max(setup.processes, batch - batch % setup.processes),
        optimizer=AdamW(setup.learning_rate, weight_decay=0.1, betas=(0.9, 0.98)),
        schedule=WarmupCosine(1.0, final=0.003, share=0.1),
        seed=setup.seed,
        processes=setup.processes,
    )
    judge = Susceptibility(
        target,
        prompts,
        held_out,
        eps,
        headline,
        guards={"JPEG": by_jpeg, "bit depth": by_bit_depth},
        samples=attacked,
        steps=steps,
        step=step,
        seed=setup.seed,
    )
    view = RandomResizedCrop(train.shape[-1], (0.5, 1.0), flip=0.5, interpolation="bicubic")
    return Experiment("vlm-susceptibility", train, view, method, plan, test, judges=(judge,))
