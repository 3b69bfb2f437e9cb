"""The vectorised sampler against a plain computation, one sequence at a time."""

import pytest
import torch

from transformers_moss_tts.moss_tts.sampling import TokenHistory, sample_tokens, sequence_seeds


def plain_distribution(scores, history, penalty, temperature, top_k, top_p):
    """Probabilities of the next token, written out: penalty, temperature, top-k, top-p."""
    scores = scores.tolist()
    for token in set(history):
        scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
    ranked = sorted(range(len(scores)), key=lambda token: -scores[token])[: top_k or len(scores)]
    weights = torch.tensor([scores[token] for token in ranked], dtype=torch.float64) / temperature
    weights = weights.softmax(0).tolist()
    kept, total = [], 0.0
    for token, weight in zip(ranked, weights):
        if total > top_p:
            break
        kept.append((token, weight))
        total += weight
    probabilities = torch.zeros(len(scores), dtype=torch.float64)
    for token, weight in kept:
        probabilities[token] = weight / total
    return probabilities


@pytest.mark.parametrize(
    "penalty,temperature,top_k,top_p",
    [
        (1.0, 1.0, 0, 1.0),
        (1.3, 1.0, 0, 1.0),
        (1.0, 1.7, 5, 1.0),
        (1.0, 0.7, 0, 0.8),
        (1.2, 1.7, 6, 0.8),
        (1.1, 0.9, 3, 0.3),
    ],
)
@pytest.mark.parametrize("has_own_numbers", [False, True])
def test_distribution_equals_a_plain_computation(penalty, temperature, top_k, top_p, has_own_numbers):
    torch.manual_seed(0)
    batch_size, n_vq, num_codes, draws = 2, 3, 9, 20000
    logits = torch.randn(batch_size, n_vq, num_codes) * 2
    logits[..., -1] = float("-inf")
    history = torch.randint(0, num_codes, (batch_size, 4, n_vq))
    groups = [0, 1, 1]
    seen = TokenHistory(history, num_codes, groups)
    penalized = seen.penalize(logits, penalty)
    uniforms = torch.rand(draws, batch_size, n_vq) if has_own_numbers else None
    drawn = sample_tokens(penalized.expand(draws, -1, -1, -1), temperature, top_k, top_p, uniforms)
    for index in range(batch_size):
        for codebook in range(n_vq):
            members = [k for k in range(n_vq) if groups[k] == groups[codebook]]
            tokens = history[index, :, members].flatten().tolist()
            expected = plain_distribution(logits[index, codebook], tokens, penalty, temperature, top_k, top_p)
            counts = torch.bincount(drawn[:, index, codebook], minlength=num_codes)
            # Five standard deviations of a count, and nothing where there is no probability.
            spread = 5 * (draws * expected * (1 - expected)).sqrt() + 1e-6
            assert ((counts - draws * expected).abs() <= spread).all(), (index, codebook, counts, draws * expected)


def test_temperature_zero_takes_the_best():
    logits = torch.randn(2, 3, 50)
    assert torch.equal(sample_tokens(logits, 0, top_k=1, top_p=0.1), logits.argmax(-1))


def test_impossible_tokens_and_the_edges_of_the_numbers():
    """The same numbers choose the same token where others are added that have no probability."""
    logits = torch.tensor([2.0, 1.0])
    uniforms = torch.tensor([0.0, 0.7, 0.8, torch.nextafter(torch.ones(()), torch.zeros(()))])
    alone = sample_tokens(logits.expand(4, 2), 1.0, uniforms=uniforms)
    assert alone.tolist() == [0, 0, 1, 1]
    among = torch.full((4, 60000), float("-inf"))
    among[:, [7, 5]] = logits
    assert sample_tokens(among, 1.0, top_k=50, top_p=0.99, uniforms=uniforms).tolist() == [7, 7, 5, 5]


def test_seeds_of_sequences():
    assert sequence_seeds(-1, 2) == [2**64 - 1, 0]
    assert sequence_seeds([3, 3], 2) == [3, 3]
    with pytest.raises(ValueError, match="each of the 3 sequences, got 2"):
        sequence_seeds([3, 3], 3)


def test_history_grows():
    history = TokenHistory(torch.zeros(1, 0, 2, dtype=torch.long), 5, [0, 1])
    logits = torch.ones(1, 2, 5)
    assert torch.equal(history.penalize(logits, 2.0), logits)
    history.add(torch.tensor([[3, 4]]))
    penalized = history.penalize(logits, 2.0)
    assert penalized[0, 0].tolist() == [1, 1, 1, 0.5, 1]
    assert penalized[0, 1].tolist() == [1, 1, 1, 1, 0.5]
