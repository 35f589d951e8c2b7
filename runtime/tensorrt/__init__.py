"""TensorRT and TensorRT-RTX: engines are compiled from a bundle on the device."""
