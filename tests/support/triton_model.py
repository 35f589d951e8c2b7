"""What the test server runs in place of its ONNX Runtime backend; see triton_server."""

import json
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Runs ``model.onnx`` beside it; keeps the states of each sequence."""

    def initialize(self, args):
        folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.path.join(folder, "model.onnx"),  # noqa: PTH118
            options,
            providers=["CPUExecutionProvider"],
        )
        config = json.loads(args["model_config"])
        states = config.get("sequence_batching", {}).get("state", ())
        self.states = {each["output_name"]: each["input_name"] for each in states}
        self.kept = {}
        self.first = os.path.join(folder, "first-frame")  # noqa: PTH118

    def execute(self, requests):
        return [self.answer(each) for each in requests]

    def answer(self, request):
        """One request: of the names in the graph, as Triton gives them."""
        given = {}
        for each in request.inputs():
            # NumPy 2 does not fit the server's own conversion.
            given[each.name()] = np.from_dlpack(each).copy()
        if not os.path.exists(self.first):  # noqa: PTH110
            with open(self.first, "wb") as file:  # noqa: PTH123
                file.write(given["frame"].tobytes())
        flags = request.flags()
        start = bool(flags & triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START)
        number = request.correlation_id()
        if self.states and not start and number in self.kept:
            given |= self.kept[number]  # else: the initial states that Triton gives
        names = [each.name for each in self.session.get_outputs()]
        made = dict(zip(names, self.session.run(names, given), strict=True))
        if self.states:
            self.kept[number] = {
                into: made.pop(out) for out, into in self.states.items()
            }
            if flags & triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END:
                del self.kept[number]
        return triton.InferenceResponse(
            [triton.Tensor.from_dlpack(name, value) for name, value in made.items()]
        )
