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

"""`moss-tts upload FOLDER REPOSITORY`: uploads a model, codec or adapter to the Hub."""

import argparse
from pathlib import Path

from huggingface_hub.utils import enable_progress_bars, validate_repo_id
from tqdm.auto import tqdm

from ..hub import list_files, upload


_EPILOG = """\
examples:
  moss-tts upload runs/tts/model you/your-voice --dry-run
  moss-tts upload runs/tts/model you/your-voice --private

It takes the token of `hf auth login`, or of the variable HF_TOKEN. Started again after a failure, it goes on where it was.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moss-tts upload",
        description="Uploads a folder to a model repository of the Hub.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="what save_pretrained wrote, with its model card")
    parser.add_argument("repository", help="namespace/name; made if there is none")
    parser.add_argument("--dry-run", action="store_true", help="list the files and their sizes, upload nothing")
    parser.add_argument("--private", action="store_true", default=None, help="make the repository private")
    parser.add_argument("--revision", help="branch to upload to, made if there is none")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request")
    parser.add_argument("--message", help="summary of the commit")
    return parser


def run(args: argparse.Namespace) -> None:
    """
    Uploads, or lists, what the arguments ask for.

    Raises:
        OSError, ValueError: see [`~transformers_moss_tts.hub.upload`].
    """
    validate_repo_id(args.repository)
    files = list_files(args.folder)
    for name, size in files.items():
        print(f"{tqdm.format_sizeof(size, 'B'):>7}  {name}")
    print(f"{tqdm.format_sizeof(sum(files.values()), 'B'):>7}  in {len(files)} files")
    if args.dry_run:
        return
    # The command turns off those of loading.
    enable_progress_bars()
    commit = upload(
        args.folder,
        args.repository,
        commit_message=args.message,
        private=args.private,
        revision=args.revision,
        create_pr=args.create_pr,
    )
    print(f"uploaded: {commit.pr_url or commit.commit_url}")
