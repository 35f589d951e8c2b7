"""Pairs of rainy and clean pictures, and batches of crops from them.

Pictures are decoded once and kept in memory as uint8. A batch is a function of the seed
and its number alone: a run that was killed goes on with the batches it would have had.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from derain.core.errors import MediaError
from derain.core.pairs import Pair, Picture
from derain.core.synthetic.camera import record
from derain.core.synthetic.mixture import RainMixture
from derain.core.synthetic.weather import weather_on_clip
from derain.training.config import Mixture


def dry(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The clean pictures of `pairs`, as pairs without rain."""
    return (Pair(pair.name, pair.clean, pair.clean) for pair in pairs)


def rained_on(
    clean: Picture, rain: RainMixture, random: np.random.Generator
) -> tuple[Picture, Picture]:
    """A picture in rain drawn from `rain`, and without, as one camera records them."""
    clips = weather_on_clip([clean], [0], rain.weather(random), random)
    (rainy,), (dry,) = record(clips, rain.camera(random), random)
    return rainy, dry


class CropSource:
    """Batches of crops."""

    def __init__(
        self,
        pairs: Sequence[Sequence[Pair]],
        clean: Sequence[Picture],
        *,
        crop: int,
        batch: int,
        mixture: Mixture,
        rain: RainMixture,
        seed: int,
        vertical_flips: bool = True,
    ) -> None:
        """Prepare to cut crops.

        Args:
            pairs: Sets of rainy and clean pictures, which give as many crops each,
                however many they are.
            clean: Pictures to render rain on, each crop turned by 0, 90, 180 or 270
                degrees first.
            crop: Height and width of a crop.
            batch: Crops a batch.
            mixture: What the crops are taken from. A source that is empty gives its
                part to the other.
            rain: What rendered rain is drawn from.
            seed: Which batches.
            vertical_flips: Whether crops are turned upside down, half of the time;
                they are mirrored left to right in any case.

        Raises:
            MediaError: There is nothing to train on, or a picture is smaller than a
                crop.
        """
        pairs = [members for members in pairs if members]
        if not pairs and not clean:
            raise MediaError(
                "there are no pictures to train on; give --pairs or --clean"
            )
        for height, width in {
            *(pair.clean.shape[:2] for members in pairs for pair in members),
            *(picture.shape[:2] for picture in clean),
        }:
            if min(height, width) < crop:
                raise MediaError(
                    f"a picture of {width}x{height} is smaller than a crop of {crop}"
                )
        self._pairs, self._clean = pairs, clean
        self._crop, self._batch, self._seed = crop, batch, seed
        self._vertical_flips = vertical_flips
        self._rain = rain
        self._mixture = mixture.out_of(pairs=bool(pairs), photographs=bool(clean))

    def batch(self, step: int) -> tuple[Picture, Picture]:
        """Batch number `step`.

        Returns:
            Rainy and clean crops, each `(N, crop, crop, 3)` uint8 BGR.
        """
        random = np.random.default_rng((self._seed, step))
        crops = [self._one(random) for _ in range(self._batch)]
        rainy, clean = zip(*crops, strict=True)
        return np.stack(rainy), np.stack(clean)

    def _one(self, random: np.random.Generator) -> tuple[Picture, Picture]:
        kind = random.random()
        dry, rendered = self._mixture.dry, self._mixture.rendered
        if kind < dry + rendered and self._clean:
            picture = self._clean[int(random.integers(len(self._clean)))]
            (clean,) = self._cut(random, picture)
            # Turned before it rains: rain falls down whatever is behind it. For the
            # same reason pairs, whose rain is in the picture, are only flipped.
            clean = np.ascontiguousarray(np.rot90(clean, int(random.integers(4))))
            if kind < dry:
                return clean, clean
            return rained_on(clean, self._rain, random)
        members = self._pairs[int(random.integers(len(self._pairs)))]
        pair = members[int(random.integers(len(members)))]
        rainy, clean = self._cut(random, pair.rainy, pair.clean)
        return (clean if kind < dry else rainy), clean

    def _cut(self, random: np.random.Generator, *pictures: Picture) -> list[Picture]:
        """The same crop of `pictures`, flipped in the same way."""
        height, width = pictures[0].shape[:2]
        top = random.integers(height - self._crop + 1)
        left = random.integers(width - self._crop + 1)
        mirrored, turned = random.random(2) < 0.5
        cut = []
        for picture in pictures:
            crop = picture[top : top + self._crop, left : left + self._crop]
            if mirrored:
                crop = crop[:, ::-1]
            if turned and self._vertical_flips:
                crop = crop[::-1]
            cut.append(np.ascontiguousarray(crop))
        return cut
