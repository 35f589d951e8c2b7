"""INT8: real frames in, ranges, explicit Q/DQ and accuracy control in decibels.

frames -> ranges -> Q/DQ in the ONNX graph -> INT8 against FP32 -> layers back to float

Everything here works on a float ONNX graph and on ONNX Runtime; PyTorch is not needed.
"""
