"""From a PyTorch network to a verified bundle; needs torch and onnx."""
