"""A small version of the registered vision transformer, built through the same code, for the default suite."""

from bids_app.classifiers import vit_b16
from bids_app.classifiers.vit_b16 import BATCH_SIZE, EPOCHS, INPUT_FORMAT, LEARNING_RATE, WEIGHT_DECAY

__all__ = ["BATCH_SIZE", "EPOCHS", "INPUT_FORMAT", "LEARNING_RATE", "WEIGHT_DECAY", "build"]


def build(channels, classes, shape, *, voxel_mm=(3.0, 3.0, 3.0), seed, **options):
    """Images of 32 x 32 pixels, patches of 8 x 8, two blocks of three heads, 48 channels."""
    architecture = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
    return vit_b16.build_architecture(
        channels, classes, shape, seed=seed, slices={"size": 32, **options}, **architecture
    )
