"""Frames from sources and into sinks.

frames.py        what passes between them, and what each must offer
sources/         one kind a file, and the table of them
sinks/           the same
uris.py          how they are written: a place, and fields after a question mark
kinds.py         the rows of both tables
"""
