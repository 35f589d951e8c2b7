"""Networks of a user's own that cannot be exported, and the line that says why."""

import os
import sys
from pathlib import Path

import pytest

from support.faults import Fault

NETWORKS = """
import sys
import torch
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x):
        return x - 0.1 * self.last(self.conv(x))

class Needs(Net):
    def __init__(self, width, depth):
        super().__init__(width)

class Settings(Net):
    def __init__(self, opt):
        super().__init__(opt.width)
        self.stages = opt["stages"]

class Odd(Net):
    __init__ = None

class Stops(BaseException):
    def __str__(self):
        raise self

class Raises(Net):
    def __init__(self):
        raise Stops

class Given(Net):
    def forward(self, x, noise, *more, sigma):
        return x - noise - sigma

class Named(Net):
    def forward(self, *, image):
        return super().forward(image)

class Blind(Net):
    def forward(self):
        return torch.zeros(1)

class Halves(Net):
    def forward(self, x):
        y = F.interpolate(F.avg_pool2d(x, 32), scale_factor=32)
        return super().forward(x) + y

class Cropped(Net):
    def forward(self, x):
        return super().forward(x)[..., :-1]

class Three(Net):
    def forward(self, x):
        return {"small": x[..., ::2], "rain": x[:, :1], "note": "text"}

class Nothing(Net):
    def forward(self, x):
        return None

class Whole(Net):
    def forward(self, x):
        return (super().forward(x) * 255).long()

class Mask(Net):
    def forward(self, x):
        return super().forward(x) > 0.5

class Random(Net):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5)

class Counts(Net):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * 0.5**self.calls

class Ends(Net):
    def forward(self, x):
        sys.exit(3)

class Generator(Net):
    def forward(self, x):
        raise Stops

class Late(Net):
    def __init__(self):
        import no_such_package.deep

class Later(Net):
    def forward(self, x):
        from skimage import no_such_thing

class Older(Net):
    def __init__(self):
        import torch.no_such_module

def broken():
    raise Stops

def text():
    return "a network"

def identity():
    return nn.Identity()

def untold():
    class Forgotten(nn.Module):
        pass
    return Forgotten()

def closed():
    return Net(4)
"""


def _fault(name, network, says, *options, status=1):
    size = () if {"--size", "--dynamic"} & set(options) else ("--size", "40x32")
    model = ("--model", f"users_networks:{network}", "--random-weights")
    return Fault(
        name=name,
        run=("derain-export", *model, *size, "-o", "out", *options),
        says=says,
        status=status,
        given={"users_networks.py": NETWORKS},
    )


def _import_fault(name, module, text, says):
    return Fault(
        name=f"import-{name}",
        run=("derain-export", "--model", f"{module}:Net", "--size", "40x32"),
        says=says,
        given={f"{module.replace('.', '/')}.py": text, "repo/users_layers.py": ""},
    )


INPUTS = (
    *("", "x", "x=", "=half", "x=constant", "x=constant:", "x=half:2", "1=half"),
    *("x=constant:nan", "x=constant:1e400", "x=third"),
)
FAULTS = [
    _fault("arguments-missing", "Needs", "give --arg width=VALUE --arg depth=VALUE"),
    _fault("argument-missing", "Needs", "give --arg depth=VALUE$", "--arg", "width=3"),
    _fault("argument-unknown", "Net", "no argument 'deep'; it ", "--arg", "deep=1"),
    _fault("argument-of-a-kind", "Net", "building .* failed: ", "--arg", "width='a'"),
    _fault("argument-negative", "Net", "building .*:Net failed: ", "--arg", "width=-1"),
    _fault("setting-missing", "Settings", r"reads opt\.width, .*--arg width=VALUE"),
    _fault("setting-item", "Settings", r"reads opt\.stages, which", "--arg", "width=3"),
    _fault("no-constructor", "Odd", "building users_networks:Odd failed: TypeError"),
    _fault("constructor-raises", "Raises", "building users_networks:Raises failed: S"),
    _fault("function-raises", "broken", "building users_networks:broken failed: Stops"),
    _fault("function-of-text", "text", "text returns str, wanted an nn.Module"),
    _fault("function-of-arguments", "closed", "it takes none", "--arg", "width=3"),
    _fault(
        "import-in-constructor",
        "Late",
        r"users_networks\.py, line \d+, imports no_such_package: no_such_package is "
        "not installed; run: pip install no_such_package$",
    ),
    _fault(
        "import-in-forward",
        "Later",
        r"imports skimage: .* run: pip install scikit-image$",
    ),
    _fault(
        "import-of-a-part",
        "Older",
        r"imports torch\.no_such_module, which the torch that is there does not have",
    ),
    _import_fault(
        "deep",
        "repo.users_deep",
        "import repo.users_deeper",
        "imports repo.users_deeper, which the repo that is there does not have",
    ),
    _import_fault(
        "of-a-neighbour",
        "repo.users_near",
        "from users_layers import Net",
        r"users_near\.py, line 1, imports users_layers, .*; set PYTHONPATH=/.*/repo$",
    ),
    _import_fault(
        "relative",
        "users_relative",
        "from .layers import Net",
        "go to the folder above its package, and name the package, too",
    ),
    _import_fault(
        "not-installed",
        "users_needs",
        "import PIL_of_nobody, yaml",
        "line 1, imports PIL_of_nobody: .* run: pip install PIL_of_nobody$",
    ),
    _fault("no-network", "NETWORKS", "users_networks has no 'NETWORKS'"),
    _fault("identity", "identity", "Identity returns its input as it is"),
    _fault("no-forward", "untold", r"running Forgotten on a picture of 40x32 failed: "),
    _fault("forward-of-nothing", "Blind", "takes 1 positional argument but 2 were"),
    _fault("forward-by-name", "Named", "--input image=frame$"),
    _fault("forward-needs", "Given", "wants noise, sigma .* --input sigma=WHAT"),
    _fault("forward-needs-one", "Given", "wants sigma b", "--input", "noise=half"),
    _fault("input-unknown", "Net", "no input 'h'; it takes x", "--input", "h=half"),
    _fault("input-of-no-picture", "Net", "wanted a pic", "--input", "x=half"),
    _fault("size-of-32", "Halves", "; --multiple-of 32 solves it$"),
    _fault(
        "size-of-32-in-a-range",
        "Halves",
        "; --multiple-of 32 solves it$",
        "--dynamic",
        "64x64,96x64,128x128",
    ),
    _fault("cropped", "Cropped", r"returns \(1, 3, 32, 39\), wanted a picture of its"),
    _fault("outputs", "Three", r"returns 0: \(1, 3, 32, 20\), 1: .*, 2: str, wanted"),
    _fault("output-beyond", "Net", "as output 7: .*index 0 is one", "--output-index=7"),
    _fault("none", "Nothing", "Nothing returns NoneType, wanted a picture"),
    _fault("integers", "Whole", r"returns torch\.int64, wanted floats from 0 to 1"),
    _fault("booleans", "Mask", r"returns torch\.bool, wanted floats"),
    _fault("integers-of-255", "Whole", "from 0 to 255: let", "--range", "0,255"),
    _fault("random", "Random", "gives another picture each time"),
    _fault("counts", "Counts", "gives another picture each time"),
    _fault("forward-exits", "Ends", r"it ends the program \(sys\.exit\)"),
    _fault("forward-raises", "Generator", "running Generator on a picture of 40x32 fa"),
    *(
        _fault(
            f"range-{value}",
            "Net",
            "is no range of values",
            f"--range={value}",
            status=2,
        )
        for value in ("", "1", "1,0", "0,0", "nan,1", "0,inf", "0,1e9", "0,1,2", "a,b")
    ),
    *(
        _fault(f"arg-{value}", "Net", "NAME=VALUE|write ", f"--arg={value}", status=2)
        for value in ("", "width", "=3", "1=2", "a b=3", ".=1", "a..b=1", "width=true")
    ),
    *(
        _fault(
            f"input-{value}",
            "Net",
            "NAME=WHAT|is no input",
            f"--input={value}",
            status=2,
        )
        for value in INPUTS
    ),
    _fault(
        "arg-twice",
        "Net",
        "--arg width is given twice",
        "--arg=width=1",
        "--arg=width=2",
        status=2,
    ),
    _fault(
        "input-twice",
        "Net",
        "--input x is given twice",
        "--input=x=half",
        "--input=x=half",
        status=2,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_network_that_cannot_be_exported(fault, place, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    fault.check(place)


def test_what_a_user_s_code_sets_for_the_program_is_undone(tmp_path):
    torch = pytest.importorskip("torch", reason="networks need derain[export]")
    from derain.models.users_code import users_code

    before = Path.cwd()
    with users_code("importing it"):
        torch.set_default_dtype(torch.float64)
        os.chdir(tmp_path)
    assert torch.get_default_dtype() == torch.float32
    assert Path.cwd() == before
