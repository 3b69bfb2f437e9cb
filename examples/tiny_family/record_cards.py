"""
Writes the recordings of the bundled models' cards, one a model.

    python -m examples.tiny_family.record_cards model_cards

Generators say a sentence, the codec decodes a recording, and adapters are put onto what they belong to.
"""

import argparse
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModel, pipeline
from transformers.utils.logging import disable_progress_bar

from transformers_moss_tts.audio_io import load_audio, save_audio


RECORDING = Path(__file__).parents[1] / "assets" / "reference.ogg"
FOX = "The quick brown fox jumps over the lazy dog."
LETTER = "She read the letter to her friend in the garden."
# For each card that has a sentence: a generator, its adapter, and the sentence.
SPOKEN = {
    "moss-tts-tiny": ("moss-tts-tiny", None, FOX),
    "moss-tts-local-tiny": ("moss-tts-local-tiny", None, FOX),
    "moss-tts-local-tiny-bm-george": ("moss-tts-local-tiny", "moss-tts-local-tiny-bm-george", LETTER),
}
CODEC = "moss-audio-tokenizer-tiny"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="folder of the models, one folder each")
    args = parser.parse_args()

    disable_progress_bar()
    torch.manual_seed(0)
    for name, (generator, adapter, sentence) in SPOKEN.items():
        speak = pipeline("text-to-speech", model=str(args.models / generator))
        if adapter is not None:
            speak.model = PeftModel.from_pretrained(speak.model, args.models / adapter)
        speech = speak(sentence, generate_kwargs={"seed": 0})
        save_audio(speech["audio"], args.models / name / "speech.ogg", speech["sampling_rate"])
    codec = AutoModel.from_pretrained(args.models / CODEC)
    waveform = torch.from_numpy(load_audio(RECORDING, codec.config.sampling_rate))
    with torch.inference_mode():
        audio = codec.decode(codec.encode(waveform[None]).audio_codes).audio[0]
    save_audio(audio, args.models / CODEC / "speech.ogg", codec.config.sampling_rate)


if __name__ == "__main__":
    main()
