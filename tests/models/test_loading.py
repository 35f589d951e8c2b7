import hashlib
import sys
from importlib import resources

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from derain.core.errors import CheckpointError, NetworkError, UnknownNameError
from derain.core.metrics import psnr_db
from derain.core.pictures import read_picture
from derain.core.synthetic.rain import PRESETS, render_rain
from derain.models import loading
from derain.models.loading import open_network
from derain.models.registry import MODELS, NetworkFacts, create_model
from derain.models.torch_reference import derain_frame
from support.plain_networks import picture

OWN = """
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        return self.norm(self.conv(x))

class Half(Net):
    def __init__(self):
        super().__init__()
        self.half()

class Needy(nn.Module):
    def __init__(self, width, *rest, depth, scale=1):
        super().__init__()

class Broken(nn.Module):
    def __init__(self):
        raise RuntimeError("no such\\nthing")

class Leaves(nn.Module):
    def __init__(self):
        sys.exit("usage: train.py CONFIG")

class Recurrent(Net):
    def forward(self, x, h=None, *, scale=1):
        return super().forward(x)

class Needs(Net):
    def forward(self, x, noise):
        return x - noise

def build(channels=3):
    return Net(channels)

def count():
    return 3

class Other3:
    pass

class Unprintable(Exception):
    def __str__(self):
        raise ValueError

class Ends(nn.Module):
    def __init__(self, kind="Unprintable"):
        raise {"Unprintable": Unprintable, "BaseException": BaseException}[kind]

NUMBER = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes modules of a user's own into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)

    def write(name="mine", code=OWN):
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)

    yield write
    for name in set(sys.modules) - known:
        if name.split(".")[0] in ("mine", "folder", "needs", "fails"):
            del sys.modules[name]


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """The folder of the weights that ship, empty."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(resources, "files", lambda package: folder)
    return folder


def _one_line(caught):
    assert "\n" not in str(caught.value)
    return caught.value


def test_random_weights_are_always_the_same():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = open_network("qsnet", weights=None, random_weights=True)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    two = open_network("qsnet", weights=None, random_weights=True)
    tensors = two.network.state_dict()
    for name, x in one.network.state_dict().items():
        assert torch.equal(x, tensors[name])
    assert one.weights == {"source": "random, seed 0", "sha256": ""}


@pytest.mark.parametrize("name", ["qsnet", "granet", "treefusion"])
def test_random_weights_are_no_identity(name):
    loaded = open_network(name, weights=None, random_weights=True)
    assert not loaded.network.training
    assert all(x.detach().any() for x in loaded.network.parameters())
    zero = [n for n, x in create_model(name).named_parameters() if not x.any()]
    for parameter in (loaded.network.get_parameter(n) for n in zero):
        assert 0 < parameter.detach().abs().max() < 0.06  # std 0.01
    x = picture(16, 16)
    with torch.inference_mode():
        assert not torch.equal(loaded.network(x), x)


def test_zeros_are_filled_by_the_name_of_the_parameter():
    network = open_network("qsnet", weights=None, random_weights=True).network
    names = ["last.weight", *(f"decoders.{k}.last.weight" for k in range(5))]
    values = {tuple(network.get_parameter(n).flatten().tolist()) for n in names}
    assert len(values) == len(names)


def test_random_weights_leave_running_statistics():
    network = open_network("qsnet", weights=None, random_weights=True).network
    for name, x in network.named_buffers():
        if name.endswith("running_var"):
            assert torch.equal(x, torch.ones_like(x))
        else:
            assert not x.any()


# dcsfn has six million parameters, and teaches no more than the others.
@pytest.mark.parametrize("name", [name for name in MODELS if name != "dcsfn"])
def test_registry_gives_facts_and_paper(name, shipped):
    weights = shipped / "mine.safetensors"
    save_file(create_model(name).state_dict(), weights)
    loaded = open_network(name, weights=weights)
    assert loaded.name == name
    assert loaded.facts == MODELS[name].facts
    assert loaded.paper == MODELS[name].paper
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert loaded.weights == {"source": "mine.safetensors", "sha256": digest}


def test_facts_can_be_overridden():
    facts = NetworkFacts(colour="bgr", minimum=8)
    loaded = open_network("qsnet", weights=None, random_weights=True, facts=facts)
    assert loaded.facts is facts


def test_shipped_weights_are_the_default(shipped):
    network = create_model("treefusion")
    path = shipped / "treefusion.safetensors"
    save_file(network.state_dict(), path)
    loaded = open_network("treefusion", weights=None)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source = "shipped treefusion.safetensors"
    assert loaded.weights == {"source": source, "sha256": digest}
    assert torch.equal(loaded.network.stem.weight, network.stem.weight)


def test_no_weights_ship(shipped):
    with pytest.raises(
        CheckpointError,
        match="no weights ship for qsnet yet; give --weights FILE, or --random-weights",
    ) as caught:
        open_network("qsnet", weights=None)
    _one_line(caught)


def test_weights_and_random_weights_exclude_each_other(tmp_path):
    with pytest.raises(CheckpointError, match="both weights and random weights asked"):
        open_network("qsnet", weights=tmp_path / "x.pth", random_weights=True)


def test_weights_that_do_not_fit(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file(create_model("treefusion").state_dict(), path)
    with pytest.raises(CheckpointError, match="does not fit QSNet; missing"):
        open_network("qsnet", weights=path)


def test_unknown_model():
    with pytest.raises(
        UnknownNameError,
        match=r"unknown model 'qnet'; choose from .*granet.*package\.module:Class",
    ):
        open_network("qnet", weights=None)


def test_a_network_of_the_user_s_own(own):
    own()
    loaded = open_network("mine:Net", weights=None)
    assert loaded.weights == {"source": "as constructed", "sha256": ""}
    assert (loaded.name, loaded.paper) == ("mine:Net", "")
    assert loaded.facts == NetworkFacts()
    assert not loaded.network.training
    assert not loaded.network.conv.bias.any()  # as constructed


def test_own_network_in_a_package(own, tmp_path):
    own("folder.mine")
    facts = NetworkFacts(returns_rain=True)
    loaded = open_network("folder.mine:Net", weights=None, facts=facts)
    assert loaded.facts is facts


def test_own_network_with_random_weights(own):
    own()
    one, two = (
        open_network("mine:Net", weights=None, random_weights=True).network
        for _ in range(2)
    )
    assert torch.equal(one.conv.weight, two.conv.weight)
    assert one.conv.bias.any()


def test_own_network_with_weights(own, tmp_path):
    own()
    network = open_network("mine:Net", weights=None).network
    torch.save({"state_dict": network.state_dict()}, tmp_path / "net.pth")
    loaded = open_network("mine:Net", weights=tmp_path / "net.pth")
    assert loaded.weights["source"] == "net.pth"
    assert torch.equal(loaded.network.conv.weight, network.conv.weight)


def test_own_network_becomes_float32(own):
    own()
    network = open_network("mine:Half", weights=None).network
    assert {x.dtype for x in network.parameters()} == {torch.float32}


WANTED = "wanted package.module:Class, found from the current folder"


@pytest.mark.parametrize(
    ("model", "match"),
    [
        ("none_such:Net", f"there is no module 'none_such'; {WANTED}"),
        ("none_such.net:Net", f"there is no module 'none_such'; {WANTED}"),
        ("mine.deeper:Net", f"there is no module 'mine.deeper'; {WANTED}"),
        ("mine.py:Net", f"there is no module 'mine.py'; {WANTED}"),
        ("./mine.py:Net", f"'./mine.py' is no module name; {WANTED}"),
        (".mine:Net", f"'.mine' is no module name; {WANTED}"),
        (":Net", f"'' is no module name; {WANTED}"),
        ("mine:Other", f"mine has no 'Other'; {WANTED}"),
        ("mine:", f"mine has no ''; {WANTED}"),
        ("mine:count", "mine:count returns int, wanted an nn.Module"),
        ("mine:Other3", f"mine:Other3 is not an nn.Module class; {WANTED}"),
        ("mine:NUMBER", f"mine:NUMBER is not an nn.Module class; {WANTED}"),
        (
            "mine:Needy",
            "mine:Needy wants arguments; give --arg width=VALUE --arg depth=VALUE",
        ),
        ("mine:Broken", "building mine:Broken failed: RuntimeError: no such"),
        ("mine:Leaves", r"building mine:Leaves failed: it ends the program .*"),
        (
            "mine:Needs",
            "Needs.forward wants noise besides the picture; give --input noise=WHAT, "
            "where WHAT is frame, half, quarter or constant:VALUE",
        ),
    ],
)
def test_no_network_of_the_user_s_own(own, model, match):
    own()
    with pytest.raises(NetworkError, match=f"^{match}$") as caught:
        open_network(model, weights=None)
    _one_line(caught)


@pytest.mark.parametrize(
    ("code", "match", "cause"),
    [
        (
            "import none_such",
            "fails.py, line 1, imports none_such: none_such is not inst",
            ImportError,
        ),
        ("from os import none_such", "ImportError: cannot import name", ImportError),
        ("def f(:", r"SyntaxError: invalid syntax \(fails.py, line 1\)", SyntaxError),
        ("raise ValueError('a\\nb')", "ValueError: a", ValueError),
        ("raise ValueError", "ValueError", ValueError),
    ],
)
def test_own_module_that_fails_keeps_its_cause(own, code, match, cause):
    own("fails", code)
    with pytest.raises(
        NetworkError, match=f"^importing fails failed: {match}"
    ) as caught:
        open_network("fails:Net", weights=None)
    assert isinstance(_one_line(caught).__cause__, cause)


@pytest.mark.parametrize("kind", ["Unprintable", "BaseException"])
def test_whatever_a_constructor_raises_is_one_line(own, kind):
    own()
    with pytest.raises(NetworkError, match=f"^building mine:Ends failed: {kind}$"):
        open_network("mine:Ends", arguments={"kind": kind})


def test_a_function_that_builds_a_network_takes_arguments(own):
    own()
    loaded = open_network("mine:build", arguments={"channels": 5})
    assert loaded.network.conv.out_channels == 5
    assert loaded.arguments == {"channels": 5}


def test_a_checkpoint_of_other_arguments_says_how_to_give_them(own, tmp_path):
    own()
    larger = open_network("mine:Net", arguments={"channels": 5}).network
    torch.save(larger.state_dict(), tmp_path / "net.pth")
    with pytest.raises(
        CheckpointError, match=r"trained with other arguments \(--arg ch"
    ):
        open_network("mine:Net", weights=tmp_path / "net.pth")


def test_arguments_are_for_what_is_built():
    with pytest.raises(NetworkError, match="arguments are for a network named by"):
        open_network(torch.nn.Conv2d(3, 3, 1), arguments={"bias": False})


def test_own_module_that_ends_the_program_is_one_line(own):
    own("fails", "import sys\nsys.exit(0)")
    with pytest.raises(NetworkError, match=r"importing fails failed: .*sys\.exit") as e:
        open_network("fails:Net")
    _one_line(e)


def test_a_signal_that_arrives_in_the_user_s_code_is_none_of_it(own):
    own("fails", "raise SystemExit(143)  # as derain ends after SIGTERM")
    with pytest.raises(SystemExit):
        open_network("fails:Net")


def test_own_network_without_weights_is_said(own, said):
    own()
    open_network("mine:Net")
    assert said() == [
        "no weights are given: mine:Net is as its constructor makes it; --weights FILE "
        "loads a checkpoint"
    ]


def test_what_forward_could_be_given_besides_is_said(own, said):
    own()
    open_network("mine:Recurrent", random_weights=True)
    assert said() == [
        "Recurrent.forward is given the picture alone: h, scale is left out; --input "
        "gives it a picture or a constant, and a method states(height, width), which "
        "returns shapes, gives it a memory"
    ]


def test_a_network_itself_is_copied_and_stays_as_it_is(said):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)).half().train()
    loaded = open_network(network, facts=NetworkFacts(colour="bgr"))
    assert loaded.name == "sequential"
    assert loaded.weights == {"source": "as given", "sha256": ""}
    assert loaded.facts.colour == "bgr"
    assert loaded.network is not network
    assert not loaded.network.training
    assert loaded.network[0].weight.dtype == torch.float32
    assert torch.equal(loaded.network[0].weight, network[0].weight.float())
    assert network.training
    assert network[0].weight.dtype == torch.float16
    assert said() == []


def test_a_network_itself_takes_a_checkpoint(tmp_path):
    given, trained = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1)
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    loaded = open_network(given, weights=tmp_path / "net.pth")
    assert torch.equal(loaded.network.weight, trained.weight)
    assert loaded.weights["source"] == "net.pth"


def test_a_network_that_cannot_be_copied_is_one_line():
    network = torch.nn.Conv2d(3, 3, 1)
    network.result = network(torch.zeros(1, 3, 4, 4))  # holds a graph of gradients
    with pytest.raises(NetworkError, match="Conv2d cannot be copied") as caught:
        open_network(network)
    _one_line(caught)


def test_what_is_no_network_is_refused():
    with pytest.raises(NetworkError, match=r"function is not an nn\.Module"):
        open_network(lambda x: x)


def test_own_constructor_that_fails_keeps_its_cause(own):
    own()
    with pytest.raises(NetworkError, match="building mine:Broken failed") as caught:
        open_network("mine:Broken", weights=None)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_the_current_folder_is_searched_once(own, tmp_path):
    own()
    for _ in range(2):
        open_network("mine:Net", weights=None)
    assert sys.path.count(str(tmp_path)) == 1


def test_the_current_folder_comes_first(own, tmp_path):
    own()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.py").write_text("Net = None")
    sys.path[:] = [str(elsewhere), *sys.path, str(tmp_path)]
    assert open_network("mine:Net", weights=None).name == "mine:Net"


def test_published_weights_derain_rendered_rain(shared_folder, shared_data):
    weights = shared_folder / "checkpoints" / "nledn_rain100l.pth"
    pictures = sorted((shared_data / "clean").glob("*.jpg"))
    if not weights.is_file() or not pictures:
        pytest.skip(f"{shared_folder} lacks the checkpoint or the pictures")
    loaded = open_network("nledn", weights=weights)
    before, after = [], []
    for seed, path in enumerate(pictures[:: max(1, len(pictures) // 8)][:8]):
        clean = read_picture(path)[64:224, 64:224]
        rainy = render_rain(clean, PRESETS["light"], seed)
        derained = derain_frame(loaded.network, loaded.facts, rainy)
        before.append(psnr_db(rainy, clean))
        after.append(psnr_db(derained, clean))
    assert np.mean(after) >= 30
    # Sixteen pictures gained 6.3 dB on average, from 35.4 dB.
    assert np.mean(after) > np.mean(before) + 3


def test_importing_needs_no_torch():
    assert "torch" not in vars(loading)
