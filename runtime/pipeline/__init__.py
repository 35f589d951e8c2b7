"""A run: capture -> inference -> writers, and what decides about frames on the way.

`derain.runtime.pipeline.run.run` opens everything, `loop.py` moves the frames.
"""
