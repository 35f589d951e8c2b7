"""Cards of the weights that ship, from their records: no figure is typed twice.

``python -m derain.benchmarks.report.readme`` writes ``docs/models/NAME.md`` for each
``models/weights/NAME.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from derain.benchmarks.report.network_tables import read_weights, scores
from derain.core.tables import markdown_table

_HEAD = "<!-- made by python -m derain.benchmarks.report.readme; not edited by hand -->"
# Terms of the data that records name, as far as they are known here.
_TERMS = {
    "Rain800": "research data, gathered from a public repository",
    "BSDS500": "Berkeley's, for non-commercial research and education",
    "DAVIS": "CC BY-NC: not for commercial use",
    "CamVid": "for research",
}


def write_cards(weights: Path, pictures: Path) -> dict[str, str]:
    """The text of each card, by the name of the network.

    Args:
        weights: Folder of the records.
        pictures: Folder of sheets before and after, ``NAME.jpg``.

    Raises:
        BenchmarkError: A record cannot be read.
    """
    cards = {}
    for path in sorted(weights.glob("*.json")):
        made = read_weights(path)
        name = made["model"]
        cards[name] = "\n".join(_card(made, (pictures / f"{name}.jpg").exists()))
    return cards


def _card(made: Mapping[str, Any], has_picture: bool) -> Iterator[str]:
    name = made["model"]
    yield from (_HEAD, "", f"# `{name}`", "", f"{made['paper']}.", "")
    yield from (
        f"{made['parameters']:,} parameters in {made['bytes']:,} bytes of "
        f"{made['storage']}, SHA-256 `{made['sha256'][:16]}…`. Licence of the file: "
        "that of this repository; what it was trained on has terms of its own, below.",
        "",
    )
    if has_picture:
        yield from (
            f"![Real rain before and after {name}](../real/{name}.jpg)",
            "",
            "*Frames of NTURain's real clip ra1 (Chen, Tan, Hou and Chau, CVPR 2018), "
            "before and after, of the weights at the time of the picture. There is no "
            "truth to measure against.*",
            "",
        )
    yield from ("## Figures", "")
    if rows := list(_rows(made["figures"])):
        yield from markdown_table([["what", "pictures", "PSNR and SSIM"], *rows])
        yield from ("", made["figures"].get("metric", "").rstrip(".") + ".", "")
    else:
        yield from ("The record of these weights has none yet.", "")
    yield from ("## Trained on", "")
    for each in made["trained_on"]:
        yield f"- {each}{_terms(each)}"
    yield ""
    yield from (f"Rain: {made['rain']}.", "")
    yield from (f"{made['steps']:,} steps, {made['hours']:.2f} hours.", "")
    if made["command"]:
        yield from ("<!-- not run: the training, hours -->", "```")
        yield from (made["command"], "```", "")
    if made.get("earlier_runs"):
        count = len(made["earlier_runs"])
        yield from (f"It goes on from {count} earlier run(s), see the record.", "")
    yield from ("## Limits", "")
    notes = [*made.get("notes", ()), *_departures(made)]
    yield from (f"- {note}" for note in notes or ["none noted"])
    yield from (
        "",
        f"Everything else is in the record, `models/weights/{name}.json`; "
        "[what networks do wrong](../networks.md#what-they-do-wrong) is said for all.",
        "",
    )


def _rows(figures: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, figure in figures.items():
        if not isinstance(figure, Mapping):
            continue
        if "rainy" in figure and "ssim" in figure:
            yield [name, str(figure["pictures"]), scores(figure)]
        elif "mean_psnr_db" in figure:
            cell = f"mean {_db(figure['mean_psnr_db'])}, least "
            cell += _db(figure["least_psnr_db"])
            yield [name, str(figure["pictures"]), cell]
        elif "derained" in figure:
            cell = f"{figure['rainy']:.2f} → {figure['derained']:.2f} grey levels"
            yield [name, f"{figure['still scenes']} still scenes", cell]


def _db(value: float | None) -> str:
    return "the same picture" if value is None else f"{value:.1f} dB"


def _terms(text: str) -> str:
    found = [terms for name, terms in _TERMS.items() if name in text]
    return f" ({'; '.join(found)})" if found else ""


def _departures(made: Mapping[str, Any]) -> list[str]:
    found = made.get("departures", ())
    return [f"other than in the paper: {'; '.join(found)}"] if found else []
