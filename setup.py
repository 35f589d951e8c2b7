"""Two wheels from one tree; everything else stands in pyproject.toml.

``python -m build --wheel`` makes the whole toolkit, ``DERAIN_WHEEL=runtime python -m
build --wheel`` what runs on a device: ``derain-VERSION+runtime``, without networks,
weights, training, export, calibration and benchmarks.
"""

import os

from setuptools import Distribution, setup

ROOMS = ("core", "runtime")  # of the device's wheel, besides the front door
COMMANDS = ("derain-compile", "derain-doctor", "derain-run")


class DeviceDistribution(Distribution):
    """What pyproject.toml says, less what only a workstation needs."""

    def parse_config_files(self, *arguments, **options):
        """Read pyproject.toml, and leave out what is not for the device."""
        super().parse_config_files(*arguments, **options)
        if os.environ.get("DERAIN_WHEEL") != "runtime":
            return
        self.metadata.version += "+runtime"
        self.packages = [
            name
            for name in self.packages
            if name == "derain" or name.split(".")[1] in ROOMS
        ]
        scripts = self.entry_points["console_scripts"]
        self.entry_points["console_scripts"] = [
            line for line in scripts if line.partition("=")[0].strip() in COMMANDS
        ]


setup(distclass=DeviceDistribution)
