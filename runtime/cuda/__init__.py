"""CUDA devices behind one small Protocol: memory, streams, events, graphs."""
