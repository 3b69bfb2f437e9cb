"""LoRA adapters of PEFT on every generator: trained by Trainer, switched, merged, of the release, on quantized weights, in the pipeline."""

import importlib.metadata
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from adapters import needs_peft_of_transformers
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import GOLDEN_TTS, golden_processor, small_codec
from transformers import (
    AutoConfig,
    AutoModelForTextToWaveform,
    AutoTokenizer,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    pipeline,
)
from transformers.generation.streamers import BaseStreamer

from transformers_moss_tts import (
    MossTTSDelayModel,
    MossTTSDelayProcessor,
    MossTTSLocalProcessor,
    MossTTSLocalV1Processor,
)
from transformers_moss_tts.training import (
    MossTTSDataCollator,
    TrainingSamples,
    lora_target_modules,
    paper_stream_weights,
)


PROCESSORS = {
    "moss_tts_delay": MossTTSDelayProcessor,
    "moss_tts_local": MossTTSLocalV1Processor,
    "moss_tts_local_v1_5": MossTTSLocalProcessor,
}
GREEDY = {"text_temperature": 0.0, "audio_temperature": 0.0, "max_new_tokens": 12}


@pytest.fixture(params=list(PROCESSORS))
def source(request, golden_folder):
    return golden_folder / request.param


def load(source: Path, **kwargs) -> PreTrainedModel:
    return AutoModelForTextToWaveform.from_pretrained(source, **kwargs).eval()


def samples_of(source) -> tuple[TrainingSamples, MossTTSDelayProcessor]:
    config = AutoConfig.from_pretrained(source)
    processor = PROCESSORS[source.name](AutoTokenizer.from_pretrained(source), model_config=config)
    draw = np.random.default_rng(0)
    examples = [{"text": text, "codes": draw.integers(0, 32, (6, config.n_vq)).tolist()} for text in ("One.", "Two.")]
    return TrainingSamples(Dataset.from_list(examples), processor), processor


def batch_of(source) -> dict:
    samples, processor = samples_of(source)
    return MossTTSDataCollator(processor)([samples[0], samples[3]])


@torch.no_grad()
def scores(model, batch) -> torch.Tensor:
    """All finite scores of a batch, in one vector."""
    outputs = model(**batch)
    joined = torch.cat([outputs.logits.flatten(), outputs.audio_logits.flatten()])
    return joined[joined.isfinite()]


def random_adapter(source: Path, folder: Path, seed: int, **config) -> Path:
    """An adapter that changes what a model says, as PEFT saves it."""
    torch.manual_seed(seed)
    model = get_peft_model(load(source), LoraConfig(**{"r": 4, "target_modules": ["q_proj", "up_proj"]} | config))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    return folder


def test_an_adapter_is_trained_saved_and_merged(source, tmp_path):
    torch.manual_seed(0)
    samples, processor = samples_of(source)
    base = AutoModelForTextToWaveform.from_pretrained(source)
    frozen = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"], lora_dropout=0.0)
    model = get_peft_model(base, lora)
    trainer = Trainer(
        model,
        TrainingArguments(
            str(tmp_path / "run"),
            max_steps=30,
            learning_rate=1e-2,
            per_device_train_batch_size=4,
            remove_unused_columns=False,
            logging_steps=1,
            report_to="none",
            use_cpu=True,
        ),
        data_collator=MossTTSDataCollator(processor, paper_stream_weights(processor.model_config.n_vq)),
        train_dataset=samples,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-5:]) < 0.97 * np.mean(losses[:3])
    trainer.save_model(str(tmp_path / "adapter"))

    inputs = processor(text="One.")
    model.eval()
    spoken = model.generate(**inputs, **GREEDY)
    restored = PeftModel.from_pretrained(load(source), tmp_path / "adapter").eval()
    assert torch.equal(restored.generate(**inputs, **GREEDY), spoken)
    batch = batch_of(source)
    with restored.disable_adapter():
        untouched = scores(restored, batch)
    merged = restored.merge_and_unload()
    assert type(merged) is type(load(source))
    assert torch.equal(merged.generate(**inputs, **GREEDY), spoken)
    assert (scores(merged, batch) - untouched).abs().max() > 1e-3
    changed = {name for name, tensor in merged.state_dict().items() if not torch.equal(tensor, frozen[name])}
    assert changed and all(name.split(".")[-2] in ("q_proj", "v_proj", "up_proj") for name in changed)
    merged.save_pretrained(tmp_path / "merged")
    assert torch.equal(load(tmp_path / "merged").generate(**inputs, **GREEDY), spoken)


@pytest.mark.parametrize("targets", ["attention", "mlp", "heads", "all-linear"])
def test_adapters_of_all_parts_merge_and_unload(source, tmp_path, targets):
    base, batch = load(source), batch_of(source)
    modules = targets if targets == "all-linear" else lora_target_modules(base, targets)
    untouched = scores(base, batch)
    adapter = random_adapter(source, tmp_path, 0, target_modules=modules)
    model = PeftModel.from_pretrained(base, adapter)
    adapted = scores(model, batch)
    assert (adapted - untouched).abs().max() > 1e-3
    torch.testing.assert_close(scores(model.merge_and_unload(), batch), adapted, atol=1e-4, rtol=1e-4)
    assert torch.equal(scores(PeftModel.from_pretrained(load(source), adapter).unload(), batch), untouched)


def test_presets_name_what_they_say(source):
    model = load(source)
    with pytest.raises(ValueError, match="some of attention, mlp, all, heads, got 'backbone'"):
        lora_target_modules(model, "backbone")
    with pytest.raises(ValueError, match="got none"):
        lora_target_modules(model)
    assert lora_target_modules(model, "attention", "mlp") == lora_target_modules(model, "all")
    heads = {
        "moss_tts_delay": ["audio_heads", "text_head"],
        "moss_tts_local": [f"lm_heads.{stream}" for stream in range(1 + model.config.n_vq)],
        "moss_tts_local_v1_5": ["local_text_lm_head"],
    }
    assert lora_target_modules(model, "heads") == sorted(heads[source.name])


@pytest.fixture
def speakers(source, tmp_path) -> tuple[dict[str, Path], dict[str, torch.Tensor]]:
    """Adapters of two speakers, and the scores of each alone on the base, whose own are named `base`."""
    batch = batch_of(source)
    adapters = {name: random_adapter(source, tmp_path / name, seed) for seed, name in enumerate(("anna", "ben"))}
    expected = {name: scores(PeftModel.from_pretrained(load(source), path), batch) for name, path in adapters.items()}
    assert (expected["anna"] - expected["ben"]).abs().max() > 1e-3
    return adapters, expected | {"base": scores(load(source), batch)}


def test_one_base_speaks_as_two_speakers(source, speakers):
    adapters, expected = speakers
    batch = batch_of(source)
    model = PeftModel.from_pretrained(load(source), adapters["anna"], adapter_name="anna")
    model.load_adapter(adapters["ben"], adapter_name="ben")
    for name in ("ben", "anna", "ben"):
        model.set_adapter(name)
        assert torch.equal(scores(model, batch), expected[name])
    assert torch.equal(scores(model.unload(), batch), expected["base"])


def test_an_adapter_that_is_loaded_while_another_generation_runs_is_heard(source, tmp_path):
    processor = PROCESSORS[source.name](
        AutoTokenizer.from_pretrained(source), model_config=AutoConfig.from_pretrained(source)
    )
    inputs = processor(text="Hello there.")
    part = "language_model" if source.name == "moss_tts_delay" else "local_transformer"
    targets = rf"{part}\..*(q_proj|gate_proj|up_proj|c_attn)"
    adapter = random_adapter(source, tmp_path, 0, target_modules=targets, lora_alpha=64)
    expected = PeftModel.from_pretrained(load(source), adapter).generate(**inputs, **GREEDY)
    served, spoken = load(source), []
    assert not torch.equal(served.generate(**inputs, **GREEDY), expected)

    class Adapt(BaseStreamer):
        steps = 0

        def put(self, step):
            self.steps += 1
            if self.steps == 3:
                thread = threading.Thread(target=self.load_and_generate)
                thread.start()
                thread.join()

        def end(self):
            pass

        def load_and_generate(self):
            spoken.append(PeftModel.from_pretrained(served, adapter).generate(**inputs, **GREEDY))

    served.generate(**inputs, **GREEDY, streamer=Adapt())
    assert torch.equal(spoken[0], expected)


@needs_peft_of_transformers
def test_load_adapter_switches_speakers(source, speakers, tmp_path):
    adapters, expected = speakers
    batch = batch_of(source)
    model = load(source)
    for name, path in adapters.items():
        model.load_adapter(path, adapter_name=name)
    for name in ("anna", "ben", "anna"):
        model.set_adapter(name)
        assert torch.equal(scores(model, batch), expected[name])
    model.disable_adapters()
    assert torch.equal(scores(model, batch), expected["base"])
    model.enable_adapters()
    model.delete_adapter("anna")
    model.set_adapter("ben")
    assert torch.equal(scores(model, batch), expected["ben"])
    model.save_pretrained(tmp_path / "saved")
    assert (
        load_file(tmp_path / "saved" / "adapter_model.safetensors").keys()
        == load_file(adapters["ben"] / "adapter_model.safetensors").keys()
    )


def test_an_old_peft_is_named_with_the_way_out(source, tmp_path, monkeypatch):
    adapter = random_adapter(source, tmp_path, 0)
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1.0" if name == "peft" else installed(name))
    model = load(source)
    with pytest.raises(
        ImportError, match=r"PEFT 0\.\d+\.0 or later: .*`PeftModel\.from_pretrained\(model, adapter\)`"
    ):
        model.load_adapter(adapter)
    with pytest.raises(ImportError, match=r"`peft\.get_peft_model\(model, config\)`"):
        model.add_adapter(LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(ImportError, match="or later"):
        AutoModelForTextToWaveform.from_pretrained(adapter)
    assert torch.equal(scores(model, batch_of(source)), scores(load(source), batch_of(source)))
    scores(PeftModel.from_pretrained(model, adapter), batch_of(source))


def test_adapter_keys_are_the_released_module_paths(source, tmp_path):
    """So adapters that were made with the reference's code load, and ours load there."""
    adapter = random_adapter(source, tmp_path, 0, target_modules=lora_target_modules(load(source), "all"))
    keys = load_file(adapter / "adapter_model.safetensors")
    released = load_file(source / "model.safetensors")
    assert keys
    for key in keys:
        path = re.fullmatch(r"base_model\.model\.(.*)\.lora_[AB]\.weight", key)[1]
        assert f"{path}.weight" in released


def community_adapter(folder: Path, heads: list[int], use_rslora: bool = False) -> dict[str, torch.Tensor]:
    """
    An adapter as the reference's community script writes it (community/norwegian-lora), and the released weights with it
    merged by hand.
    """
    weights = load_file(GOLDEN_TTS / "model.safetensors")
    targets = ["q_proj", "gate_proj", *(f"lm_heads.{head}" for head in heads)]
    alpha = {"lm_heads.2": 3}
    config = LoraConfig(
        r=2, lora_alpha=6, alpha_pattern=alpha, target_modules=targets, task_type="CAUSAL_LM", use_rslora=use_rslora
    )
    config.save_pretrained(folder)
    draw = torch.Generator().manual_seed(0)
    tensors = {}
    for name in [key.removesuffix(".weight") for key in weights]:
        if not any(name.endswith(f".{target}") or name == target for target in targets):
            continue
        down, up = (
            0.3 * torch.randn(size, generator=draw)
            for size in ((2, weights[f"{name}.weight"].shape[1]), (len(weights[f"{name}.weight"]), 2))
        )
        tensors |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
        weights[f"{name}.weight"] += alpha.get(name, 6) / (2**0.5 if use_rslora else 2) * up @ down
    save_file(tensors, folder / "adapter_model.safetensors")
    return weights


@pytest.fixture
def delay(golden_folder) -> Path:
    return golden_folder / "moss_tts_delay"


@needs_peft_of_transformers
@pytest.mark.parametrize("heads,use_rslora", [([], False), ([1, 2, 8], False), ([0], False), (range(9), True)])
def test_adapters_of_the_community_load(delay, tmp_path, heads, use_rslora):
    (tmp_path / "adapter").mkdir()
    weights = community_adapter(tmp_path / "adapter", list(heads), use_rslora)
    (tmp_path / "merged").mkdir()
    save_file(weights, tmp_path / "merged" / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "merged" / "config.json").write_text((delay / "config.json").read_text())
    batch = batch_of(delay)
    expected = scores(load(tmp_path / "merged"), batch)
    model = load(delay)
    info = model.load_adapter(tmp_path / "adapter")
    assert not info.missing_keys and not info.unexpected_keys
    torch.testing.assert_close(scores(model, batch), expected, atol=1e-4, rtol=1e-4)
    # What it is saved as, PEFT loads by itself.
    model.save_pretrained(tmp_path / "saved")
    restored = PeftModel.from_pretrained(load(delay), tmp_path / "saved")
    torch.testing.assert_close(scores(restored, batch), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores(restored.merge_and_unload(), batch), expected, atol=1e-4, rtol=1e-4)


def test_heads_of_the_community_are_never_dropped(delay, tmp_path):
    community_adapter(tmp_path, [1])
    with pytest.raises(ValueError, match=r"load it with `model\.load_adapter"):
        PeftModel.from_pretrained(load(delay), tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    tensors["base_model.model.lm_heads.1.lora_magnitude_vector.weight"] = torch.ones(33)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="cannot be fused"):
        load(delay).load_adapter(tmp_path)


def test_an_adapter_on_quantized_weights(source, tmp_path):
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    quantized = load(source, quantization_config=TorchAoConfig(Int8WeightOnlyConfig()))
    layer = quantized.get_submodule(next(n for n, _ in quantized.named_modules() if n.endswith("q_proj")))
    assert type(layer.weight).__name__ == "Int8Tensor"
    batch = batch_of(source)
    plain, untouched = scores(load(source), batch), scores(quantized, batch)
    assert 0 < (untouched - plain).abs().max() < 0.1 * plain.abs().max()
    model = get_peft_model(quantized, LoraConfig(r=4, target_modules=lora_target_modules(quantized, "all")))
    samples, processor = samples_of(source)
    trainer = Trainer(
        model,
        TrainingArguments(
            str(tmp_path), max_steps=4, learning_rate=1e-2, remove_unused_columns=False, report_to="none", use_cpu=True
        ),
        data_collator=MossTTSDataCollator(processor),
        train_dataset=samples,
    )
    trainer.train()
    trained = scores(model.eval(), batch)
    assert (trained - untouched).abs().max() > 1e-3
    trainer.save_model(str(tmp_path / "adapter"))
    again = load(source, quantization_config=TorchAoConfig(Int8WeightOnlyConfig()))
    again = PeftModel.from_pretrained(again, tmp_path / "adapter").eval()
    torch.testing.assert_close(scores(again, batch), trained, atol=1e-5, rtol=1e-5)
    assert torch.equal(
        again.generate(**processor(text="One."), **GREEDY), model.generate(**processor(text="One."), **GREEDY)
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="bitsandbytes quantizes on a GPU")
def test_an_adapter_on_a_bitsandbytes_base(source):
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    model = load(source, quantization_config=BitsAndBytesConfig(load_in_4bit=True), device_map="cuda")
    model = get_peft_model(model, LoraConfig(r=4, target_modules=lora_target_modules(model, "all")))
    batch = {name: value.to("cuda") if torch.is_tensor(value) else value for name, value in batch_of(source).items()}
    model(**batch).loss.backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if "lora_" in n)


def test_the_pipeline_speaks_with_adapters(delay, tmp_path):
    model = MossTTSDelayModel.from_pretrained(delay)
    model.generation_config.do_sample = False
    model.save_pretrained(tmp_path / "base")
    golden_processor(small_codec(), codec_path="codec").save_pretrained(tmp_path / "base")
    small_codec().save_pretrained(tmp_path / "base" / "codec")
    adapter = random_adapter(tmp_path / "base", tmp_path / "adapter", 3)
    options = {"generate_kwargs": {"max_new_tokens": 40}}

    speak = pipeline("text-to-speech", model=str(tmp_path / "base"))
    plain = speak("hello world", **options)["audio"]
    speak.model = PeftModel.from_pretrained(speak.model, adapter)
    adapted = speak("hello world", **options)["audio"]
    assert plain.shape != adapted.shape or not np.array_equal(plain, adapted)
    with speak.model.disable_adapter():
        np.testing.assert_array_equal(speak("hello world", **options)["audio"], plain)

    merged = PeftModel.from_pretrained(load(tmp_path / "base"), adapter).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    speak.processor.save_pretrained(tmp_path / "merged")
    (tmp_path / "merged" / "codec").symlink_to(tmp_path / "base" / "codec")
    again = pipeline("text-to-speech", model=str(tmp_path / "merged"))
    np.testing.assert_allclose(again("hello world", **options)["audio"], adapted, atol=1e-5)

    wrapped = PeftModel.from_pretrained(load(tmp_path / "base"), adapter)
    other = pipeline("text-to-speech", model=wrapped, processor=speak.processor, tokenizer=speak.tokenizer)
    np.testing.assert_allclose(other("hello world", **options)["audio"], adapted, atol=1e-5)


@needs_peft_of_transformers
def test_the_pipeline_loads_an_adapter_by_its_folder(delay, tmp_path):
    """The adapter names its base."""
    base = tmp_path / "base"
    load(delay).save_pretrained(base)
    golden_processor(small_codec(), codec_path="codec").save_pretrained(base)
    small_codec().save_pretrained(base / "codec")
    adapter = random_adapter(base, tmp_path / "adapter", 3)
    options = {"generate_kwargs": {"max_new_tokens": 40, "do_sample": False}}
    speak = pipeline("text-to-speech", model=str(base))
    speak.model.load_adapter(adapter)
    expected = speak("hello world", **options)["audio"]
    by_name = pipeline("text-to-speech", model=str(adapter))
    np.testing.assert_array_equal(by_name("hello world", **options)["audio"], expected)
