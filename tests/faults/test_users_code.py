"""Networks of the user's own that cannot be exported, and their checkpoints."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="networks need derain[export]")

from support.faults import Fault, one_line

pytestmark = pytest.mark.slow  # some seconds each: PyTorch runs them

HEAD = "import sys, torch\nfrom torch import nn\n"


def _class(forward, init="pass", arguments="self, x"):
    return (
        f"{HEAD}class Net(nn.Module):\n"
        f"    def __init__(self):\n        super().__init__()\n"
        f"        self.conv = nn.Conv2d(3, 3, 3, padding=1)\n        {init}\n"
        f"    def forward({arguments}):\n        {forward}\n"
    )


MODULES = {
    "syntax": ("class Net(:\n", "SyntaxError|cannot be imported|failed"),
    "nul": ("a = 1\0\n", "null|failed|cannot"),
    "not-utf-8": (b"# \xff\nNet = 1\n", "failed|cannot|utf-8|Net"),
    "empty": ("", "has no|Net"),
    "raises": ("raise ValueError('on import')\n", "on import"),
    "exits": ("import sys\nsys.exit(0)\n", "sys.exit"),
    "base-exception": ("class E(BaseException): pass\nraise E('odd')\n", "E: odd"),
    "imports-nothing": ("import no_such_package\n", "no_such_package"),
    "imports-broken": ("raise ImportError('libX.so')\n", r"libX\.so"),
    "recursion": ("def f(): f()\nf()\n", "RecursionError|recursion"),
    "number": ("Net = 5\n", "Net"),
    "class": ("class Net: pass\n", "Net"),
    "abstract": (
        "import abc\nfrom torch import nn\nclass Net(nn.Module, abc.ABC):\n"
        "    @abc.abstractmethod\n    def go(self): ...\n",
        "abstract|Net",
    ),
    "no-forward": (f"{HEAD}class Net(nn.Module): pass\n", "forward|Net"),
    "no-super": (
        f"{HEAD}class Net(nn.Module):\n    def __init__(self):\n"
        "        self.c = nn.Conv2d(3, 3, 3)\n",
        "before Module.__init__|Net",
    ),
    "needs-arguments": (
        f"{HEAD}class Net(nn.Module):\n    def __init__(self, width): ...\n",
        "width",
    ),
    "init-raises": (_class("return x", "raise KeyError('missing')"), "missing"),
    "init-exits": (_class("return x", "sys.exit(0)"), "sys.exit"),
    "init-memory": (_class("return x", "torch.empty(10**15)"), "memory|allocate"),
    "forward-raises": (_class("raise ValueError('in forward')"), "in forward"),
    "forward-exits": (_class("sys.exit(3)"), "sys.exit"),
    "forward-base": (_class("raise type('E', (BaseException,), {})('odd')"), "odd"),
    "forward-error-raises": (
        _class(
            "raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})()",
        ),
        "E",
    ),
    "forward-memory": (_class("return torch.empty(10**15)"), "memory|allocate"),
    "forward-escape": (_class(r"raise ValueError('\x1b[31mred')"), "red"),
    "no-frame": (
        _class("return self.conv.weight", arguments="self"),
        "forward|argument",
    ),
    "keyword-frame": (_class("return x", arguments="self, *, x"), "forward|argument"),
    "two-frames": (
        _class("return x", arguments="self, x, y"),
        "forward|argument|input",
    ),
    "not-callable": (f"{HEAD}class Net(nn.Module):\n    forward = 5\n", "forward|call"),
    "none": (_class("return None"), "None|returns"),
    "text": (_class("return 'clean'"), "str|returns"),
    "empty-list": (_class("return []"), "returns|output"),
    "empty-dict": (_class("return {}"), "returns|output|dict"),
    "integer": (_class("return (self.conv(x) * 255).int()"), "int32|float32"),
    "bool": (_class("return self.conv(x) > 0"), "bool|float32"),
    "complex": (_class("return torch.complex(x, x)"), "complex|float32"),
    "nan": (_class("return self.conv(x) * float('nan')"), "NaN"),
    "infinite": (_class("return self.conv(x) / 0"), "NaN|inf"),
    "scalar": (_class("return self.conv(x).mean()"), r"size|shape|\(\)"),
    "one-channel": (_class("return self.conv(x)[:, :1]"), "channel|shape|size"),
    "four-channels": (
        _class("return torch.cat([x, x[:, :1]], 1)"),
        "channel|shape|size",
    ),
    "half-size": (_class("return self.conv(x)[..., ::2, ::2]"), "size|shape"),
    "meta": (_class("return x.to('meta')"), "meta|device|value"),
    "generator": (_class("yield x"), "generator|returns"),
    "random": (
        _class("return self.conv(x) + torch.rand_like(x)"),
        "repeat|random|same",
    ),
}
NAMES = {
    "no-module": ("no_such_module:Net", "no_such_module"),
    "no-class": ("os:Net", "Net"),
    "no-colon": ("os.path", "unknown network|choose|os.path"),
    "colon-alone": (":", "package.module:Class|unknown|:"),
    "no-name": ("os:", "os"),
    "dashes": ("my-net:Net", "my-net"),
    "path": ("/etc/passwd:Net", "passwd"),
    "relative": ("..net:Net", "net"),
    "dotted": ("os:path.join.x", "os"),
    "long": ("n" * 5000 + ":Net", "nnn"),
    "dunder": ("builtins:__import__", "builtins|__import__"),
    "spaces": ("a b:c d", "a b"),
    "escape": ("\x1b[31m:Net", "31m"),
}

FAULTS = [
    *(
        Fault(
            name=name,
            run=("derain-export", "--model", f"net_{number}:Net", "--size", "40x32"),
            given={f"net_{number}.py": text},
            says=says,
        )
        for number, (name, (text, says)) in enumerate(MODULES.items())
    ),
    *(
        Fault(
            name=f"name-{name}",
            run=("derain-export", "--model", model, "--size", "40x32"),
            says=says,
        )
        for name, (model, says) in NAMES.items()
    ),
]


@pytest.mark.filterwarnings("ignore")  # of the user's code, and of what it meets
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_network_that_cannot_be_exported_is_told_in_one_line(fault, place):
    fault.check(place)


@pytest.mark.parametrize("name", ["types", "json"])
def test_a_module_called_like_one_of_python_s(name, place):
    """By the installed command: ``python -m`` itself would read the user's file."""
    script = Path(sys.executable).with_name("derain-export")
    if not script.is_file():
        pytest.skip("the command is not installed beside Python")
    (place / f"{name}.py").write_text(_class("raise ValueError('mine')"))
    done = subprocess.run(
        [script, "--model", f"{name}:Net", "--size", "40x32", "--quiet"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    one_line(done.stderr, name)
