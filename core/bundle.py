"""A bundle: the folder that ``derain-export`` makes and every backend loads.

qsnet-fp16-1280x720/
model.onnx          opens in Netron, onnx.checker, onnxruntime and trtexec
manifest.json       what it is, how it was made, the hash of every file
golden-input.png    a rainy frame ...
golden-output.png   ... and what the graph must make of it

A bundle with states has a golden clip: golden-input-0.png and so on. One for several
cameras has a second graph, model-batch.onnx: see `derain.core.batch_file`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from derain.core.batch_file import BATCH_FILE
from derain.core.errors import BundleError
from derain.core.external_data import has_external_data
from derain.core.frame_tensors import Frame
from derain.core.manifest import Manifest
from derain.core.pictures import read_picture
from derain.core.reading import check_file

MODEL_FILE = "model.onnx"
GOLDEN_INPUT = "golden-input.png"
GOLDEN_OUTPUT = "golden-output.png"
MOST_FILE = 4 * 10**9  # bytes; ONNX files end at 2 GB


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal text."""
    check_file(path, MOST_FILE)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose files are complete and unchanged.

    Attributes:
        folder: Where it is.
        manifest: What its ``manifest.json`` says.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> Bundle:
        """Read the manifest in `folder` and check every file against its hash.

        A damaged file never reaches native code, and no file is read but those that the
        manifest lists: a model with tensors in other files is refused.

        Raises:
            BundleError: `folder` is not a bundle, or a file is missing or changed.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise BundleError(
                f"{folder} is not a bundle: wanted a folder made by derain-export, "
                f"got {'a file' if folder.exists() else 'nothing there'}"
            )
        manifest = Manifest.read(folder)
        golden = manifest.golden
        models = [MODEL_FILE, *([BATCH_FILE] if manifest.batch > 1 else [])]
        needed = {*models, *golden.inputs, *golden.outputs}
        if unlisted := sorted(needed - manifest.files.keys()):
            raise BundleError(
                f"{folder} is damaged: its manifest has no hash for "
                f"{', '.join(unlisted)}; export it again"
            )
        for name, wanted in manifest.files.items():
            path = folder / name
            if Path(name).name != name:
                raise BundleError(f"{folder}: file name {name!r} leaves the bundle")
            try:
                intact = sha256(path) == wanted
            except FileNotFoundError as error:
                raise BundleError(
                    f"{folder} is damaged: {name} is missing; export it again"
                ) from error
            except OSError as error:
                raise BundleError(
                    f"{folder} is damaged: {name} cannot be read: {error.strerror}; "
                    "export it again"
                ) from error
            if not intact:
                raise BundleError(
                    f"{folder} is damaged: {name} has changed since the bundle was "
                    "made; export it again"
                )
        for name in models:
            if has_external_data(folder / name):
                raise BundleError(
                    f"{folder}: {name} has tensors in other files, which nothing "
                    "vouches for; export it again"
                )
        return cls(folder, manifest)

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL_FILE

    @property
    def batch_path(self) -> Path:
        """The ONNX file that takes ``manifest.batch`` frames, above 1, in one call."""
        return self.folder / BATCH_FILE

    def golden_clip(self) -> tuple[list[Frame], list[Frame]]:
        """The self-test: inputs and expected outputs, each `(H, W, 3)` uint8 BGR.

        As many of both: one where the bundle has no states.
        """
        golden = self.manifest.golden
        return (
            [read_picture(self.folder / name) for name in golden.inputs],
            [read_picture(self.folder / name) for name in golden.outputs],
        )

    def golden_frames(self) -> tuple[Frame, Frame]:
        """The first frame of the golden clip, and what is expected of it."""
        inputs, outputs = self.golden_clip()
        return inputs[0], outputs[0]
