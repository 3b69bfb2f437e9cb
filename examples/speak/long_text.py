"""
Speaks a long text paragraph by paragraph, all in one voice: that of a recording, or else the voice of the first paragraph.

    python examples/speak/long_text.py story.txt --model OpenMOSS-Team/MOSS-TTS --reference voice.wav --output story.flac

Paragraphs stand between empty lines. Memory does not grow with the text.
"""

import argparse
import time
from pathlib import Path

import soundfile
import torch
from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import bundled_model


PAUSE = 0.5  # seconds between paragraphs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="UTF-8 text file")
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--reference", help="recording of the voice, file or URL")
    parser.add_argument("--language", help='for example "English"')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/long.wav"))
    args = parser.parse_args()

    paragraphs = [part.strip() for part in args.text.read_text(encoding="utf-8").split("\n\n") if part.strip()]
    name = args.model or bundled_model()
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForTextToWaveform.from_pretrained(name, device_map="auto")
    rate, channels = (getattr(processor.audio_tokenizer.config, name) for name in ("sampling_rate", "num_channels"))
    longest = int(processor.max_reference_duration * processor.frame_rate)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    voice, start = args.reference, time.perf_counter()
    with soundfile.SoundFile(args.output, "w", rate, channels) as file:
        for number, paragraph in enumerate(paragraphs):
            inputs = processor(text=paragraph, reference=voice, language=args.language).to(model.device)
            outputs = model.generate(**inputs, seed=args.seed + number, return_dict_in_generate=True)
            (waveform,) = processor.decode(outputs)
            file.write(waveform.cpu().reshape(channels, -1).T.numpy())
            file.write(torch.zeros(round(PAUSE * rate), channels).numpy())
            if voice is None and len(outputs.audio_codes[0]):
                voice = outputs.audio_codes[0][:longest]
            print(f"{number + 1} of {len(paragraphs)} paragraphs", flush=True)
        seconds = file.frames / rate
    print(f"wrote {args.output}: {seconds:.2f} s in {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
