"""Quantisation in the loop computes what the exported graph in INT8 does."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from derain.calibration.layers import find_layers, residual_adds
from derain.calibration.qdq import insert_qdq, quantise_weights
from derain.calibration.session import GraphSession
from derain.core.errors import TrainingError
from derain.core.sizes import Size, SizeRange
from derain.export.frame_graph import wrap_frame
from derain.export.operators.lowering import lower_operators
from derain.export.passes.batch_norms import fold_batch_norms
from derain.export.passes.cleanup import fold_constants
from derain.export.to_onnx import to_onnx
from derain.models.operators import unpool_by_indices
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import derain_frame
from derain.training.cli import main
from derain.training.quantised_forward import FakeQuantisation, onto_grid
from derain.training.quantised_layers import plan_of
from derain.training.run_folder import STATE, WEIGHTS, read_config, read_state

FACTS = NetworkFacts()


class Everything(nn.Module):
    """What is quantised, what is not, and how: a kernel used twice, and so on."""

    def __init__(self, pool=True):
        super().__init__()
        self.pool = pool
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.normed = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.shared = nn.Conv2d(8, 8, 3)
        self.pooled = nn.Conv2d(8, 8, 3, padding=1)
        self.rain = nn.Conv2d(8, 3, 1)
        self.redraw = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image):
        x = F.relu(self.stem(image))
        x = F.relu(self.norm(self.normed(torch.cat([x], 1))) + x)
        y = self.grouped(self.depthwise(x))
        for dilation in (1, 2):
            y += F.conv2d(
                x, self.shared.weight, self.shared.bias, 1, dilation, dilation=dilation
            )
        level = F.relu(self.pooled(y))
        if self.pool:
            z, indices = F.max_pool2d(level, 2, return_indices=True)
            level = unpool_by_indices(z, indices, *level.shape[-2:]) + level
        return self.redraw(image - self.rain(level))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = Everything()
    with torch.no_grad():
        made(torch.rand(2, 3, 32, 32))  # BatchNorm has seen something
    return made.eval()


@pytest.fixture(scope="module")
def plan(network):
    made = plan_of(network, FACTS, [torch.rand(2, 3, 32, 32)])
    network.eval()
    return made


def test_what_stays_in_floating_point_is_what_the_graph_leaves(plan):
    assert plan.kernels == {
        f"{name}.weight" for name in ("stem", "normed", "grouped", "shared", "rain")
    }
    # The residual of `normed`; `pooled` leads to an argmax, with what is added to it.
    assert [(index, tensor) for _, index, tensor in plan.additions] == [
        (1, "normed.weight#1")
    ]


def test_the_picture_is_that_of_the_graph_in_int8(network):
    pooled, network = network, Everything(pool=False).eval()  # noise moves its pixels
    network.load_state_dict(pooled.state_dict())
    network.norm = nn.Identity()  # folded, its scales round to FP16 in another place
    plan = plan_of(network, FACTS, [torch.rand(2, 3, 32, 32)])
    network.eval()
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    sizes = SizeRange.static(Size(32, 32))
    core = to_onnx(network, FACTS, sizes, 20)
    wrap_frame(core, FACTS, sizes)
    model = core.model
    fold_constants(model)
    fold_batch_norms(model)
    lower_operators(model, "any", core.maps)
    layers = [layer for layer in find_layers(model) if not layer.stays]
    assert len(layers) == len(plan.layers)
    tensors = dict(
        zip(plan.layers.values(), (layer.tensor for layer in layers), strict=True)
    )
    ranges = {tensors[name]: reach for name, reach in plan.reach.items()}
    names = {layer.name for layer in layers}
    insert_qdq(model, ranges, names, residuals=residual_adds(model).keys())
    with FakeQuantisation(network, plan):
        ours = derain_frame(network, FACTS, frame)
    apart = np.abs(ours.astype(int) - GraphSession(model).derain(frame))
    assert apart.max() <= 1  # sums in another order
    plain = np.abs(ours.astype(int) - derain_frame(network, FACTS, frame))
    assert apart.mean() < 0.1 * plain.mean()


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)

    def forward(self, x):
        return self.conv(x)


def test_bfloat16_holds_the_steps_exactly():
    torch.manual_seed(0)
    network, x = Bare(), torch.rand(1, 3, 16, 16)
    plan = plan_of(network, FACTS, [x])
    with torch.no_grad(), FakeQuantisation(network, plan):
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x)
    assert half.dtype == torch.bfloat16
    # Two roundings of the result, and none of what goes in.
    assert torch.allclose(half.float(), exact, rtol=2**-7, atol=0)


def test_the_gradient_goes_straight_through_what_is_not_cut(network, plan):
    image = 0.9 * torch.rand(1, 3, 32, 32)
    image[..., :4] = 9.0  # beyond the range of the stem's input
    image.requires_grad_()
    with FakeQuantisation(network, plan):
        F.conv2d(image, network.stem.weight, padding=1).sum().backward()
    assert image.grad[..., :3].abs().max() == 0
    steps, scale = quantise_weights(network.stem.weight.detach().numpy())
    held = torch.from_numpy(steps * scale.reshape(-1, 1, 1, 1))
    wanted = torch.autograd.grad(F.conv2d(image, held, padding=1).sum(), image)[0]
    assert torch.allclose(image.grad[..., 6:], wanted[..., 6:], atol=1e-4)


def test_weights_on_the_grid_are_rounded_no_further(network, plan):
    before = {k: x.clone() for k, x in network.state_dict().items()}
    try:
        onto_grid(network, plan)
        for name in plan.kernels:
            old, new = before[name].numpy(), network.get_parameter(name).detach()
            steps, scale = quantise_weights(old)
            assert np.array_equal(quantise_weights(new.numpy())[0], steps)
            held = steps * scale.reshape(-1, 1, 1, 1)
            assert np.array_equal(new.numpy(), held)
        kept = before.keys() - plan.kernels
        assert all(torch.equal(before[k], network.state_dict()[k]) for k in kept)
    finally:
        network.load_state_dict(before)


def test_a_network_learns_under_quantisation():
    torch.manual_seed(0)
    network, x = Bare(), torch.rand(4, 3, 24, 24)
    plan = plan_of(network, FACTS, [x])
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    errors = []
    for _ in range(60):
        with FakeQuantisation(network, plan):
            error = (network(x) - 0.5 * x).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.2 * errors[0]


def test_a_computed_kernel_is_refused_in_one_line():
    network = nn.Sequential(weight_norm(nn.Conv2d(3, 3, 3, padding=1)))
    x = torch.rand(1, 3, 8, 8)
    with pytest.raises(
        TrainingError, match="forward pass computes the kernel"
    ) as caught:
        plan_of(network, FACTS, [x])
    assert "\n" not in str(caught.value)


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(TrainingError, match="no convolution that INT8 takes"):
        plan_of(nn.Identity(), FACTS, [torch.rand(1, 3, 8, 8)])


def _train(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


SMALL = ("--qat", "--steps", "2", "--crop", "16", "--batch", "1", "--bf16")


def test_a_run_ends_with_a_checkpoint_on_the_grid(tmp_path, pairs_folder):
    folder = tmp_path / "run"
    run = ("--model", "treefusion", *SMALL, "--pairs", pairs_folder, "-o", folder)
    result = _train(*run)
    assert result.exit_code == 0, result.output
    assert "65 convolutions with 41 kernels and 8 addends" in result.stderr
    made = load_file(folder / WEIGHTS)
    state = read_state(folder)
    assert all(torch.equal(state["average"][name], x) for name, x in made.items())
    weight = made["blocks.0.conv.weight"].numpy()
    steps, scale = quantise_weights(weight)
    assert np.array_equal(weight, steps * scale.reshape(-1, 1, 1, 1))
    config = read_config(folder)
    assert config.qat
    assert config.first_weights
    assert config.learning_rate == pytest.approx(1e-4)
    assert "--qat" in config.command()
    plan = state["quantised"]
    again = _train(*run)
    assert again.exit_code == 0, again.output
    assert "resumed at step 2" in again.stderr
    assert read_state(folder)["quantised"] == plan


def test_a_network_with_a_memory_is_trained_so(tmp_path, two_folders):
    folder = tmp_path / "run"
    clean = two_folders / "clean"
    result = _train("--model", "rivulet-s", *SMALL, "--clean", clean, "-o", folder)
    assert result.exit_code == 0, result.output
    assert (folder / WEIGHTS).is_file()
    assert (folder / STATE).is_file()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--model", "qsnet", "--compile"), "give --qat or --compile, not both"),
        (("--model", "torch.nn:Identity"), "none ship for torch.nn:Identity; give"),
    ],
)
def test_what_does_not_go_together_is_one_line(tmp_path, pairs_folder, arguments, line):
    run = (*SMALL, "--pairs", pairs_folder, "-o", tmp_path / "run")
    result = _train(*arguments, *run)
    assert result.exit_code != 0
    assert line in result.stderr
    assert "Traceback" not in result.stderr
