"""``derain-triton``: a bundle in, a model in a Triton server's repository out."""

from __future__ import annotations

from pathlib import Path

import click

from derain.core.commands import Command
from derain.core.lazy import requires
from derain.core.options import options_from
from derain.export.triton_options import TritonOptions


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--repository",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="The server's --model-repository; made where there is none.",
)
@options_from(TritonOptions)
def main(bundle: Path, repository: Path, options: TritonOptions) -> None:
    """Put BUNDLE, a folder derain-export made, into a Triton server's repository.

    The server derains the golden frame before it says that the model is ready. A bundle
    with a memory gets a sequence for each camera. Nothing but the folder is needed: no
    server has to run.

    \b
    Examples:
      derain-triton qsnet-fp16-1280x720 --repository models/
      tritonserver --model-repository models/
      derain-run qsnet-fp16-1280x720 --source rtsp://camera --sink derained.mp4 \\
          --backend triton://localhost:8001/qsnet-fp16-1280x720
    """  # noqa: D301 - \b is click's mark for text that is not wrapped
    with requires("export"):
        import onnx  # noqa: F401
    with requires("triton"):
        from derain.export.triton_repository import add_to_repository
    from derain.core.bundle import Bundle

    click.echo(str(add_to_repository(Bundle.open(bundle), repository, options)))


if __name__ == "__main__":
    main()
