import math
from dataclasses import fields

import numpy as np
import pytest

pytest.importorskip("torch")

from torch import nn

from derain.benchmarks.quality.evaluate import evaluate
from derain.benchmarks.quality.evaluate_options import (
    EvaluateKeywords,
    EvaluateOptions,
)
from derain.core.bundle import Bundle
from derain.core.errors import ConfigError, DerainError, UnknownNameError


def test_the_keywords_are_the_options():
    names = {each.name for each in fields(EvaluateOptions)}
    assert EvaluateKeywords.__annotations__.keys() == names


def test_a_live_network_is_measured_on_pairs_in_memory(pairs):
    network = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.dirac_(network.weight)
    evaluation = evaluate(network, pairs, every=2)
    figures = evaluation.figures()["Conv2d"]
    assert figures["pictures"] == 2
    assert figures["psnr_db"] == figures["rainy"]["psnr_db"]
    assert "Conv2d" in str(evaluation)


def test_a_network_without_parameters_is_measured(pairs):
    figures = evaluate(nn.Identity(), pairs).figures()["Identity"]
    assert figures["psnr_db"] == figures["rainy"]["psnr_db"]


@pytest.mark.parametrize("form", [str, lambda path: path, Bundle.open])
def test_a_bundle_may_be_given_in_any_form(identity_bundle, pairs_folder, form):
    bundle = identity_bundle()
    evaluation = evaluate(form(bundle), str(pairs_folder))
    assert list(evaluation.results) == [str(bundle)]
    assert len(evaluation.results[str(bundle)]) == 4


def test_pairs_may_be_arrays_and_two_folders(identity_bundle, pairs, two_folders):
    bundle = identity_bundle()
    triples = [(name, np.array(rainy), np.array(clean)) for name, rainy, clean in pairs]
    folders = two_folders / "rain", two_folders / "clean"
    figures = [evaluate(bundle, p).figures()[str(bundle)] for p in (triples, folders)]
    assert figures[0]["psnr_db"] == figures[1]["psnr_db"]


def test_dry_pictures_stay_as_they_are(identity_bundle, pairs):
    evaluation = evaluate(identity_bundle(), pairs, dry=True)
    ((_, results),) = evaluation.results.items()
    assert all(math.isinf(result.score.psnr_db) for result in results)
    assert "equal" in str(evaluation)


def test_what_cannot_be_measured_is_one_line(identity_bundle, pairs):
    bundle = identity_bundle()
    with pytest.raises(UnknownNameError, match="unknown model 'qsnt'"):
        evaluate("qsnt", pairs)
    with pytest.raises(DerainError, match="no pairs"):
        evaluate(bundle, [])
    with pytest.raises(ConfigError, match="a bundle has its own"):
        evaluate(bundle, pairs, weights="w.pth")
