"""What PyTorch's exporter says is told in one line, or with ``--verbose``."""

import logging
import sys

from torch import nn

from derain.export import to_onnx

REFUSAL = """Constraints violated (height)! See the documentation.
  - Not all values of height = L['image'].size()[2] satisfy the generated guard.
  - Half of it is another one.
Suggested fixes:
"""


def test_the_details_of_a_dynamic_refusal_are_told():
    error = RuntimeError("export failed")
    error.__cause__ = ValueError(REFUSAL)
    text = to_onnx._explain(nn.Identity(), error, dynamic=True)
    assert "Constraints violated (height)" in text
    assert "Not all values of height" in text
    assert "Half of it is another one" in text
    assert "Suggested" not in text
    assert "\n" not in text
    assert text.endswith("--size")
    assert "--size" not in to_onnx._explain(nn.Identity(), error, dynamic=False)


def test_the_log_of_pytorch_is_for_verbose_alone(caplog, capsys):
    def say():
        with to_onnx._quiet():
            logging.getLogger("torch.onnx").warning("seventy lines")
            sys.stdout.write("a graph")
        return "seventy lines" in caplog.text, "a graph" in capsys.readouterr().out

    caplog.set_level(logging.INFO, "derain")
    assert say() == (False, False)
    logging.getLogger("torch.onnx").warning("afterwards")
    assert "afterwards" in caplog.text
    caplog.set_level(logging.DEBUG, "derain")
    assert say() == (True, True)
