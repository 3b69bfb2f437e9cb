"""
Stand-ins of the released repositories: their files and side files with small weights, made from the golden checkpoints.

The weights are random and say nothing, but every generator begins to speak and ends by itself, by about one chance in ten a
frame. Remote code is there as in the release and raises an error when it is imported.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


ORGANIZATION = "OpenMOSS-Team"
COMMIT = "0123456789abcdef" * 2 + "01234567"
GOLDEN = Path(__file__).resolve().parents[1] / "golden"

Tensors = dict[str, torch.Tensor]


@dataclass
class Repository:
    """How a repository is made: the golden checkpoint, the fields of its JSON files, the number of shards, the change of weights."""

    golden: str
    num_shards: int
    change_weights: Callable[[Tensors, dict[str, Any]], None]
    remote_code: tuple[str, ...]
    # Fields of JSON files beside those of the golden checkpoint, by the name of the file without its suffix.
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    has_index: bool = True
    dtype: torch.dtype = torch.float32
    is_pickle: bool = False


def build_folder(name: str, folder: Path, **fields: dict[str, Any] | None) -> Path:
    """
    Makes the plain folder `folder / name`, as a download has it. `fields` changes its JSON files: fields by the name of the
    file (`config={"n_vq": 8}`), `None` for no such file.
    """
    repository, target = REPOSITORIES[name], folder / name
    target.mkdir(parents=True)
    tensors = _weights_of(GOLDEN / repository.golden)
    for file in (GOLDEN / repository.golden).iterdir():
        if not file.name.startswith(("golden", "model", "pytorch_model")):
            shutil.copyfile(file, target / file.name)
    for file, values in repository.fields.items():
        change_json(target / f"{file}.json", values)
    config = json.loads((target / "config.json").read_text())
    repository.change_weights(tensors, config)
    tensors = {name: tensor.to(repository.dtype) for name, tensor in tensors.items()}
    if repository.is_pickle:
        torch.save(tensors, target / "pytorch_model.bin")
    else:
        _save_shards(tensors, target, repository.num_shards, repository.has_index)
    for module in repository.remote_code:
        (target / f"{module}.py").write_text('raise RuntimeError("the remote code of the repository was run")\n')
    (target / "README.md").write_text(f"---\nlicense: apache-2.0\n---\n# {name}\n")
    (target / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    return change_folder(target, **fields)


def change_folder(folder: Path, **fields: dict[str, Any] | None) -> Path:
    """Changes JSON files of a folder; see [`build_folder`]."""
    for file, values in fields.items():
        path = folder / f"{file}.json"
        if values is None:
            path.unlink(missing_ok=True)
        else:
            change_json(path, values)
    return folder


def change_json(path: Path, fields: dict[str, Any]) -> None:
    """Adds or replaces fields of a JSON file, which is made if it is missing."""
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | fields, indent=2))


def build_hub_cache(cache: Path, folder: Path) -> Path:
    """
    Makes the hub cache that downloads of the repository in `folder` leave: blobs, a snapshot of symbolic links and the branch
    `main`. The name of the folder is that of the repository.
    """
    base = cache / f"models--{ORGANIZATION}--{folder.name}"
    blobs, snapshot = base / "blobs", base / "snapshots" / COMMIT
    for path in (blobs, snapshot, base / "refs"):
        path.mkdir(parents=True)
    (base / "refs" / "main").write_text(COMMIT)
    for file in folder.iterdir():
        content = file.read_bytes()
        blob = blobs / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return base


def _weights_of(folder: Path) -> Tensors:
    return {
        name: tensor for file in sorted(folder.glob("model*.safetensors")) for name, tensor in load_file(file).items()
    }


def _save_shards(tensors: Tensors, folder: Path, num_shards: int, has_index: bool) -> None:
    names = sorted(tensors)
    if not has_index:
        return _save(tensors, names, folder / "model.safetensors")
    weight_map, size = {}, -(-len(names) // num_shards)
    for number in range(num_shards):
        part = names[number * size : (number + 1) * size]
        file = f"model-{number + 1:05d}-of-{num_shards:05d}.safetensors"
        _save(tensors, part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    metadata = {
        "total_parameters": sum(tensor.numel() for tensor in tensors.values()),
        "total_size": sum(tensor.nbytes for tensor in tensors.values()),
    }
    index = {"metadata": metadata, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _save(tensors: Tensors, names: list[str], path: Path) -> None:
    # Clones, for tied weights are in the files twice.
    save_file({name: tensors[name].clone().contiguous() for name in names}, path, metadata={"format": "pt"})


def _make_delay_speak(tensors: Tensors, config: dict[str, Any]) -> None:
    _add_codebooks(tensors, config["n_vq"], {"emb_ext.{}.weight": 0, "lm_heads.{}.weight": 1})
    tensors["language_model.norm.weight"][0] = 1
    _make_first_feature_constant(tensors, "language_model.embed_tokens.weight", "emb_ext.")
    # After the norm the first feature is the square root of the width, about 7: the text head reads from it what follows.
    head = tensors["lm_heads.0.weight"]
    head *= 0.1
    head[:, 0] = 0
    scores = {"audio_start": 3.0, "im_end": 3.5, "audio_assistant_gen_slot": 0.65}
    _set_scores(head, scores, config)


def _make_local_v1_speak(tensors: Tensors, config: dict[str, Any]) -> None:
    # With equal projections a gated layer gives the text head a first feature that is never below zero.
    mlp, head = "local_to_speech_embedding_mlps.0", tensors["lm_heads.0.weight"]
    tensors[f"{mlp}.up_proj.weight"] = tensors[f"{mlp}.gate_proj.weight"].clone()
    tensors[f"{mlp}.down_proj.weight"] *= 0.05
    tensors[f"{mlp}.down_proj.weight"][0] = 1
    tensors["layer_norm_before_lm_heads.0.weight"][0] = 1
    head *= 0.1
    head[:, 0] = 0
    _set_scores(head, {"audio_assistant_gen_slot": 2.0, "audio_end": 1.6}, config)


def _make_local_speak(tensors: Tensors, config: dict[str, Any]) -> None:
    tensors["local_transformer.ln_f.weight"][0] = 0
    tensors["local_transformer.ln_f.bias"][0] = 10
    head = tensors["local_text_lm_head.weight"]
    head *= 0.1
    head[:, 0] = torch.tensor([0.22, 0.0])
    # The release has the tied weights twice.
    tensors["text_lm_head.weight"] = tensors["transformer.embed_tokens.weight"]
    for codebook in range(config["n_vq"]):
        tensors[f"audio_lm_heads.{codebook}.weight"] = tensors[f"audio_embeddings.{codebook}.weight"]


def _make_nano_speak(tensors: Tensors, config: dict[str, Any]) -> None:
    backbone = config["gpt2_config"]
    # A constant feature of the local transformer's outputs, from which the two entries of the text head read what follows.
    tensors["local_transformer.ln_f.weight"][0] = 0
    tensors["local_transformer.ln_f.bias"][0] = 10
    table = tensors["transformer.wte.weight"]
    table[:, 0] = 0
    table[config["audio_assistant_slot_token_id"], 0] = 0.22
    # The release has the tied weights twice, and one that nothing reads.
    tensors["text_lm_head.weight"] = table
    tensors["local_transformer.wte.weight"] = torch.zeros(backbone["vocab_size"], backbone["n_embd"])
    for codebook in range(config["n_vq"]):
        tensors[f"audio_lm_heads.{codebook}.weight"] = tensors[f"audio_embeddings.{codebook}.weight"]


def _make_codec(tensors: Tensors, config: dict[str, Any]) -> None:
    kwargs = config["quantizer_kwargs"]
    codebooks = sorted({name.split(".")[2] for name in tensors if name.startswith("quantizer.quantizers.")}, key=int)
    for number in range(kwargs["num_quantizers"]):
        source = f"quantizer.quantizers.{number % len(codebooks)}."
        for name in [name for name in tensors if name.startswith(source)]:
            tensor = tensors[name]
            tensor = tensor[: kwargs["codebook_size"]] if name.endswith("codebook.weight") else tensor
            tensors[f"quantizer.quantizers.{number}.{name.removeprefix(source)}"] = tensor


def _add_codebooks(tensors: Tensors, num_codebooks: int, first_number_of: dict[str, int]) -> None:
    """Copies the tensors of the codebooks that there are, in turns, until there are `num_codebooks`."""
    for pattern, first in first_number_of.items():
        there = 0
        while pattern.format(first + there) in tensors:
            there += 1
        for codebook in range(there, num_codebooks):
            tensors[pattern.format(first + codebook)] = tensors[pattern.format(first + codebook % there)].clone()


def _make_first_feature_constant(tensors: Tensors, text: str, audio: str) -> None:
    tensors[text][:, 0] = 20
    for name, tensor in tensors.items():
        if name.startswith(audio):
            tensor[:, 0] = 0


def _set_scores(head: torch.Tensor, scores: dict[str, float], config: dict[str, Any]) -> None:
    for token, score in scores.items():
        head[config[f"{token}_token_id"], 0] = score


_DELAY_CODE = ("configuration_moss_tts", "modeling_moss_tts", "processing_moss_tts", "inference_utils")
_LOCAL_CODE = ("configuration_moss_tts", "modeling_moss_tts", "processing_moss_tts", "gpt2_decoder")
_NANO_CODE = ("configuration_moss_tts_nano", "modeling_moss_tts_nano", "gpt2_decoder", "tokenization_moss_tts_nano")
_CODEC_CODE = ("configuration_moss_audio_tokenizer", "modeling_moss_audio_tokenizer")
# Local v1.0 too: its remote code gives its processor this name.
_DELAY_PROCESSOR = {
    "processor_class": "MossTTSDelayProcessor",
    "auto_map": {"AutoProcessor": "processing_moss_tts.MossTTSDelayProcessor"},
}
_LOCAL_PROCESSOR = {
    "processor_class": "MossTTSLocalProcessor",
    "audio_tokenizer_name_or_path": f"{ORGANIZATION}/MOSS-Audio-Tokenizer-v2",
    "auto_map": {"AutoProcessor": "processing_moss_tts.MossTTSLocalProcessor"},
}
_TTSD_SAMPLING = {"temperature": 1.1, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.1, "max_new_tokens": 2000}
# Ends and padding of Qwen's own generation_config.json, with the ids of the golden tokenizer: im_end and endoftext.
_QWEN_GENERATION = {"bos_token_id": 384, "eos_token_id": [386, 384], "pad_token_id": 384}


def _delay(n_vq: int, num_shards: int = 4, golden: str = "moss_tts_delay", **fields: dict[str, Any]) -> Repository:
    fields = {"config": {"n_vq": n_vq, "dtype": "bfloat16"}, "processor_config": _DELAY_PROCESSOR} | fields
    has_index = num_shards > 1
    return Repository(golden, num_shards, _make_delay_speak, _DELAY_CODE, fields, has_index, torch.bfloat16)


def _local_config() -> dict[str, Any]:
    golden = json.loads((GOLDEN / "moss_tts_local_v1_5" / "config.json").read_text())
    language = golden["language_config"] | {"use_cache": False}
    return {
        "attn_implementation": "flash_attention_2",
        "local_transformer_attn_implementation": "flash_attention_2",
        "local_transformer_layers": 1,
        "use_static_local_kv_cache": True,
        "dtype": "bfloat16",
        "language_config": language,
        "qwen3_config": language,
        "gpt2_config": golden["gpt2_config"] | {"rope_base": 1000000.0, "n_positions": 10240},
        "vocab_size": language["vocab_size"],
    }


def _second_codec_config() -> dict[str, Any]:
    golden = json.loads((GOLDEN / "moss_audio_tokenizer_nano" / "config.json").read_text())
    return {
        "attention_implementation": "flash_attention_2",
        "compute_dtype": "bf16",
        "codec_weight_dtype": "fp32",
        "dtype": "float32",
        "quantizer_kwargs": golden["quantizer_kwargs"] | {"num_quantizers": 32},
    }


def _first_codec_config() -> dict[str, Any]:
    golden = json.loads((GOLDEN / "moss_audio_tokenizer" / "config.json").read_text())
    return {"quantizer_kwargs": golden["quantizer_kwargs"] | {"num_quantizers": 32, "codebook_size": 32}}


REPOSITORIES: dict[str, Repository] = {
    "MOSS-TTS": _delay(32),
    "MOSS-TTS-v1.5": _delay(32),
    "MOSS-TTSD-v1.0": _delay(16, golden="moss_ttsd", generation_config=_TTSD_SAMPLING),
    "MOSS-VoiceGenerator": _delay(16, num_shards=1),
    "MOSS-SoundEffect": _delay(16),
    "MOSS-TTS-Local-Transformer": Repository(
        "moss_tts_local",
        2,
        _make_local_v1_speak,
        _DELAY_CODE[:3],
        {
            "config": {"dtype": "bfloat16"},
            "processor_config": _DELAY_PROCESSOR,
            "generation_config": _QWEN_GENERATION,
        },
        dtype=torch.bfloat16,
    ),
    "MOSS-TTS-Local-Transformer-v1.5": Repository(
        "moss_tts_local_v1_5",
        2,
        _make_local_speak,
        _LOCAL_CODE,
        {
            "config": _local_config(),
            "processor_config": _LOCAL_PROCESSOR,
            "tokenizer_config": {"tokenizer_class": "Qwen2Tokenizer"},
        },
        dtype=torch.bfloat16,
    ),
    "MOSS-TTS-Nano": Repository(
        "moss_tts_nano", 1, _make_nano_speak, _NANO_CODE, has_index=False, dtype=torch.bfloat16, is_pickle=True
    ),
    "MOSS-Audio-Tokenizer": Repository(
        "moss_audio_tokenizer", 2, _make_codec, _CODEC_CODE, {"config": _first_codec_config()}
    ),
    "MOSS-Audio-Tokenizer-v2": Repository(
        "moss_audio_tokenizer_nano", 3, _make_codec, _CODEC_CODE, {"config": _second_codec_config()}
    ),
    "MOSS-Audio-Tokenizer-Nano": Repository("moss_audio_tokenizer_nano", 1, _make_codec, _CODEC_CODE),
}
CODECS = tuple(name for name in REPOSITORIES if name.startswith("MOSS-Audio-Tokenizer"))
GENERATORS = tuple(name for name in REPOSITORIES if name not in CODECS)
