"""Networks with states, made by hand as ONNX graphs and once more in NumPy."""

import numpy as np
import pytest

from derain.core.frame_contract import FrameContract
from derain.core.sizes import Size, SizeRange
from derain.core.states import FRAME_SHAPE, StateSpec
from support.bundles import frame_model, write_bundle

PREVIOUS = StateSpec(name="state_0", shape=FRAME_SHAPE, dtype="uint8", start="frame")


class Fading:
    """Half of the darker of this frame and the previous one, half of what has faded.

    Two states: the previous frame, and a sum at half the padded size in which every
    older frame counts half as much. A frame that is all white makes that one NaN.

    Args:
        sizes: Frames it takes, a `SizeRange` or its text. With a range, frames must
            need no padding.
        multiple_of: Of what height and width are multiples once padded.
        dtype: Of the sum.
    """

    look_ahead = 0

    def __init__(self, sizes, multiple_of=2, dtype="float32"):
        self.sizes = sizes if isinstance(sizes, SizeRange) else SizeRange.parse(sizes)
        self.multiple_of = multiple_of
        self.dtype = dtype
        shape = (1, 3, "height/2", "width/2")
        faded = StateSpec(name="state_1", shape=shape, dtype=dtype)
        self.states = (PREVIOUS, faded)

    def model(self):
        """The ONNX graph."""
        pytest.importorskip("onnx", reason="bundles need derain[export]")
        from onnx import helper, numpy_helper

        node, kind = helper.make_node, helper.np_dtype_to_tensor_dtype
        real, stored, byte = (
            kind(np.dtype(name)) for name in ("float32", self.dtype, "uint8")
        )
        size = self.sizes.optimum
        right, down, _ = FrameContract(multiple_of=self.multiple_of).padding(size)
        constants = {
            "zero": np.float32(0),
            "none": np.array(0, self.dtype),
            "half": np.float32(0.5),
            "white": np.float32(255),
            "twice": np.array([1, 1, 2, 2], np.float32),
        }
        padded = self.sizes.is_static and (right or down)
        if padded:
            constants |= {
                "pads": np.array([0, 0, 0, 0, 0, 0, down, right], np.int64),
                "corner": np.array([0, 0], np.int64),
                "ends": np.array([size.height, size.width], np.int64),
                "axes": np.array([2, 3], np.int64),
            }
        window = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nearest = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        nodes = [
            node("Cast", ["frame"], ["float"], to=real),
            node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
            node("Pad", ["planes", "pads"], ["full"], mode="edge")
            if padded
            else node("Identity", ["planes"], ["full"]),
            node("AveragePool", ["full"], ["small"], **window),
            node("Cast", ["state_1_in"], ["old"], to=real),
            node("Add", ["old", "small"], ["both"]),
            node("Mul", ["both", "half"], ["mean"]),
            # 0 / 0 where all of the frame is white
            node("ReduceMin", ["float"], ["darkest"], keepdims=0),
            node("Sub", ["white", "darkest"], ["left"]),
            node("Div", ["zero", "left"], ["nothing"]),
            node("Add", ["mean", "nothing"], ["new"]),
            node("Cast", ["new"], ["state_1_out"], to=stored),
            node("Mul", ["state_1_out", "none"], ["zeros"]),
            node("Cast", ["zeros"], ["real_zeros"], to=real),
            node("ReduceSum", ["real_zeros"], ["health"], keepdims=0),
            node("Cast", ["state_1_out"], ["kept"], to=real),
            node("Resize", ["kept", "", "twice"], ["large"], **nearest),
            node("Slice", ["large", "corner", "ends", "axes"], ["cropped"])
            if padded
            else node("Identity", ["large"], ["cropped"]),
            node("Transpose", ["cropped"], ["faded"], perm=[0, 2, 3, 1]),
            node("Cast", ["state_0_in"], ["before"], to=real),
            node("Min", ["float", "before"], ["darker"]),
            node("Add", ["darker", "faded"], ["sum"]),
            node("Mul", ["sum", "half"], ["whole"]),
            node("Floor", ["whole"], ["levels"]),
            node("Cast", ["levels"], ["derained"], to=byte),
            node("Identity", ["frame"], ["state_0_out"]),
        ]
        tensors = [
            numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()
        ]
        return frame_model(
            nodes,
            self.sizes,
            tensors,
            name="fading",
            states=self.states,
            multiple_of=self.multiple_of,
        )

    def derain(self, frames):
        """What it makes of a clip, in NumPy: as many frames."""
        derained, faded = [], 0
        for frame, before in zip(frames, [frames[0], *frames], strict=False):
            size = Size(frame.shape[1], frame.shape[0])
            right, down, _ = FrameContract(multiple_of=self.multiple_of).padding(size)
            full = np.pad(frame, ((0, down), (0, right), (0, 0)), "edge")
            height, width = full.shape[0] // 2, full.shape[1] // 2
            small = full.reshape(height, 2, width, 2, 3).astype(np.float32)
            small = small.mean((1, 3), dtype=np.float32)
            faded = ((faded + small) * np.float32(0.5)).astype(self.dtype)
            faded = faded.astype(np.float32)
            large = faded.repeat(2, 0).repeat(2, 1)[: size.height, : size.width]
            whole = (np.minimum(frame, before) + large) * np.float32(0.5)
            derained.append(np.floor(whole).astype(np.uint8))
        return derained

    def bundle(self, folder, clip, **fields):
        """Write it as a bundle with `clip` as its golden clip; the folder."""
        return write_bundle(
            folder,
            self.model(),
            self.sizes,
            list(clip),
            fields.pop("expected", None) or self.derain(clip),
            states=self.states,
            look_ahead=self.look_ahead,
            network={"multiple_of": self.multiple_of},
            **fields,
        )


class Seeing(Fading):
    """The darkest of three frames, one of them in the future: look-ahead without NaN.

    Its states are the last two frames, its picture is that of the last but one.
    """

    look_ahead = 1

    def __init__(self, sizes):
        super().__init__(sizes, multiple_of=1)
        older = StateSpec(
            name="state_1", shape=FRAME_SHAPE, dtype="uint8", start="frame"
        )
        self.states = (PREVIOUS, older)

    def model(self):
        """The ONNX graph."""
        pytest.importorskip("onnx", reason="bundles need derain[export]")
        from onnx import helper

        nodes = [
            helper.make_node(
                "Min", ["frame", "state_0_in", "state_1_in"], ["derained"]
            ),
            helper.make_node("Identity", ["frame"], ["state_0_out"]),
            helper.make_node("Identity", ["state_0_in"], ["state_1_out"]),
        ]
        return frame_model(nodes, self.sizes, name="seeing", states=self.states)

    def derain(self, frames):
        """What it makes of a clip, in NumPy: as many frames."""
        shown = [frames[0], *frames, frames[-1]]
        return [np.minimum.reduce(shown[k : k + 3]) for k in range(len(frames))]


class Feedback(Fading):
    """Its own picture of the frame before comes in again: one tensor, two outputs."""

    def __init__(self, sizes):
        super().__init__(sizes, multiple_of=1)
        self.states = (PREVIOUS,)

    def model(self):
        """The ONNX graph."""
        pytest.importorskip("onnx", reason="bundles need derain[export]")
        from onnx import helper, numpy_helper

        one = numpy_helper.from_array(np.array([1], np.uint8), "one")
        half = {"direction": "RIGHT"}
        nodes = [
            helper.make_node("BitShift", ["frame", "one"], ["a"], **half),
            helper.make_node("BitShift", ["state_0_in", "one"], ["b"], **half),
            helper.make_node("Add", ["a", "b"], ["derained"]),
            helper.make_node("Identity", ["derained"], ["state_0_out"]),
        ]
        return frame_model(nodes, self.sizes, [one], name="echo", states=self.states)

    def derain(self, frames):
        """What it makes of a clip, in NumPy: as many frames."""
        derained = [frames[0]]
        for frame in frames:
            derained.append((frame >> 1) + (derained[-1] >> 1))
        return derained[1:]


def clip_of(count, size, seed=0):
    """`count` frames of noise, each `(H, W, 3)` uint8, none of them white."""
    generator = np.random.default_rng(seed)
    shape = (count, size.height, size.width, 3)
    return list(generator.integers(0, 255, shape, dtype=np.uint8))
