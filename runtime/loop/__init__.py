"""The parts of the frame loop: hand-overs, source and sink threads, decisions, counts.

`derain.runtime.stream.run` puts them together.
"""
