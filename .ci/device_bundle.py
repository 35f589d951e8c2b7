"""Write a bundle by hand, to be run where only the runtime is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np

from derain.core.sizes import Size, SizeRange
from support.bundles import identity_model, write_bundle

SIZE = SizeRange.static(Size(64, 48))
PICTURE = np.full((48, 64, 3), 90, np.uint8)

write_bundle(sys.argv[1], identity_model(SIZE), SIZE, PICTURE, PICTURE)
