"""Copies of mini-ImageNet that can be recognised: by the checksum of a file, or by all pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

MAX_HASHED_BYTES = 6 * 2**30  # not the 138 GB of ILSVRC-2012
_ENDINGS = (".gz", ".tgz", ".tar", ".zip", ".pkl", ".pickle", ".csv", ".parquet")
_REN = "the pickles of Ren et al. 2018 (few-shot-ssl-public)"
_PUBLISHED = "the zips of this project's published records"

# MD5 or SHA-256 of a file to what it is.
FILES: Mapping[str, str] = {
    "b38f1eb4251fb9459ecc8e7febf9b2eb": f"mini-imagenet.tar.gz, {_REN}",
    "30052347dd33f3ea3ee4a4ad65d72152bf657aac41891299dfa614a3235947ed": (
        f"mini-imagenet.tar.gz, {_REN}"
    ),
    "069993a77e65a83bbf8f8de4c9dcca68": f"train of {_REN}",
    "f87ddf9b5211920dd73520274371eb6a": f"val of {_REN}",
    "12158d649fd08945294de4ad38cda81d": f"test of {_REN}",
    "fdc1a84b906855d49382fee772675b070354b6d906adfe143c009cbfb9b87a57": (
        "mini-imagenet.zip of pancake/few_shot_datasets on Hugging Face"
    ),
    "498519cd8e49ce97ed26a4a3638966698ae41ab35e9c68538319fc9b46ba7d2f": "Ravi's train.csv",
    "5658a59921ca027ee76af92949869c5d6f41d77592ff3b18db325a9d10c893b9": "Ravi's val.csv",
    "2b7cfa78342995761a572a8158e539bc4e0a80f9bbd7d00c1e17a460fbbb93fa": "Ravi's test.csv",
    "10248834b4cdf9498419694fbc6b0697d6737ce8c4b7bff10beafe490271c87a": f"train of {_PUBLISHED}",
    "4f2bfe4b1d5155c27784c06079d7384df885c1db758ab8a977006ac4ea75da23": f"val of {_PUBLISHED}",
    "e3827780c727cafaff745c73b9c49608fd9e6ea4fb8aa6a5d42f07317651fbc9": f"test of {_PUBLISHED}",
}

# Digest of all pixels at 84×84 in Ravi's split and order (see `pixels_digest`) to what they are.
CONTENTS: Mapping[str, str] = {
    "2920a5722dc23344623508413f580ed1ad69620a331b6b14bcac8183ed44ce09": (
        "pixel for pixel the copy of the published results (pack mini-imagenet-10f82ae4c084)"
    ),
}


def pixels_digest(images: Iterable[bytes]) -> str:
    """SHA-256 over the SHA-256 of each image, in the pack's order; 64 hex digits."""
    whole = hashlib.sha256()
    for digest in images:
        whole.update(digest)
    return whole.hexdigest()


def known_files(root: Path) -> dict[str, str]:
    """The files at or directly in ``root`` that are known by checksum, and what they are."""
    found = {}
    for path in sorted(root.iterdir()) if root.is_dir() else [root]:
        if path.suffix.lower() in _ENDINGS and path.is_file():
            if path.stat().st_size > MAX_HASHED_BYTES:
                continue
            md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
            with path.open("rb") as file:
                while part := file.read(2**20):
                    md5.update(part)
                    sha256.update(part)
            what = FILES.get(sha256.hexdigest()) or FILES.get(md5.hexdigest())
            if what:
                found[path.name] = what
    return found
