"""
Goes on where a recording stops, in its voice. Both texts are needed: what the recording says, and what comes then.

    python examples/clone/continue_recording.py beginning.wav "It was a dark night," "and the rain fell." --output rest.wav
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import bundled_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", help="file or URL")
    parser.add_argument("said", help="what the recording says")
    parser.add_argument("text", help="what to say then")
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/continued.wav"))
    args = parser.parse_args()

    name = args.model or bundled_model()
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForTextToWaveform.from_pretrained(name, device_map="auto")
    chat = [
        {"role": "user", "content": f"{args.said} {args.text}"},
        {"role": "assistant", "content": [{"type": "audio", "audio": args.recording}]},
    ]
    inputs = processor.apply_chat_template(chat, continue_final_message=True).to(model.device)
    with torch.inference_mode():
        outputs = model.generate(**inputs, seed=args.seed, return_dict_in_generate=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    # The recording itself is left out.
    processor.save_audio(processor.decode(outputs)[0], args.output)
    print(f"wrote {args.output}: {len(outputs.audio_codes[0]) / processor.frame_rate:.2f} s")


if __name__ == "__main__":
    main()
