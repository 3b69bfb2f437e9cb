"""
Speaks a text in the voice of a recording.

    python examples/clone/clone_voice.py voice.wav "Hello there." --model OpenMOSS-Team/MOSS-TTS --output cloned.wav

The consent of the person matters whose voice it is.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import bundled_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voice", help="recording of the voice, file or URL, up to 30 seconds")
    parser.add_argument("text")
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--language", help='for example "English"')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/cloned.wav"))
    args = parser.parse_args()

    name = args.model or bundled_model()
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForTextToWaveform.from_pretrained(name, device_map="auto")
    inputs = processor(text=args.text, reference=args.voice, language=args.language).to(model.device)
    with torch.inference_mode():
        outputs = model.generate(**inputs, seed=args.seed, return_dict_in_generate=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    processor.save_audio(processor.decode(outputs)[0], args.output)
    print(f"wrote {args.output}: {len(outputs.audio_codes[0]) / processor.frame_rate:.2f} s")


if __name__ == "__main__":
    main()
