"""What a convolution kernel costs on a device that is short of bandwidth.

TensorRT makes about one kernel of a convolution with what is element-wise behind it:
it reads the maps in front and writes the map behind. So a pass that multiplies two
weights saves the bytes of the map between them and may add arithmetic. `cost` puts both
on one scale: bytes per pixel in FP16, arithmetic as the bytes that move meanwhile.
"""

from __future__ import annotations

# FLOP per byte of an Orin Nano: 35 % of 10.2 TFLOP/s to 75 % of 68 GB/s. Its Super mode
# and an Orin NX have about as many, larger modules more.
BALANCE = 70.0
_BYTES = 2  # of a number in FP16


def cost(read: int, written: int, macs: int) -> float:
    """Time of one kernel, as bytes per pixel.

    Args:
        read: Channels that it reads.
        written: Channels that it writes.
        macs: Multiply-accumulates per pixel.
    """
    return max(_BYTES * (read + written), 2 * macs / BALANCE)
