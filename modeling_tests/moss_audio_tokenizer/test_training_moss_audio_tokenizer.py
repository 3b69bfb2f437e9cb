"""Training mode: gradients through the quantizer, its losses, quantizer dropout, gradient checkpointing."""

import pytest
import torch
from tiny_models import tiny_codec, tiny_codec_config

from transformers_moss_tts import MossAudioTokenizerModel


def loss_of(model, values, mask=None):
    outputs = model(values, padding_mask=mask)
    reconstruction = (outputs.audio[:, 0] - values).abs().mean()
    return reconstruction + 0.25 * outputs.commitment_loss + outputs.codebook_loss


def test_every_parameter_gets_a_gradient():
    model = tiny_codec().train()
    loss_of(model, torch.randn(3, 256)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_gradients_pass_straight_through():
    """The encoder's gradient is the decoder's, as if the quantizer were the projections alone."""
    model = tiny_codec().train()
    lfq = model.quantizer.quantizers[0]
    residual = torch.randn(2, 10, 5, requires_grad=True)
    quantized = lfq(residual)[0]
    weights = torch.randn_like(quantized)
    (quantized * weights).sum().backward()
    plain = residual.detach().clone().requires_grad_()
    (lfq.out_proj(lfq.in_proj(plain)) * weights).sum().backward()
    torch.testing.assert_close(residual.grad, plain.grad)


def test_losses_pull_the_right_side():
    model = tiny_codec().train()
    outputs = model(torch.randn(2, 128))
    torch.testing.assert_close(outputs.commitment_loss, outputs.codebook_loss)
    codebook = model.quantizer.quantizers[2].codebook.weight
    encoder = model.encoder[1].input_proj if hasattr(model.encoder[1].input_proj, "weight") else None
    assert torch.autograd.grad(outputs.commitment_loss, codebook, retain_graph=True, allow_unused=True)[0] is None
    assert torch.autograd.grad(outputs.codebook_loss, codebook, retain_graph=True)[0].abs().max() > 0
    weight = encoder.weight
    assert torch.autograd.grad(outputs.commitment_loss, weight, retain_graph=True)[0].abs().max() > 0
    assert torch.autograd.grad(outputs.codebook_loss, weight, allow_unused=True)[0] is None


def test_losses_ignore_padding():
    model = tiny_codec().train()
    values = torch.randn(1, 64)
    expected = model(values)
    padded = torch.cat([values, torch.randn(1, 64)], dim=1)
    outputs = model(padded, padding_mask=torch.arange(128)[None] < 64)
    torch.testing.assert_close(outputs.commitment_loss, expected.commitment_loss)
    torch.testing.assert_close(outputs.codebook_loss, expected.codebook_loss)


def test_a_few_steps_reduce_the_loss():
    torch.manual_seed(0)
    model = MossAudioTokenizerModel(tiny_codec_config()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    time = torch.arange(256) / 32
    values = torch.sin(2 * torch.pi * time * torch.tensor([[1.0], [2.0], [3.0]])) * 0.5
    losses = []
    for _ in range(60):
        loss = loss_of(model, values)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize("samples", [256, 257, 263])
def test_the_reconstruction_is_as_long_as_the_input(samples):
    outputs = tiny_codec()(torch.randn(2, samples))
    assert outputs.audio.shape == (2, 1, samples)
    assert outputs.audio_lengths.tolist() == [256, 256]
    assert outputs.audio[..., :256].abs().max() > 0


def test_quantizer_dropout_draws_a_number_of_codebooks_a_sample():
    model = tiny_codec(quantizer_dropout=1.0).train()
    hidden = torch.randn(1, 12, 6).expand(400, -1, -1)
    lengths = torch.full((400,), 6)
    quantized = model.quantizer(hidden, lengths, 4)[0]
    model.eval()
    with torch.no_grad():
        prefixes = [model.quantizer(hidden[:1], lengths[:1], count)[0][0] for count in (1, 2, 3, 4)]
    counts = [sum(torch.allclose(vector, prefix, atol=1e-5) for vector in quantized) for prefix in prefixes]
    assert sum(counts) == 400
    # 100 of each expected; four standard deviations of the binomial are 35.
    assert all(65 < count < 135 for count in counts)


def test_quantizer_dropout_is_off_by_default_and_in_evaluation():
    values = torch.randn(4, 128)
    model = tiny_codec().train()
    torch.testing.assert_close(model(values).audio, model(values).audio, atol=0, rtol=0)
    model = tiny_codec(quantizer_dropout=1.0)
    torch.testing.assert_close(model(values).audio, tiny_codec()(values).audio, atol=0, rtol=0)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(use_reentrant):
    values = torch.randn(2, 256)
    gradients = []
    for checkpointing in (False, True):
        model = tiny_codec().train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
            assert model.is_gradient_checkpointing
        loss_of(model, values).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_bfloat16_autocast_leaves_the_quantizer_in_float32():
    model = tiny_codec().train()
    seen = []
    model.quantizer.quantizers[0].register_forward_hook(lambda module, args, out: seen.append(out[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(model, torch.randn(2, 128))
    loss.backward()
    assert seen == [torch.float32]
    assert torch.isfinite(loss)
