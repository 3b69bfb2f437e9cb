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
"""Numbers that others published, to stand beside ours. Each says where it is from."""

from dataclasses import dataclass


PAPER = "MOSS-TTS technical report, arXiv 2603.18090"


@dataclass(frozen=True)
class Published:
    """
    Published numbers of one system.

    Args:
        label (`str`): name of the system.
        values (`dict[str, float]`): numbers by our names of them: error rates in percent, SIM as a cosine.
        key (`tuple`): language, mode or range that they are of.
    """

    label: str
    values: dict[str, float]
    key: tuple = ()


SEED_TTS_EVAL_SOURCE = f"{PAPER}, Table 3; ASR Whisper large-v3 (English) and Paraformer (Mandarin), SIM WavLM-large"
# (language, mode); mode "" where the publication names none.
SEED_TTS_EVAL = [
    Published("MOSS-TTS 8B (Delay), clone", {"wer": 1.92, "sim": 0.6931}, ("en", "clone")),
    Published("MOSS-TTS 8B (Delay), continuation", {"wer": 1.84, "sim": 0.7086}, ("en", "continuation")),
    Published("MOSS-TTS-Local 1.7B, clone", {"wer": 1.87, "sim": 0.7174}, ("en", "clone")),
    Published("MOSS-TTS-Local 1.7B, continuation", {"wer": 1.93, "sim": 0.7328}, ("en", "continuation")),
    Published("CosyVoice2 0.5B", {"sim": 0.6590}, ("en", "")),
    Published("Qwen3-TTS 1.7B", {"sim": 0.7145}, ("en", "")),
    Published("MOSS-TTS 8B (Delay), clone", {"wer": 1.46, "sim": 0.7621}, ("zh", "clone")),
    Published("MOSS-TTS 8B (Delay), continuation", {"wer": 1.37, "sim": 0.7698}, ("zh", "continuation")),
    Published("MOSS-TTS-Local 1.7B, clone", {"wer": 1.33, "sim": 0.7724}, ("zh", "clone")),
    Published("MOSS-TTS-Local 1.7B, continuation", {"wer": 1.44, "sim": 0.7962}, ("zh", "continuation")),
    Published("CosyVoice2 0.5B", {"sim": 0.7570}, ("zh", "")),
    Published("Qwen3-TTS 1.7B", {"sim": 0.7672}, ("zh", "")),
]

DURATION_SOURCE = f"{PAPER}, Table 5: mean absolute error in percent of the requested tokens"
# (language, range of length); "all" has the 90th percentile too.
DURATION = [
    Published("MOSS-TTS 8B (Delay)", {"error": 1.482}, ("en", "3-10 s")),
    Published("MOSS-TTS 8B (Delay)", {"error": 0.355}, ("en", "10 s-1 min")),
    Published("MOSS-TTS 8B (Delay)", {"error": 0.365}, ("en", "1-10 min")),
    Published("MOSS-TTS 8B (Delay)", {"error": 0.660}, ("en", "10-30 min")),
    Published("MOSS-TTS 8B (Delay)", {"error": 0.723, "p90": 2.043}, ("en", "all")),
    Published("MOSS-TTS 8B (Delay)", {"error": 1.456}, ("zh", "3-10 s")),
    Published("MOSS-TTS 8B (Delay)", {"error": 0.359}, ("zh", "10 s-1 min")),
    Published("MOSS-TTS 8B (Delay)", {"error": 0.356}, ("zh", "1-10 min")),
    Published("MOSS-TTS 8B (Delay)", {"error": 0.678}, ("zh", "10-30 min")),
    Published("MOSS-TTS 8B (Delay)", {"error": 0.712, "p90": 2.013}, ("zh", "all")),
]

LONG_FORM_SOURCE = f"{PAPER}, Table 6, by characters of the text"
_LONG_FORM = {
    "en": {
        (50, 500): ((4.63, 6.63), (0.646, 0.635)),
        (500, 2500): ((3.65, 4.08), (0.609, 0.602)),
        (2500, 12500): ((3.75, 4.05), (0.603, 0.600)),
        (12500, 25000): ((3.76, 3.75), (0.555, 0.565)),
        (25000, 50000): ((4.58, 6.50), (0.548, 0.533)),
        (50000, None): ((17.49, 29.52), (0.444, 0.512)),
    },
    "zh": {
        (10, 100): ((0.83, 0.65), (0.693, 0.699)),
        (100, 500): ((1.53, 0.85), (0.656, 0.660)),
        (500, 2500): ((4.12, 0.94), (0.649, 0.662)),
        (2500, 5000): ((3.46, 1.19), (0.634, 0.663)),
        (5000, 10000): ((1.89, 1.87), (0.631, 0.647)),
        (10000, None): ((3.41, 1.86), (0.601, 0.630)),
    },
}
# (language, mode, fewest characters, most characters or None)
LONG_FORM = [
    Published(
        f"MOSS-TTS 8B (Delay), {low} to {high} characters"
        if high
        else f"MOSS-TTS 8B (Delay), {low} characters and more",
        {"wer": wer, "sim": sim},
        (language, mode, low, high),
    )
    for language, ranges in _LONG_FORM.items()
    for (low, high), (wers, sims) in ranges.items()
    for mode, wer, sim in zip(("clone", "continuation"), wers, sims)
]

CODEC_SOURCE = (
    f"{PAPER}, Table 2, speech of LibriSpeech (English) and AISHELL-2 (Mandarin), SIM by another encoder than ours; its mel "
    "loss is of AudioSet, and defined otherwise than ours"
)
_CODEC_RATES = {6: 750, 8: 1000, 12: 1500, 16: 2000, 24: 3000, 32: 4000}  # bit/s by codebooks
_CODEC = {
    "en": {
        "sim": (0.82, 0.88, 0.92, 0.95, 0.96, 0.97),
        "stoi": (0.93, 0.94, 0.95, 0.96, 0.97, 0.97),
        "pesq_nb": (3.14, 3.38, 3.64, 3.78, 3.90, 3.95),
        "pesq_wb": (2.60, 2.87, 3.20, 3.41, 3.61, 3.69),
        "mel": (0.86, 0.82, 0.77, 0.73, 0.69, 0.68),
    },
    "zh": {
        "sim": (0.75, 0.81, 0.86, 0.89, 0.92, 0.93),
        "stoi": (0.89, 0.91, 0.93, 0.94, 0.96, 0.96),
        "pesq_nb": (2.73, 2.96, 3.27, 3.46, 3.64, 3.71),
        "pesq_wb": (2.22, 2.43, 2.74, 2.96, 3.20, 3.30),
        "mel": (0.86, 0.82, 0.77, 0.73, 0.69, 0.68),
    },
}
# (language, codebooks)
CODEC = [
    Published(
        f"MOSS-Audio-Tokenizer, {codebooks} codebooks",
        {"bit_rate": rate} | {name: values[index] for name, values in columns.items()},
        (language, codebooks),
    )
    for language, columns in _CODEC.items()
    for index, (codebooks, rate) in enumerate(_CODEC_RATES.items())
]

SPEED_SOURCE = "the projects' own pages"
# Free text: every project measures something else.
SPEED = [
    ("moss-tts-lite (MOSS-TTS v1.5)", "A10G", "eager 29.7 steps/s, CUDA graph 36.0, 4 bit 82"),
    ("kadirnar/MOSS-TTS-optimized (MOSS-TTS v1.5)", "H200 NVL", "21.9 to 4.78 ms a step, first audio 848 to 175 ms"),
    ("SGLang-Omni (MOSS-TTS)", "H200, 8 at once", "real-time factor 0.811 (English), 0.635 (Mandarin)"),
    ("SGLang-Omni (MOSS-TTS-Local v1.5)", "2 GPUs, 16 at once", "real-time factor 0.644, 5.98 requests/s"),
    ("vLLM-Omni (MOSS-TTS-Local v1.5)", "H20", "real-time factor 0.21, first audio 92 ms"),
    ("users of the reference (MOSS-TTS-Local 1.7B)", "RTX 4090", "6.5 to 7 frames/s; real time is 12.5"),
]
