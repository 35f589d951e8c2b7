import argparse
import contextlib
import copy
import hashlib
import io
import os
import re
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from derain.core.errors import CheckpointError
from derain.models import archive_limits
from derain.models.checkpoint import canonical, load_checkpoint
from derain.models.networks.qsnet import QSNet

WANTED = "wanted safetensors, or a state dict saved by torch.save"
ALONE = r"save the tensors alone: torch.save\(model.state_dict\(\), FILE\)"


class Small(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.register_buffer("steps", torch.tensor([seed, 7]))


def _saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


@pytest.fixture
def file(tmp_path):
    """Writes bytes, or what torch.save makes of anything else."""

    def file(content, name="weights.pth"):
        if not isinstance(content, bytes):
            content = _saved(content)
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return file


def _loads(path, source):
    """Whether every tensor of `source` arrives, counters apart."""
    network = Small(seed=5)
    load_checkpoint(network, path)
    return all(
        torch.equal(x, source.state_dict()[name])
        for name, x in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    )


def _renamed(network, prefix):
    return {f"{prefix}{name}": x for name, x in network.state_dict().items()}


def _fails(path, match, network=None):
    """Loading raises `match` in one line and leaves the network as it was."""
    network = Small() if network is None else network
    before = {name: x.clone() for name, x in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=match) as caught:
        load_checkpoint(network, path)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    after = network.state_dict()
    assert all(torch.equal(x, after[name]) for name, x in before.items())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(save(Small(1).state_dict()), id="safetensors"),
        pytest.param(_saved(Small(1).state_dict()), id="torch"),
        pytest.param(
            _saved(Small(1).state_dict(), _use_new_zipfile_serialization=False),
            id="torch before 1.6",
        ),
    ],
)
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_formats_by_their_content(file, content, name):
    path = file(content, name)
    assert _loads(path, Small(1))
    digest = load_checkpoint(Small(), path)
    assert digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "wrapper",
    [
        "state_dict",
        "model_state_dict",
        "params_ema",
        "params",
        "model",
        "net",
        "network",
        "generator",
        "ema",
        "weights",
        "a_name_of_their_own",
    ],
)
def test_wrappers_are_opened(file, wrapper):
    optimizer = torch.optim.Adam(Small().parameters())
    content = {
        "epoch": 3,
        "best": 31.5,
        wrapper: Small(1).state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    assert _loads(file(content), Small(1))


def test_nested_wrappers_and_prefixes(file):
    inner = _renamed(Small(1), "module.net._orig_mod.")
    inner["module.net._orig_mod.note"] = "not a tensor"
    assert _loads(file({"model": {"state_dict": inner, "epoch": 1}}), Small(1))


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "net.",
        "network.",
        "generator.",
        "module.module.",
        "derainet.",
        "module.derainet.",
    ],
)
def test_prefixes_are_stripped(file, prefix):
    assert _loads(file(_renamed(Small(1), prefix)), Small(1))


def test_a_mapping_inside_itself_ends(file):
    content = {"first": torch.zeros(1)}
    content["state_dict"] = content
    _fails(file(content), "does not fit Small")


@pytest.mark.parametrize(
    ("plain", "averaged"),
    [("params", "params_ema"), ("state_dict", "ema"), ("model", "ema")],
)
def test_averaged_weights_are_preferred(file, plain, averaged):
    content = {plain: Small(2).state_dict(), averaged: Small(1).state_dict()}
    assert _loads(file(content), Small(1))


def test_the_mapping_with_nothing_else_is_preferred(file):
    more = {**Small(2).state_dict(), "extra": torch.ones(1)}
    assert _loads(file({"net": more, "model": Small(1).state_dict()}), Small(1))


def test_where_nothing_fits_the_largest_is_named(file):
    large = {"one": torch.ones(1), "two": torch.ones(1)}
    content = {"net": {"small": torch.ones(1)}, "model": large}
    _fails(file(content), "unexpected: one, two$")


def test_the_better_fit_is_preferred_to_the_average(file):
    other = {"params_ema": {"other": torch.ones(1)}, "params": Small(1).state_dict()}
    assert _loads(file(other), Small(1))


@pytest.mark.parametrize("prefix", ["", "module.", "module.net."])
def test_a_network_whose_names_begin_like_a_prefix(file, prefix):
    class Wrapped(nn.Module):
        def __init__(self, seed=0):
            super().__init__()
            self.net = Small(seed)

    network = Wrapped()
    # Under "module.net." the names are those of Wrapped inside two wrappers.
    load_checkpoint(network, file(_renamed(Wrapped(1), prefix)))
    assert torch.equal(network.net.first.weight, Wrapped(1).net.first.weight)


def test_a_prefix_that_not_all_names_have_stays(file):
    state = _renamed(Small(1), "module.")
    state["extra.weight"] = torch.ones(1)
    _fails(file(state), "missing: first.bias.*unexpected: extra.weight, module.first")


def test_canonical_leaves_the_rest_out():
    own = Small().state_dict()
    state = {"net": _renamed(Small(1), "module."), "clock_net": {"step": 3}, 4: own}
    got = canonical(state, own)
    assert got.keys() == {n for n in own if n != "norm.num_batches_tracked"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", [_saved, save], ids=["torch", "safetensors"])
def test_stored_precision_becomes_the_network_s(file, kind, dtype):
    stored = {
        name: x.to(dtype) if x.is_floating_point() else x
        for name, x in Small(1).state_dict().items()
    }
    network = Small()
    load_checkpoint(network, file(kind(stored)))
    assert network.first.weight.dtype == torch.float32
    assert torch.equal(network.first.weight, stored["first.weight"].float())


@pytest.mark.parametrize("stored", [True, False])
def test_batch_counters_do_not_matter(file, stored):
    class Uncounted(Small):
        def __init__(self):
            super().__init__()
            self.norm.num_batches_tracked = None

    network, other = (Uncounted(), Small()) if stored else (Small(), Uncounted())
    load_checkpoint(network, file(other.state_dict()))
    counted = Small()
    counted.norm.num_batches_tracked.fill_(9)
    load_checkpoint(counted, file(Small(1).state_dict()))
    assert counted.norm.num_batches_tracked == 9


def test_misfit_names_every_kind(file):
    state = Small(1).state_dict()
    del state["first.bias"]
    state["first.weight"] = torch.ones(4, 3, 5, 5)
    state["norm.bias"] = torch.ones(4, dtype=torch.int8)
    state["tail.weight"] = torch.ones(1)
    path = file(state)
    _fails(
        path,
        re.escape(
            f"{path} does not fit Small; missing: first.bias; unexpected: tail.weight; "
            "of another shape: first.weight (got (4, 3, 5, 5), wanted (4, 3, 3, 3)); "
            "of another kind: norm.bias (got torch.int8, wanted torch.float32)"
        )
        + "$",
    )


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (torch.ones(4).to_sparse(), "torch.sparse_coo"),
        (torch.ones(4, device="meta"), "a meta tensor without values"),
        (torch.ones(4, dtype=torch.complex64), "torch.complex64"),
    ],
    ids=["sparse", "meta", "complex"],
)
def test_tensors_that_cannot_be_copied_change_nothing(file, stored, kind):
    state = {**Small(1).state_dict(), "norm.bias": stored}
    _fails(
        file(state),
        re.escape(f"of another kind: norm.bias (got {kind}, wanted torch.float32)")
        + "$",
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_weights_that_are_not_finite_change_nothing(file, value, dtype):
    state = Small(seed=1).state_dict()
    state["first.weight"][0, 0, 0, 0] = value
    state["norm.running_var"][2] = value
    state = {k: x.to(dtype) if x.is_floating_point() else x for k, x in state.items()}
    match = r"holds NaN or infinity in first\.weight, norm\.running_var: its training"
    _fails(file(state), match)


def test_misfit_shows_odd_names_harmlessly(file):
    state = {**Small().state_dict(), "a\n\x1b[31m": torch.ones(1)}
    _fails(file(state), re.escape(r"unexpected: 'a\n\x1b[31m'") + "$")


def test_misfit_cuts_long_lists(file):
    state = {
        name: x for name, x in QSNet().state_dict().items() if "encoder" not in name
    }
    count = len(
        [n for n in QSNet().state_dict() if "encoder" in n and "num_b" not in n]
    )
    _fails(
        file(state),
        r"does not fit QSNet; missing: encoder.0.depthwise.0.weight, [^,]+, [^,]+, "
        rf"encoder.0.depthwise.1.running_var and {count - 4} more$",
        QSNet(),
    )


def test_another_network_s_checkpoint(file):
    _fails(
        file(QSNet().state_dict()), "does not fit Small; missing: first.bias, .*unex"
    )


class Evil:
    def __reduce__(self):
        return os.mkdir, ("it_ran",)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        pytest.param(b"", f"is empty; {WANTED}$", id="empty"),
        pytest.param(b"x", f"is damaged or no checkpoint; {WANTED}$", id="a byte"),
        pytest.param(b"hello, I am a text\n", "is damaged or no check", id="text"),
        pytest.param(b"<!DOCTYPE html>", "is damaged or no checkpoint", id="page"),
        pytest.param(b'{"a": 1, {', "is damaged or no checkpoint", id="like safet"),
        pytest.param(
            struct.pack("<Q", 2**60) + b"{}", "is damaged or no check", id="huge header"
        ),
        pytest.param([1, 2], f"holds a list; {WANTED}$", id="list"),
        pytest.param(torch.ones(3), "holds a Tensor; wanted", id="tensor"),
        pytest.param({"epoch": 3}, f"holds no tensors; {WANTED}$", id="no tensors"),
        pytest.param(save({}), "holds no tensors; wanted", id="no safetensors"),
        pytest.param(
            {"args": argparse.Namespace(lr=1), **Small().state_dict()},
            f"holds argparse.Namespace, and loading that could run code; {ALONE}$",
            id="options",
        ),
        pytest.param(
            {"psnr": np.float64(3), **Small().state_dict()},
            f"holds numpy.*scalar, and loading that could run code; {ALONE}$",
            id="numpy",
        ),
        pytest.param(
            nn.Conv2d(3, 3, 1), "holds torch.nn.modules.conv.Conv2d, and", id="module"
        ),
    ],
)
def test_no_checkpoint(file, content, match):
    _fails(file(content), match)


def test_code_does_not_run(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _fails(
        file({**Small().state_dict(), "first.weight": Evil()}),
        f"holds [a-z]+.mkdir, and loading that could run code; {ALONE}$",
    )
    assert not (tmp_path / "it_ran").exists()


# torch.jit announces its end on Python 3.14, and before that where it is used.
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_named(file):
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Conv2d(3, 3, 1)), buffer)
    _fails(file(buffer.getvalue()), f"is a TorchScript archive; {ALONE}$")


def test_missing_file_and_folder(tmp_path):
    _fails(
        tmp_path / "none.pth",
        re.escape(f"none.pth cannot be read (No such file or directory); {WANTED}"),
    )
    _fails(tmp_path, re.escape("cannot be read (it is a folder, wanted a file); "))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(save(Small(1).state_dict()), id="safetensors"),
        pytest.param(_saved(Small(1).state_dict()), id="torch"),
        pytest.param(
            _saved(Small(1).state_dict(), _use_new_zipfile_serialization=False),
            id="torch before 1.6",
        ),
    ],
)
def test_truncated_and_damaged_files(file, content):
    # The last bytes of a PyTorch file may be padding, so the cuts end before them.
    # A cut in the name of a class leaves the name of none.
    for length in np.linspace(1, len(content) * 0.95, 40).astype(int):
        _fails(file(content[:length]), "is damaged or no checkpoint|could run code")
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for position in random.integers(len(content), size=4):
            damaged[position] = random.integers(256)
        # Damage inside a tensor's values cannot be seen; all else has our error.
        with contextlib.suppress(CheckpointError):
            load_checkpoint(Small(), file(bytes(damaged)))


def test_names_of_dots_alone_end(file):
    _fails(file({"a." * 10_000: torch.ones(1)}), "does not fit Small")


def _packed(content):
    """The same archive, compressed."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as plain,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for entry in plain.infolist():
            archive.writestr(entry.filename, plain.read(entry))
    return packed.getvalue()


def test_compressed_zeros_are_not_unpacked(file):
    zeros = _packed(_saved({"weight": torch.zeros(30_000_000)}))
    assert len(zeros) < 200_000
    tracemalloc.start()
    _fails(file(zeros), "holds compressed parts, which torch.save never writes")
    assert tracemalloc.get_traced_memory()[1] < 10 * len(zeros)
    tracemalloc.stop()


def test_parts_that_share_their_bytes(file):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", b"." * 10_000)
        (entry,) = archive.infolist()
        for number in range(100):
            other = copy.copy(entry)
            other.filename = f"archive/data/{number}"
            archive.filelist.append(other)
    _fails(file(content.getvalue()), "says that its parts are larger than the file")


@pytest.mark.parametrize("where", ["data.pkl", "data/0"])
def test_a_wrong_checksum_is_damage(file, where):
    content = bytearray(_saved(Small().state_dict()))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = next(e for e in archive.infolist() if e.filename.endswith(where))
        place = content.index(archive.read(entry))
    content[place + entry.file_size - 2] ^= 4  # still a pickle, still a number
    _fails(file(bytes(content)), rf"is damaged: the checksum of '.*{where}' is wrong")


def _doubled(kind, levels=60):
    """Objects of objects, two at each level."""
    state = kind()
    for _ in range(levels):
        pairs = (("a", state), ("b", state))
        state = kind(pairs if issubclass(kind, dict) else (state, state))
    return state


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", [list, tuple, dict, OrderedDict])
def test_pickles_that_double_at_each_level_are_not_opened(file, kind, new):
    content = _saved({"a": _doubled(kind)}, _use_new_zipfile_serialization=new)
    assert len(content) < 10_000
    _fails(file(content), "holds more than 3 000 000 objects")


def test_what_training_saves_is_far_from_the_limits(monkeypatch):
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(20)))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.zeros(1, 3, 64, 64)).sum().backward()
    optimizer.step()
    state = {"net": network.state_dict(), "optimizer": optimizer.state_dict()}
    monkeypatch.setattr(archive_limits, "_MOST_OBJECTS", 150 * 40)
    for new in (True, False):
        content = _saved(state, _use_new_zipfile_serialization=new)
        assert archive_limits.archive_flaw(content) == ""


def test_a_file_far_too_large_is_not_read(tmp_path):
    path = tmp_path / "weights.pth"
    with path.open("wb") as sparse:
        sparse.truncate(20_000_000_000)
    _fails(path, "it has 20 000.0 MB, wanted at most 4 295.0 MB")
