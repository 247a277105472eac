"""The captioner: what is learnt of which caption, what it gives, and what is refused."""

from dataclasses import replace

import pytest
import torch

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.roles import network_of
from withstand.data.captions.source import CAPTIONS
from withstand.data.captions.words import Vocabulary
from withstand.methods.multimodal.captioner import Captioner
from withstand.models.pictures.normalized import Normalized
from withstand.models.tokens.picture_to_text import PictureToText


def made() -> Captioner:
    torch.manual_seed(0)
    return Captioner.example()


def test_the_loss_is_the_mean_over_captions_of_their_nats_a_word() -> None:
    method = made()
    batch = method.example_batch()
    (prompt,) = method.prompts[:1]
    one = Captioner(**{**method._init_args, "prompts": (prompt,)})
    one.load_state_dict(method.state_dict())
    captions = batch.extras[CAPTIONS][:, :1]
    single = Batch(batch.x, batch.index, None, batch.views, {CAPTIONS: captions})
    terms = one.eval().step(single)
    captioner = network_of(one, "captioner")
    assert isinstance(captioner, PictureToText)
    words = one.vocabulary.texts(captions[:, 0])
    scored = captioner.score(captioner.read(batch.views[0].float() / 255), [prompt] * 8, words)
    torch.testing.assert_close(terms["loss"], (scored.nll / scored.tokens).mean())


def test_each_picture_draws_one_of_its_captions_and_one_of_the_prompts() -> None:
    method = made().eval()
    batch = method.example_batch()
    steps = [replace(batch, step=step) for step in range(4)]
    losses = {round(float(method.step(one)["loss"].detach()), 6) for one in steps}
    assert len(losses) == 4
    again = [float(method.step(batch)["loss"].detach()) for _ in range(2)]
    assert again[0] == again[1]


def test_it_learns_to_say_what_it_was_told() -> None:
    method = made()
    batch = method.example_batch()
    captions = batch.extras[CAPTIONS][:, :1]
    batch = Batch(batch.x, batch.index, None, batch.views, {CAPTIONS: captions})
    optimizer = torch.optim.Adam(method.parameters(), 0.02)
    for step in range(120):
        optimizer.zero_grad()
        method.step(replace(batch, step=step))["loss"].backward()
        optimizer.step()
    maker = method.eval().maker()
    assert maker is not None
    said = maker(batch)["caption"].values
    right = sum(one == other for one, other in zip(said, method.vocabulary.texts(captions[:, 0]), strict=True))
    assert right >= 6
    assert maker(batch, prompt="what")["caption"].values == said, "prompts ask the same in other words"


def test_it_is_described_and_built_again() -> None:
    method = made()
    assert describe(build(describe(method))) == describe(method)
    assert set(method.products()) == {"encoder", "captioner"}


def test_what_is_refused() -> None:
    method = made()
    batch = method.example_batch()
    with pytest.raises(ConfigError, match="the prompt 'why' has the word 'why', which no caption has"):
        Captioner(Normalized.example(), Vocabulary.example(), prompts=("why",))
    with pytest.raises(ConfigError, match="prompts must be one or more, in a list, not 'why'"):
        Captioner(Normalized.example(), Vocabulary.example(), prompts="why")
    with pytest.raises(DataError, match="these pictures have no captions"):
        method.step(Batch(batch.x, batch.index))
    maker = method.maker()
    assert maker is not None
    with pytest.raises(ConfigError, match="prompt 'why' has the word 'why'"):
        maker(batch, prompt="why")
