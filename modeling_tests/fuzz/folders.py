"""Folders of strangers: checkpoints, processors, codecs, adapters and uploads with odd values and damaged files."""

import json
import shutil
from functools import cache
from pathlib import Path

import torch
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tiny_models import GOLDEN_TTS, golden_processor, small_codec
from transformers import AutoModel, AutoModelForTextToWaveform, AutoProcessor, GenerationConfig, pipeline

from transformers_moss_tts.hub import list_files

from .configurations import changed, places_in
from .outcomes import Case
from .values import JSON_VALUES, json_values, show


# What transformers reads before this package does.
_OF_TRANSFORMERS = ("tokenizer.json", "tokenizer_config.json")
_WEIGHTS = ("model.safetensors", "adapter_model.safetensors")


@cache
def originals() -> dict[str, dict[str, bytes]]:
    """Files of a generator with its processor and codec, and of an adapter, by their names in the folder."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = AutoModel.from_pretrained(GOLDEN_TTS)
        model.save_pretrained(root / "model")
        small_codec().save_pretrained(root / "model" / "codec")
        processor = golden_processor(small_codec())
        processor.codec_path = str(root / "model" / "codec")
        processor.save_pretrained(root / "model")
        config = json.loads((root / "model" / "processor_config.json").read_text())
        config["audio_tokenizer_name_or_path"] = "codec"
        (root / "model" / "processor_config.json").write_text(json.dumps(config))
        get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(root / "adapter")
        return {name: _files_of(root / name) for name in ("model", "adapter")}


def _files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _write(files: dict[str, bytes], folder: str) -> str:
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


_LOADERS = {
    "AutoModel": AutoModel.from_pretrained,
    "AutoModelForTextToWaveform": lambda folder: AutoModelForTextToWaveform.from_pretrained(
        folder
    ).generation_config.to_dict(),
    "AutoProcessor": AutoProcessor.from_pretrained,
    "pipeline": lambda folder: pipeline("text-to-speech", model=folder),
    "codec": lambda folder: AutoModel.from_pretrained(f"{folder}/codec"),
    "speech": lambda folder: _speech(folder),
    "upload": list_files,
}


def _speech(folder: str) -> int:
    model, processor = AutoModelForTextToWaveform.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    outputs = model.generate(**processor(text="Hello."), max_new_tokens=12, seed=0, return_dict_in_generate=True)
    return len(processor.decode(outputs))


def _json_files() -> list[str]:
    return [name for name in originals()["model"] if name.endswith(".json") and "tokenizer.json" not in name]


@cache
def _places(kind: str, name: str) -> list[tuple]:
    places = places_in(json.loads(originals()[kind][name]))
    return [place for place in places if place[0] not in ("processor_class", "auto_map")]


def _loader_of(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from([loader for loader in _LOADERS if name not in _OF_TRANSFORMERS or loader != "pipeline"])


@st.composite
def _odd_fields(draw) -> Case:
    name = draw(st.sampled_from(_json_files()))
    content = json.loads(originals()["model"][name])
    added = st.sampled_from(
        [*vars(GenerationConfig()), "audio_tokenizer", "auto_map", "transformers_weights", "custom_generate"]
    )
    path = draw(st.one_of(st.sampled_from(_places("model", name)), added.map(lambda key: (key,))))
    value = draw(st.one_of(st.sampled_from(JSON_VALUES), json_values))
    # AutoProcessor reads it before this package does.
    if path == ("auto_map",) and name == "processor_config.json":
        path = ("variant",)
    content = changed(content, path, value)
    loader = draw(_loader_of(name))
    is_codec = name.startswith("codec")
    names = (
        *(str(key) for key in path),
        Path(name).name,
        "config",
        "folder",
        "codec" if is_codec else "codebook",
        "vocabular",
        "size",
    )
    names += tuple(str(key).removeprefix("audio_").removesuffix("_kwargs") for key in path) + (
        "variant",
        "special",
        "token",
        "weights",
    )

    def call():
        files = originals()["model"] | {name: json.dumps(content).encode()}
        return type(_LOADERS[loader](_write(files, "model"))).__name__

    return Case(f"{loader} {name} {'.'.join(map(str, path))}={show(value)}", call, names)


@st.composite
def _damaged(draw) -> Case:
    kind = draw(st.sampled_from(["model", "model", "adapter"]))
    name = draw(st.sampled_from([name for name in originals()[kind] if not name.endswith((".jinja", ".md"))]))
    content = bytearray(originals()[kind][name])
    how = draw(st.sampled_from(["cut", "bytes", "empty", "header", "other", "length", "zip"]))
    if how == "cut":
        del content[draw(st.integers(0, len(content))) :]
    elif how in ("bytes", "header"):
        most = len(content) - 1 if how == "bytes" else min(300, len(content) - 1)
        for _ in range(draw(st.integers(1, 5))):
            content[draw(st.integers(0, most))] = draw(st.integers(0, 255))
    elif how == "length":
        content[:8] = draw(st.sampled_from([0, 1, 2**31, 2**63, 2**64 - 1])).to_bytes(8, "little")
    else:
        content = bytearray(
            {"empty": b"", "other": draw(st.binary(max_size=50)), "zip": b"PK\x03\x04" + b"x" * 50}[how]
        )
    loader = draw(_loader_of(name))

    def call():
        if kind == "adapter":
            return _adapted(originals()["adapter"] | {name: bytes(content)}, loader)
        return type(_LOADERS[loader](_write(originals()["model"] | {name: bytes(content)}, "model"))).__name__

    names = (
        Path(name).name,
        "config",
        "weight",
        "tokenizer",
        "adapter",
        "folder",
        "json",
        "vocabular",
        "codec",
        "token",
    )
    return Case(f"{loader} {kind} {name} {how} {bytes(content[:40])!r}", call, names)


def _adapted(files: dict[str, bytes], loader: str) -> str:
    _write(files, "adapter")
    if loader == "upload":
        return str(list_files("adapter"))
    _write(originals()["model"], "model")
    model = AutoModel.from_pretrained("model")
    try:
        model.load_adapter("adapter")
    except ImportError:
        return "with an older PEFT"
    return "loaded"


_names = st.sampled_from(
    [
        *(
            "pytorch_model.bin",
            "model.safetensors.index.json",
            "adapter_config.json",
            "adapter_model.bin",
            "../out.bin",
            "x.py",
        ),
        *(
            "training_args.bin",
            "optimizer.pt",
            "modeling.py",
            "custom_generate/generate.py",
            ".git/config",
            "a.pkl",
            "README.md",
        ),
        *("generation_config.json", "preprocessor_config.json", "sub/adapter_config.json", "link"),
    ]
)


@st.composite
def _added(draw) -> Case:
    """Further files beside those of a model, and links."""
    name, loader = draw(_names), draw(st.sampled_from(list(_LOADERS)))
    index = {
        "metadata": {},
        "weight_map": {"text_head.weight": draw(st.sampled_from(["a.bin", "../x.safetensors", "/a.safetensors", 3]))},
    }
    content = draw(
        st.sampled_from([b"", b"raise SystemExit('run')", b"{}", b"[]", json.dumps(index).encode(), b"\x80\x04."])
    )
    without = draw(st.booleans())

    def call():
        _write(
            {key: value for key, value in originals()["model"].items() if not (without and key in _WEIGHTS)}, "model"
        )
        if name == "link":
            Path("model/link").symlink_to("/etc/passwd")
        else:
            _write({name: content}, "model")
        result = _LOADERS[loader]("model")
        shutil.rmtree("model")
        return type(result).__name__

    label = f"{loader} with {name} of {content!r}{', without weights' * without}"
    pickled = name in ("a.pkl", "pytorch_model.bin", "adapter_model.bin") and loader == "upload"
    names = (Path(name).name, "index", "safetensors", "weight", "adapter", "link", "config", "peft", "base_model")
    if name == "adapter_config.json" and (loader.startswith("Auto") or loader == "pipeline"):
        # Read by the Auto classes and the pipeline before they know of which class the folder is.
        names += ("Expecting value", "decode byte", "attribute 'get'")
    return Case(label, call, names, None, pickled or (name == "link" and loader == "upload"))


torch.set_grad_enabled(True)
cases = st.one_of(_odd_fields(), _odd_fields(), _damaged(), _added())
