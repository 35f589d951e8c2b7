"""The fused unit, without a GPU: its tiling in NumPy, its own lines on the processor,
and NVRTC's machine code for an Orin and a Hopper."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from derain.core.errors import EngineError, ShapeError
from derain.runtime.cuda.kernel import compile_kernel, compile_ptx
from derain.runtime.cuda.shuffle_unit import (
    NAME,
    SOURCE,
    defined,
    grid,
    pack_parameters,
)

pytest.importorskip("torch", reason="the reference is PyTorch's unit")

import torch

from derain.models.networks.qsnet import ShuffleUnit

CHANNELS, MIDDLE, GROUPS = 32, 16, 2
# N, H, W: whole tiles, parts of tiles, less than one, and edges one pixel past a tile.
SHAPES = [(1, 16, 32), (2, 37, 45), (1, 1, 1), (1, 17, 33), (1, 33, 7)]
# An Orin's multiprocessor: CUDA C++ Programming Guide, table of compute capability 8.7.
ORIN_REGISTERS, ORIN_SHARED_BYTES, ORIN_THREADS = 65536, 163 << 10, 1536


def _folded(part):
    """Weight and bias of a convolution with its BatchNorm in it."""
    conv, norm = part
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    weight = conv.weight.detach() * scale[:, None, None, None]
    return weight.numpy(), (norm.bias - norm.running_mean * scale).detach().numpy()


@pytest.fixture(scope="module")
def unit():
    """A unit whose every parameter matters."""
    torch.manual_seed(0)
    made = ShuffleUnit(CHANNELS, GROUPS).eval()
    for norm in made.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(norm.bias, 0.2, 0.3)
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.5, 2)
    return made


@pytest.fixture(scope="module")
def parameters(unit):
    parts = [_folded(part) for part in (unit.squeeze, unit.depthwise, unit.expand)]
    return pack_parameters(*map(list, zip(*parts, strict=True)))


def maps(shape):
    x = np.random.default_rng(3).normal(0, 1, (*shape, CHANNELS))
    return x.astype(np.float16)


def torch_result(unit, x):
    with torch.inference_mode():
        y = unit(torch.from_numpy(x.astype(np.float32)).movedim(-1, 1))
    return y.movedim(1, -1).numpy()


def tiled(x, parameters):
    """What the kernel computes, tile by tile as it does, in NumPy."""
    tile = defined("TILE_HEIGHT"), defined("TILE_WIDTH")
    ends = np.cumsum([256, 16, 144, 16, 256, 32])[:-1]
    squeeze, bias1, depthwise, bias2, expand, bias3 = np.split(parameters, ends)
    squeeze = squeeze.reshape(GROUPS, MIDDLE // GROUPS, CHANNELS // GROUPS)
    expand = expand.reshape(GROUPS, CHANNELS // GROUPS, MIDDLE // GROUPS)
    depthwise = depthwise.reshape(MIDDLE, 3, 3)
    n, height, width, _ = x.shape
    result = np.full(x.shape, np.nan, np.float16)
    columns, rows, pictures = grid(n, height, width)
    assert pictures == n
    for picture in range(n):
        for top in range(0, rows * tile[0], tile[0]):
            for left in range(0, columns * tile[1], tile[1]):
                halo = np.zeros((tile[0] + 2, tile[1] + 2, MIDDLE), np.float16)
                y0, x0 = max(top - 1, 0), max(left - 1, 0)
                read = x[picture, y0 : top + tile[0] + 1, x0 : left + tile[1] + 1]
                grouped = read.astype(np.float32).reshape(*read.shape[:2], GROUPS, -1)
                y = np.einsum("hwgi,gji->hwgj", grouped, squeeze)
                y = np.maximum(y.reshape(*y.shape[:2], MIDDLE) + bias1, 0)
                y = y.reshape(*y.shape[:2], GROUPS, -1).swapaxes(2, 3)
                ys, xs = y0 - top + 1, x0 - left + 1
                halo[ys : ys + y.shape[0], xs : xs + y.shape[1]] = y.reshape(
                    *y.shape[:2], MIDDLE
                )
                deep = np.zeros((*tile, MIDDLE), np.float32) + bias2
                for dy in range(3):
                    for dx in range(3):
                        seen = halo[dy : dy + tile[0], dx : dx + tile[1]]
                        deep += seen.astype(np.float32) * depthwise[:, dy, dx]
                out = np.einsum(
                    "hwgi,gji->hwgj", deep.reshape(*tile, GROUPS, -1), expand
                ).reshape(*tile, CHANNELS)
                here = x[picture, top : top + tile[0], left : left + tile[1]]
                out = out[: here.shape[0], : here.shape[1]] + bias3
                result[picture, top : top + tile[0], left : left + tile[1]] = (
                    np.maximum(out + here, 0)
                )
    return result


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_tiling_computes_the_unit(unit, parameters, shape):
    x = maps(shape)
    wanted = torch_result(unit, x)
    got = tiled(x, parameters)
    # FP16 holds the squeezed map and the result: 2^-11 of each.
    np.testing.assert_allclose(got, wanted, atol=2e-3, rtol=2e-3)


HARNESS = r"""
#include <cstring>
#define DEVICE static inline
#define __align__(bytes) alignas(bytes)
static float from_half(unsigned short bits) {
  _Float16 half;
  std::memcpy(&half, &bits, 2);
  return half;
}
static unsigned short to_half(float value) {
  _Float16 half = (_Float16)value;
  unsigned short bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}
#include SOURCE
// What the launch does, a thread after the other; a barrier is the end of a loop.
extern "C" void run(const Octet* maps, const float* parameters, Octet* results,
                    int columns, int rows, int batch, int height, int width) {
  static Shared shared;
  const Picture picture = {height, width};
  for (int z = 0; z < batch; ++z)
    for (int y = 0; y < rows; ++y)
      for (int x = 0; x < columns; ++x) {
        const int top = y * TILE_HEIGHT, left = x * TILE_WIDTH;
        const long long first = (long long)z * height * width * (CHANNELS / 8);
        std::memset(&shared, 0xff, sizeof shared);  // NaN where nothing is written
        for (int t = 0; t < THREADS; ++t) load_parameters(t, parameters, shared);
        for (int t = 0; t < THREADS; ++t)
          squeeze_tile(t, maps + first, picture, top, left, shared);
        for (int t = 0; t < THREADS; ++t)
          expand_tile(t, maps + first, results + first, picture, top, left, shared);
      }
}
"""


@pytest.fixture(scope="module")
def on_processor(tmp_path_factory):
    """The kernel's own lines, compiled by the host's compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "host.cpp").write_text(HARNESS)
    options = ["-O1", "-shared", "-fPIC", "-Wno-unknown-pragmas"]
    done = subprocess.run(
        [compiler, *options, f'-DSOURCE="{SOURCE}"', "host.cpp", "-o", "host.so"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if "_Float16" in done.stderr:
        pytest.skip("this C++ compiler has no half precision")
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(folder / "host.so").run


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_kernels_own_lines_compute_the_unit(unit, parameters, on_processor, shape):
    x = maps(shape)
    result = np.full_like(x, np.nan)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, parameters, result)]
    on_processor(*pointers, *grid(*shape), *shape[1:])
    np.testing.assert_allclose(result, torch_result(unit, x), atol=2e-3, rtol=2e-3)
    np.testing.assert_allclose(result, tiled(x, parameters), atol=2e-3, rtol=2e-3)


@pytest.fixture
def nvrtc():
    """Skips where it is not."""
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")
    try:
        compile_kernel(SOURCE, NAME, "8.7")
    except EngineError as error:
        if "NVRTC is not installed" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("capability", ["8.7", "9.0"])
def test_it_compiles_and_two_blocks_fit_an_orins_multiprocessor(capability):
    kernel = compile_kernel(SOURCE, NAME, capability)
    threads = defined("THREADS")
    assert kernel.cubin[:4] == b"\x7fELF"
    assert kernel.spilled_bytes == 0
    assert 0 < 2 * threads * kernel.registers <= ORIN_REGISTERS
    assert 0 < 2 * kernel.shared_bytes <= ORIN_SHARED_BYTES
    assert 2 * threads <= ORIN_THREADS


@pytest.mark.usefixtures("nvrtc")
def test_ptx_is_for_the_architecture_and_has_the_kernel():
    ptx = compile_ptx(SOURCE, "8.7").decode()
    assert ".target sm_87" in ptx
    assert f".visible .entry {NAME}(" in ptx
    assert "\0" not in ptx


def test_a_missing_nvrtc_is_one_line(monkeypatch):
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc")

    def missing(*arguments):
        raise RuntimeError("Failed to dlopen\nlibnvrtc.so.13")

    monkeypatch.setattr(nvrtc, "nvrtcCreateProgram", missing)
    with pytest.raises(EngineError, match=r"^shuffle_unit.cu: NVRTC is not .*\)$"):
        compile_ptx(SOURCE, "8.7")


@pytest.mark.usefixtures("nvrtc")
def test_what_does_not_compile_is_one_line(tmp_path):
    broken = tmp_path / "broken.cu"
    broken.write_text('extern "C" __global__ void f() { nothing(); }\n')
    with pytest.raises(
        EngineError, match=r"^broken.cu does not compile for sm_87: .*nothing.*$"
    ):
        compile_kernel(broken, "f", "8.7")


def test_another_unit_is_refused():
    weights = [np.zeros(s, np.float32) for s in ((8, 8, 1, 1), (8, 1, 3, 3), (16, 4))]
    with pytest.raises(ShapeError, match=r"shuffle_unit: got weights .*\(16, 4\)"):
        pack_parameters(weights, [np.zeros(8), np.zeros(8), np.zeros(16)])


def test_a_tile_is_two_pixels_a_thread():
    assert 2 * defined("THREADS") == defined("TILE_WIDTH") * defined("TILE_HEIGHT")
