"""The second graph of a hand-made bundle: the first, once for each row."""

from dataclasses import replace

import pytest

from derain.core.batch_file import BATCH_FILE, of_row
from derain.core.bundle import MODEL_FILE, sha256
from derain.core.manifest import Manifest


def add_batch(folder, batch, models=None):
    """Let the bundle in `folder` take `batch` frames in one call, too; the folder.

    Args:
        folder: Of the bundle.
        batch: How many.
        models: Files of the rows; as the bundle's own, where there are none.
    """
    pytest.importorskip("onnx", reason="bundles need derain[export]")
    import onnx
    from onnx import compose, helper

    files = models or [folder / MODEL_FILE] * batch
    rows = [
        compose.add_prefix(onnx.load(file), of_row("", row))
        for row, file in enumerate(files)
    ]
    parts = ("node", "input", "output", "initializer")
    joined = {
        part: [each for row in rows for each in getattr(row.graph, part)]
        for part in parts
    }
    graph = helper.make_graph(
        joined["node"],
        "rows",
        joined["input"],
        joined["output"],
        joined["initializer"],
    )
    model = helper.make_model(
        graph, opset_imports=rows[0].opset_import, ir_version=rows[0].ir_version
    )
    (folder / BATCH_FILE).write_bytes(model.SerializeToString())
    manifest = Manifest.read(folder)
    listed = {**manifest.files, BATCH_FILE: sha256(folder / BATCH_FILE)}
    replace(manifest, batch=batch, files=listed).write(folder)
    return folder
