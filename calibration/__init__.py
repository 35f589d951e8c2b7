"""INT8 calibration; nothing here yet."""
