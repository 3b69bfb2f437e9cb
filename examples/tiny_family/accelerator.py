"""
Trains the codec for some minutes on a machine with an accelerator, which has PyTorch but not this package.

    python -m examples.tiny_family pack RUN/together/model PACK
    python -m examples.tiny_family.accelerator PACK OUT --task adversarial --minutes 8
    python -m examples.tiny_family unpack OUT RUN/together/model RUN/adversarial/model

The first and the last command run here, the second one there. PACK has at most 64 MiB, OUT files of at most 16 MiB.

PACK holds the weights in float16, recordings as Ogg/Opus, the library that reads them, and what the package's codec makes of a
test signal: a copy of the codec that is off by more than 1e-5 of it is not trained. The losses and discriminators are the
package's files, which need nothing else of it. Where PACK has `latents.safetensors`, the encoder learns to compute the latents
beside the decoder; that needs transformers and SciPy.
"""

import argparse
import ctypes
import importlib.util
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention
from torch.nn.utils.parametrizations import weight_norm


PACKAGE = Path(__file__).parents[2] / "src" / "transformers_moss_tts"
SHARD_BYTES = 15 * 2**20
TOLERANCE = 1e-5
TASKS = ("decoder", "adversarial")
LATENTS_FILE = "latents.safetensors"
# What lies above has no phase in the codes: compared with the recording's it would only be kept quiet.
WAVEFORM_BAND = 600.0
LOSS_WEIGHTS = {"mel": 15.0, "complex_stft": 0.5, "waveform": 10.0}


class Scale(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.scale * states


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_projs = nn.ModuleList([nn.Linear(width, 3 * width, bias=False)])
        self.out_projs = nn.ModuleList([nn.Linear(width, width, bias=False)])

    def forward(self, states: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        query, key, value = self.in_projs[0](states).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(
            rotate(query, *rotation), rotate(key, *rotation), value, is_causal=True
        )
        return self.out_projs[0](attended.transpose(1, 2).flatten(2))


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    real, imaginary = states.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
    return turned.flatten(-2).to(states.dtype)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, feedforward: int):
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.linear1 = nn.Linear(width, feedforward, bias=False)
        self.linear2 = nn.Linear(feedforward, width, bias=False)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.layer_scale_1, self.layer_scale_2 = Scale(width), Scale(width)

    def forward(self, states: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        states = states + self.layer_scale_1(self.self_attn(self.norm1(states), rotation))
        return states + self.layer_scale_2(self.linear2(gelu(self.linear1(self.norm2(states)))))


class Stage(nn.Module):
    def __init__(self, kwargs: dict):
        super().__init__()
        width, first, last = kwargs["d_model"], kwargs["input_dimension"], kwargs["output_dimension"]
        self.head_dim, self.max_period = width // kwargs["num_heads"], kwargs["max_period"]
        self.input_proj = nn.Identity() if first == width else nn.Linear(first, width, bias=False)
        self.output_proj = nn.Identity() if last == width else nn.Linear(width, last, bias=False)
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList(
            Layer(width, kwargs["num_heads"], kwargs["dim_feedforward"]) for _ in range(kwargs["num_layers"])
        )

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        states = self.input_proj(states)
        positions = torch.arange(states.shape[1], device=states.device, dtype=torch.float32)
        pairs = torch.arange(self.head_dim // 2, device=states.device, dtype=torch.float32)
        angles = positions[:, None] * torch.exp(pairs * (-math.log(self.max_period) * 2 / self.head_dim))
        for layer in self.transformer.layers:
            states = layer(states, (angles.cos(), angles.sin()))
        return self.output_proj(states)


class Patch(nn.Module):
    def __init__(self, size: int, is_inverse: bool):
        super().__init__()
        self.size, self.is_inverse = size, is_inverse

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        if self.is_inverse:
            return states.unflatten(2, (-1, self.size)).transpose(2, 3).flatten(1, 2)
        return states.unflatten(1, (-1, self.size)).transpose(2, 3).flatten(2)


def projection(first: int, last: int) -> nn.Module:
    return nn.Identity() if first == last else weight_norm(nn.Conv1d(first, last, 1))


class Codebook(nn.Module):
    def __init__(self, width: int, size: int, dim: int):
        super().__init__()
        self.in_proj, self.out_proj = projection(width, dim), projection(dim, width)
        self.codebook = nn.Embedding(size, dim)

    def forward(self, residual: torch.Tensor) -> torch.Tensor:
        latents = self.in_proj(residual)
        similarity = normalize(latents.transpose(1, 2), dim=-1) @ normalize(self.codebook.weight).t()
        chosen = self.codebook(similarity.argmax(-1)).transpose(1, 2)
        return self.out_proj(latents + (chosen - latents).detach())


class Quantizer(nn.Module):
    def __init__(self, kwargs: dict):
        super().__init__()
        width = kwargs["rvq_dim"]
        self.input_proj = projection(kwargs["input_dim"], width)
        self.output_proj = projection(width, kwargs["output_dim"])
        self.quantizers = nn.ModuleList(
            Codebook(width, kwargs["codebook_size"], kwargs["codebook_dim"]) for _ in range(kwargs["num_quantizers"])
        )

    def forward(self, states: torch.Tensor, counts: torch.Tensor | None = None) -> torch.Tensor:
        """Quantized by the first `counts` `(batch_size,)` codebooks, by all without."""
        residual = self.input_proj(states)
        total = torch.zeros_like(residual)
        for index, quantizer in enumerate(self.quantizers):
            part = quantizer(residual)
            residual = residual - part
            total = total + (part if counts is None else part * (index < counts)[:, None, None])
        return self.output_proj(total)


class Codec(nn.Module):
    """A copy of MossAudioTokenizerModel of one channel for crops shorter than its attention window, with its parameter names."""

    def __init__(self, config: dict):
        super().__init__()
        self.encoder, self.decoder = (
            nn.ModuleList(
                Patch(module["patch_size"], is_inverse) if "patch_size" in module else Stage(module)
                for module in config[name]
            )
            for name, is_inverse in (("encoder_kwargs", False), ("decoder_kwargs", True))
        )
        self.quantizer = Quantizer(config["quantizer_kwargs"])

    def encode(self, waveform: torch.Tensor) -> torch.Tensor:
        states = waveform[..., None]
        for module in self.encoder:
            states = module(states)
        return states.transpose(1, 2).float()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        states = latents.transpose(1, 2)
        for module in self.decoder:
            states = module(states)
        return states[..., 0].float()

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """What is decoded of waveforms `(batch_size, samples)` of whole frames."""
        return self.decode(self.quantizer(self.encode(waveform)))


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of all shards of a folder, in float32."""
    shards = sorted(folder.glob("weights-*.pt"))
    return {
        name: tensor.float()
        for shard in shards
        for name, tensor in torch.load(shard, map_location="cpu", weights_only=True).items()
    }


def save_weights(weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Writes weights in float16, in files of at most 15 MiB."""
    folder.mkdir(parents=True, exist_ok=True)
    shards, size = [{}], 0
    for name, tensor in weights.items():
        half = tensor.detach().cpu().half()
        if size + half.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = half.clone()
        size += half.nbytes
    for number, shard in enumerate(shards):
        torch.save(shard, folder / f"weights-{number}.pt")


def check_against_package(codec: Codec, pack: Path) -> float:
    """
    Largest difference of what the codec and the package's decode of the pack's test signal.

    Raises:
        ValueError: if it is above 1e-5.
    """
    test = np.load(pack / "test.npz")
    with torch.no_grad():
        decoded = codec(torch.from_numpy(test["waveform"])[None])[0].numpy()
    difference = float(np.abs(decoded - test["decoded"]).max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f"The copy of the codec is off by {difference:.2e} from the package's, more than {TOLERANCE}."
        )
    return difference


class _SoundInfo(ctypes.Structure):
    _fields_ = [
        ("frames", ctypes.c_int64),
        *((name, ctypes.c_int) for name in ("rate", "channels", "format", "sections", "seekable")),
    ]


def read_recordings(pack: Path) -> list[np.ndarray]:
    """Samples of every recording of the pack, read by libsndfile."""
    library = ctypes.CDLL(str(next(pack.glob("libsndfile*"))))
    library.sf_open.restype = ctypes.c_void_p
    library.sf_readf_float.restype = ctypes.c_int64
    recordings = []
    for path in sorted(pack.glob("*.ogg")):
        info = _SoundInfo()
        handle = library.sf_open(str(path).encode(), 0x10, ctypes.byref(info))
        if not handle:
            raise ValueError(f"{path} cannot be read.")
        samples = np.zeros(info.frames, np.float32)
        pointer = samples.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        count = library.sf_readf_float(ctypes.c_void_p(handle), pointer, ctypes.c_int64(info.frames))
        library.sf_close(ctypes.c_void_p(handle))
        recordings.append(samples[:count])
    return recordings


def _module(path: str):
    """A file of the package, without the package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, PACKAGE / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_latents(pack: Path, device: torch.device):
    """What the encoder is to compute, if the pack says it."""
    path = pack / LATENTS_FILE
    if not path.exists():
        return None
    from .spectral_latents import SpectralLatents

    return SpectralLatents.load(path, device)


class Training:
    """One of the tasks on one device; the length of the run is in seconds, over whose last third the rates are let down."""

    def __init__(self, codec: Codec, recordings: list[torch.Tensor], args: argparse.Namespace):
        self.codec, self.recordings, self.args = codec, recordings, args
        self.device = torch.device(args.device)
        self.loss = _module("utils/spectral_loss.py").SpectralLoss(24000, waveform_band=WAVEFORM_BAND).to(self.device)
        codec.quantizer.requires_grad_(False)
        self.optimizers = {"decoder": self._optimizer(codec.decoder)}
        self.latents = load_latents(args.pack, self.device)
        if self.latents is None:
            codec.encoder.requires_grad_(False)
        else:
            self.optimizers["encoder"] = self._optimizer(codec.encoder)
        self.judge = None
        if args.task == "adversarial":
            self.judge = (
                _module("training/codec/discriminators.py").CodecDiscriminator(width=args.width).to(self.device)
            )
            self.optimizers["judge"] = self._optimizer(self.judge)
        self.averages = {name: value.detach().clone() for name, value in codec.state_dict().items()}
        self.weights = torch.tensor([len(recording) for recording in recordings], dtype=torch.float)

    def _optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(parameters, lr=self.args.learning_rate, betas=(0.8, 0.99))

    def crops(self) -> torch.Tensor:
        length = round(self.args.crop_seconds * 12.5) * 1920
        chosen = torch.multinomial(self.weights, self.args.batch_size, replacement=True).tolist()
        crops = torch.zeros(self.args.batch_size, length)
        for crop, index in zip(crops, chosen):
            recording = self.recordings[index]
            start = int(torch.randint(max(1, len(recording) - length + 1), ()))
            part = recording[start : start + length]
            crop[: len(part)] = part
        return crops.to(self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def encode(self, crops: torch.Tensor, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """What the encoder makes of crops; where it learns, also its loss and its step."""
        with self._autocast():
            states = self.codec.encode(crops)
        if self.latents is not None:
            losses["latents"] = (states - self.latents(crops).transpose(1, 2)).pow(2).mean()
            self._update("encoder", losses["latents"])
        return states.detach()

    def reconstruct(self, states: torch.Tensor) -> torch.Tensor:
        quantizer = self.codec.quantizer
        most = len(quantizer.quantizers)
        counts = torch.randint(1, most + 1, (len(states),), device=self.device)
        counts = torch.where(torch.rand(len(states), device=self.device) < 0.5, counts, most)
        latents = quantizer(states, counts)
        with self._autocast():
            return self.codec.decode(latents)

    def step(self, number: int, share_done: float) -> dict[str, torch.Tensor]:
        rate = self.args.learning_rate * min(1, (number + 1) / 100) * min(1, max(0.02, 3 * (1 - share_done)))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        crops, learned = self.crops(), {}
        decoded = self.reconstruct(self.encode(crops, learned))
        losses = self.loss(decoded, crops) | learned
        total = sum(weight * losses[name] for name, weight in LOSS_WEIGHTS.items())
        if self.judge is not None:
            total = total + self._judge(crops, decoded, losses)
        self._update("decoder", total)
        with torch.no_grad():
            share = min(0.999, number / (number + 10))
            for name, value in self.codec.state_dict().items():
                self.averages[name].lerp_(value, 1 - share)
        return losses

    def _judge(self, crops: torch.Tensor, decoded: torch.Tensor, losses: dict) -> torch.Tensor:
        with self._autocast():
            real, fake = self.judge(crops), self.judge(decoded.detach())
        losses["discriminator"] = sum(
            (1 - r[-1].float()).pow(2).mean() + f[-1].float().pow(2).mean() for r, f in zip(real, fake)
        )
        self._update("judge", losses["discriminator"])
        self.judge.requires_grad_(False)
        with self._autocast():
            with torch.no_grad():
                real = self.judge(crops)
            fake = self.judge(decoded)
        self.judge.requires_grad_(True)
        losses["adversarial"] = sum((1 - f[-1].float()).pow(2).mean() for f in fake)
        pairs = [(a, b) for r, f in zip(real, fake) for a, b in zip(r[:-1], f[:-1])]
        return losses["adversarial"] + 2 * sum((a.float() - b.float()).abs().mean() for a, b in pairs)

    def _update(self, name: str, loss: torch.Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
        optimizer.step()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--crop-seconds", type=float, default=1.92)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--width", type=float, default=1.0, help="of the discriminators")
    args = parser.parse_args(arguments)

    torch.manual_seed(0)
    codec = Codec(json.loads((args.pack / "config.json").read_text(encoding="utf-8")))
    codec.load_state_dict(load_weights(args.pack))
    print(f"off by {check_against_package(codec, args.pack):.1e} from the package's codec", flush=True)
    recordings = [torch.from_numpy(recording) for recording in read_recordings(args.pack)]
    training = Training(codec.to(args.device), recordings, args)
    begin = last = time.monotonic()
    number = 0
    while (share_done := (time.monotonic() - begin) / (60 * args.minutes)) < 1 or number == 0:
        losses = training.step(number, share_done)
        number += 1
        if time.monotonic() - last > 10 or number == 1:
            last = time.monotonic()
            values = {name: round(value.item(), 4) for name, value in losses.items()}
            print(json.dumps({"seconds": round(last - begin), "step": number} | values), flush=True)
    save_weights(training.averages, args.output)
    print(f"{number} steps")


if __name__ == "__main__":
    main()
