# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Model cards: the README.md of a repository, from what its folder holds, what the training logged and what only people know."""

import json
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedConfig

from ..loading.remote_code import MODULE
from ..moss_audio_tokenizer import MossAudioTokenizerModel
from ..utils.atomic_files import replacing


TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
_ADAPTER_CONFIG = "adapter_config.json"
_PIPELINE_TAGS = {
    "generator": "text-to-speech",
    "adapter": "text-to-speech",
    "codec": "audio-to-audio",
    "codec adapter": "audio-to-audio",
}
# Their safetensors names.
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# What `Trainer` logs of a run.
_LOGGED = ("learning_rate", "loss", "eval_loss", "train_runtime")
# Hz, of every released codec: a generator's configuration does not say it.
_FRAME_RATE = 12.5


@dataclass
class Evaluation:
    """
    A table of measurements.

    Args:
        dataset (`str`):
            Data that was measured on.
        columns (`list[str]`):
            Columns of the table.
        measured (`str`):
            Column of this model's numbers, which go into the metadata too.
        metrics (`list[dict]`):
            Metrics, a row of the table each: `name`, `type` (the metric's name on the Hub, such as "wer"), *optionally*
            `unit`, and a value for each column, a number or a text. A number in quotes keeps its zeros.
        text (`str`, *optional*):
            Description of the measurement, in Markdown.
        plots (`dict[str, str]`, *optional*):
            Titles of pictures by their paths in the repository.
    """

    dataset: str
    columns: list[str]
    measured: str
    metrics: list[dict[str, Any]]
    text: str | None = None
    plots: dict[str, str] = field(default_factory=dict)

    def results(self, task: str) -> list[EvalResult]:
        """The model's own numbers, for the `model-index` of the metadata."""
        return [
            EvalResult(
                task_type=task,
                dataset_type="custom",
                dataset_name=self.dataset,
                # Without it the Hub's library takes all custom data sets for the first one.
                dataset_config=self.dataset,
                metric_type=metric["type"],
                metric_name=metric["name"],
                metric_value=float(metric[self.measured]),
            )
            for metric in self.metrics
        ]

    def rows(self) -> list[list[str]]:
        """Rows of the table, a list of cells each: one a metric."""
        return [
            [metric["name"], *(_cell(metric.get(column), metric.get("unit")) for column in self.columns)]
            for metric in self.metrics
        ]


@dataclass
class ModelCardFacts:
    """
    What a card says that the folder of the model does not. Texts are Markdown.

    Args:
        name (`str`):
            Name of the model; without `repo_id` that of a bundled model.
        summary (`str`):
            Description of the model: what it is, and is not.
        license (`str`), language (`str` or `list[str]`):
            License and language, as in the Hub's metadata.
        training_data, training_procedure (`str`):
            Data and procedure of the training.
        limits (`str`):
            Limits of the model: what it cannot do.
        repo_id (`str`, *optional*):
            Name of the repository on the Hub.
        audience (`str`, *optional*):
            Description of for whom the model is, and for whom not.
        comparison (`str`, *optional*):
            Description of where the model stands beside others.
        recordings (`dict[str, str]`, *optional*):
            What recordings of the model say, by their paths in the repository.
        tags, datasets (`list[str]`, *optional*):
            Tags and data sets, as in the Hub's metadata.
        base_model, base_model_relation (`str`, *optional*):
            Model that it comes from, by its name on the Hub (or of a bundled model), and the relation: "finetune", "adapter",
            "merge" or "quantized". Of an adapter the base is known.
        training_settings (`dict`, *optional*):
            Table of settings; see [`training_settings`].
        training_plots (`dict[str, str]`, *optional*):
            Titles of pictures by their paths in the repository.
        evaluations (`list[Evaluation]`, *optional*):
            Tables of measurements.
    """

    name: str
    summary: str
    license: str
    language: str | list[str]
    training_data: str
    training_procedure: str
    limits: str
    repo_id: str | None = None
    audience: str | None = None
    comparison: str | None = None
    recordings: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    datasets: list[str] | None = None
    base_model: str | None = None
    base_model_relation: str | None = None
    training_settings: dict[str, Any] = field(default_factory=dict)
    training_plots: dict[str, str] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike) -> "ModelCardFacts":
        """
        Reads the facts from a file whose keys are the arguments.

        Raises:
            ValueError: if a key is missing or unknown.
        """
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        try:
            evaluations = [Evaluation(**evaluation) for evaluation in values.pop("evaluations", [])]
            return cls(**values, evaluations=evaluations)
        except TypeError as error:
            known = ", ".join(item.name for item in fields(cls))
            raise ValueError(f"{path!s} has not the facts of a model card: {error}. There are {known}.") from error


class _Card(ModelCard):
    """A card that is written over an older one whole or not at all."""

    def save(self, filepath: Path | str) -> None:
        filepath = Path(filepath)
        filepath.parent.mkdir(parents=True, exist_ok=True)
        with replacing(filepath) as temporary:
            super().save(temporary)


def render_model_card(folder: str | os.PathLike, facts: ModelCardFacts) -> ModelCard:
    """
    The card of a generator, codec or adapter; `card.save(folder / "README.md")` puts it into its repository.

    Args:
        folder (`str` or `os.PathLike`):
            Folder that `save_pretrained` wrote.
        facts ([`ModelCardFacts`]):
            Facts that the folder does not hold.

    Raises:
        ValueError: if the folder is none of these, or a picture or recording is not in it.
    """
    folder = Path(folder)
    described = _describe(folder)
    task = _PIPELINE_TAGS[described["kind"]]
    shown = [
        *facts.recordings,
        *facts.training_plots,
        *(path for evaluation in facts.evaluations for path in evaluation.plots),
    ]
    if missing := [path for path in shown if not (folder / path).is_file()]:
        raise ValueError(f"{folder} has no {', '.join(missing)}, which the card shows.")
    is_adapter = "adapter" in described["kind"]
    base_model = facts.base_model or described.get("base_model")
    # The Hub knows models with a namespace.
    is_base_known = base_model is not None and "/" in base_model
    data = ModelCardData(
        model_name=facts.name,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag=task,
        base_model=base_model if is_base_known else None,
        base_model_relation=(facts.base_model_relation or ("adapter" if is_adapter else None))
        if is_base_known
        else None,
        license=facts.license,
        language=facts.language,
        datasets=facts.datasets,
        tags=facts.tags or None,
        eval_results=[result for evaluation in facts.evaluations for result in evaluation.results(task)] or None,
    )
    if data.eval_results is None:
        data.pop("model_name")
    described |= {"base_model": base_model}
    return _Card.from_template(data, template_path=str(TEMPLATE), facts=facts, model=described)


def training_settings(checkpoint: str | os.PathLike) -> dict[str, Any]:
    """
    What `Trainer` wrote of a run beside its checkpoint (`trainer_state.json`): steps, batch size, learning rates, last losses, hours.

    Raises:
        ValueError: if there is no such file.
    """
    # The trainer is slow to import, and only this needs it.
    from transformers import TrainerState
    from transformers.trainer import TRAINER_STATE_NAME

    path = Path(checkpoint, TRAINER_STATE_NAME)
    if not path.is_file():
        raise ValueError(f"There is no {path}: give a checkpoint of `Trainer`, or call `trainer.save_state()`.")
    state = TrainerState.load_from_json(str(path))
    logged = {name: [entry[name] for entry in state.log_history if name in entry] for name in _LOGGED}
    settings = {
        "steps": state.global_step,
        "epochs": state.epoch,
        "examples a step and device": state.train_batch_size,
    }
    if rates := logged["learning_rate"]:
        settings |= {"highest learning rate": max(rates), "last learning rate": rates[-1]}
    if logged["loss"]:
        settings["last training loss"] = logged["loss"][-1]
    if logged["eval_loss"]:
        settings["last evaluation loss"] = logged["eval_loss"][-1]
    if logged["train_runtime"]:
        settings["hours"] = sum(logged["train_runtime"]) / 3600
    return {name: _rounded(value) for name, value in settings.items() if value is not None}


def _describe(folder: Path) -> dict[str, Any]:
    """Kind, sizes and rates of a repository, from its files."""
    weights = _weights(folder)
    described = {
        "parameters": _count(sum(math.prod(shape) for shape, _ in weights)),
        "has_module": (folder / MODULE.name).exists(),
    }
    if (folder / _ADAPTER_CONFIG).is_file():
        adapter = json.loads((folder / _ADAPTER_CONFIG).read_text(encoding="utf-8"))
        return described | _describe_adapter(adapter)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has neither a config.json nor an {_ADAPTER_CONFIG}: it is no model of ours.")
    config = AutoConfig.from_pretrained(folder)
    stored = {_DTYPES.get(dtype, dtype) for _, dtype in weights}
    if stored - {str(config.dtype).removeprefix("torch.")}:
        described |= {"stored_dtype": " and ".join(sorted(stored)), "dtype": str(config.dtype).removeprefix("torch.")}
    is_codec = hasattr(config, "quantizer_kwargs")
    return described | (_describe_codec(config) if is_codec else _describe_generator(folder, config))


def _describe_adapter(adapter: dict[str, Any]) -> dict[str, Any]:
    targets = adapter.get("target_modules") or []
    is_of_codec = (adapter.get("auto_mapping") or {}).get("base_model_class") == MossAudioTokenizerModel.__name__
    if is_of_codec and not isinstance(targets, str):
        # Full names of many layers: their stages say enough.
        targets = {".".join(name.split(".")[:2]) for name in targets}
    return {
        "kind": "codec adapter" if is_of_codec else "adapter",
        "base_model": adapter["base_model_name_or_path"],
        "rank": adapter.get("r"),
        "targets": targets if isinstance(targets, str) else ", ".join(sorted(targets)),
    }


def _describe_codec(config: PreTrainedConfig) -> dict[str, Any]:
    bits = config.num_quantizers * math.log2(config.codebook_size) * config.frame_rate
    return {
        "kind": "codec",
        "sampling_rate": config.sampling_rate,
        "channels": config.num_channels,
        "frame_rate": config.frame_rate,
        "codebooks": config.num_quantizers,
        "codebook_size": config.codebook_size,
        "kilobits": f"{bits / 1000:g}",
    }


def _describe_generator(folder: Path, config: PreTrainedConfig) -> dict[str, Any]:
    path = folder / "processor_config.json"
    processor = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {
        "kind": "generator",
        "architecture": (config.architectures or [type(config).__name__.replace("Config", "Model")])[0],
        "sampling_rate": config.sampling_rate,
        "frame_rate": _FRAME_RATE,
        "codebooks": config.n_vq,
        "codebook_size": config.audio_vocab_size,
        "codec": processor.get("audio_tokenizer_name_or_path"),
    }


def _weights(folder: Path) -> list[tuple[list[int], str]]:
    """Shape and type of every tensor."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():
                part = tensors.get_slice(name)
                found.append((part.get_shape(), part.get_dtype()))
    return found


def _count(number: int) -> str:
    for size, unit in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)


def _rounded(value: float) -> float | str:
    return f"{value:.3g}" if isinstance(value, float) else value


def _cell(value: Any, unit: str | None) -> str:
    if value is None:
        return "-"
    try:
        float(value)
    except ValueError:
        return str(value)
    return f"{value} {unit}" if unit else str(value)


__all__ = ["Evaluation", "ModelCardFacts", "render_model_card", "training_settings"]
