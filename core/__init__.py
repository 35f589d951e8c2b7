"""The floor everyone stands on: errors, sizes, bundles; NumPy and OpenCV at most."""
