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

from argparse import Namespace

from huggingface_hub.utils import validate_repo_id
from tqdm.auto import tqdm

from ..hub import left_out, list_files, upload


def run(args: Namespace) -> None:
    """
    Uploads the files of a folder, or lists them.

    Raises:
        OSError, ValueError: see [`~transformers_moss_tts.hub.upload`].
    """
    validate_repo_id(args.repository)
    files = list_files(args.folder)
    for name, size in files.items():
        print(f"{tqdm.format_sizeof(size, 'B'):>7}  {name}")
    for name, reason in left_out(args.folder).items():
        print(f"left out {name}: {reason}")
    print(f"{tqdm.format_sizeof(sum(files.values()), 'B'):>7}  in {len(files)} files")
    if args.dry_run:
        return
    commit = upload(
        args.folder,
        args.repository,
        commit_message=args.message,
        private=args.private,
        revision=args.revision,
        create_pr=args.create_pr,
    )
    print(f"uploaded: {commit.pr_url or commit.commit_url}")
