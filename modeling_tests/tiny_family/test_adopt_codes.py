"""Generators that get the codes of another codec."""

import pytest
import torch
from tiny_models import tiny_local, tiny_prompts, tiny_tts

from examples.tiny_family.adopt_codes import adopt, audio_embeddings, nearest_embeddings, placed, with_codebooks


def test_delayed_codes_stand_where_a_generator_gets_them():
    codes = torch.tensor([[1, 2], [3, 4]])
    assert placed(codes, 3, 9, is_delayed=True).tolist() == [[1, 9], [3, 2], [9, 4]]
    assert placed(codes, 2, 9, is_delayed=False).tolist() == codes.tolist()


@pytest.mark.parametrize("is_delayed", [True, False])
def test_codes_of_other_numbers_keep_their_embeddings(is_delayed):
    """The sums of two books of renumbered codes, whose own embeddings are free but for a constant, are what they were."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(2, 7, 5, generator=generator)
    number = torch.tensor([3, 0, 5, 1, 4, 2])
    olds = [torch.randint(6, (50, 2), generator=generator) for _ in range(200)]
    adopted = nearest_embeddings([(old, number[old]) for old in olds], embeddings, 2, is_delayed)
    old = placed(olds[0], 50 + is_delayed, 6, is_delayed)
    new = placed(number[olds[0]], 50 + is_delayed, 6, is_delayed)
    heard, kept = (
        table[0][codes[:, 0]] + table[1][codes[:, 1]] for table, codes in ((embeddings, old), (adopted, new))
    )
    assert (heard - kept).abs().max() < 0.1 * heard.abs().max()


@pytest.mark.parametrize("build", [tiny_tts, tiny_local])
def test_a_generator_keeps_its_transformer_and_gets_more_codebooks(build):
    generator = build().eval()
    books = generator.config.n_vq
    codes = [torch.randint(generator.config.audio_vocab_size, (20, books + 1)) for _ in range(3)]
    adopted = adopt(generator, [(new[:, :books], new) for new in codes], books + 1).eval()
    assert adopted.config.n_vq == books + 1
    assert [table.shape for table in audio_embeddings(adopted)] == [audio_embeddings(generator)[0].shape] * (books + 1)
    old, new = (dict(model.backbone.named_parameters()) for model in (generator, adopted))
    assert all(torch.equal(weight, new[name]) for name, weight in old.items())
    with torch.no_grad():
        outputs = adopted(**tiny_prompts(adopted.config, 5))
    assert torch.isfinite(outputs.last_hidden_state).all()


@pytest.mark.parametrize("build", [tiny_tts, tiny_local])
def test_a_generator_of_fewer_codebooks_keeps_the_first(build):
    generator = build().eval()
    with torch.no_grad():
        audio_embeddings(generator)[-1].zero_()
    fewer = with_codebooks(generator, generator.config.n_vq - 1).eval()
    before = generator.state_dict()
    for name, weight in fewer.state_dict().items():
        assert torch.equal(weight, before[name][: len(weight)]), name
    prompts = tiny_prompts(generator.config, 5)
    with torch.no_grad():
        expected = generator(**prompts).last_hidden_state
        states = fewer(**prompts | {"input_ids": prompts["input_ids"][..., :-1]}).last_hidden_state
    torch.testing.assert_close(states, expected)
