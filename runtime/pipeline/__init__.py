"""The parts of the frame loop: hand-overs, source and sink threads, decisions, counts.

`derain.runtime.pipeline.run.run` puts them together.
"""
