"""The files written for one cell in one fold."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FoldFiles:
    """Names in the folder of a fold."""

    folder: Path

    @property
    def predictions(self) -> Path:
        """The table of predictions of the held-out samples, one row each."""
        return self.folder / "predictions.tsv"

    @property
    def heatmaps(self) -> Path:
        """Facts about each explainer's heatmaps: unit, sign, spread and checks, or why it was refused (JSON)."""
        return self.folder / "heatmaps.json"

    def heatmap(self, method: str) -> Path:
        """The heatmaps (held-out samples, classes, voxels) of an explainer."""
        return self.folder / f"heatmap_{method}.npy"

    def model_heatmap(self, method: str) -> Path:
        """The heatmaps (classes, voxels) of the model itself."""
        return self.folder / f"model_{method}.npy"

    @property
    def participant_heatmaps(self) -> Path:
        """The folder of the heatmaps of the held-out participants, with the layout of OUT_DIR."""
        return self.folder / "people"

    @property
    def participant_heatmap_table(self) -> Path:
        """The table of those heatmaps, one row each."""
        return self.folder / "heatmaps.tsv"

    @property
    def parcels(self) -> Path:
        """The labels (X, Y, Z) of the first atlas of the map, int32."""
        return self.folder / "parcels.npy"

    @property
    def region_zscores(self) -> Path:
        """z of each held-out participant's maps by region (`training.region_zscores`)."""
        return self.folder / "regions.npz"

    @property
    def distances(self) -> Path:
        """The distance (held-out samples,) of each from the training samples."""
        return self.folder / "distances.npy"

    @property
    def model(self) -> Path:
        """The folder of the trained model."""
        return self.folder / "model"

    @property
    def losses(self) -> Path:
        """The table of losses, one row per epoch."""
        return self.folder / "losses.tsv"

    def gram_matrix(self, name: str) -> Path:
        """Gram matrices of samples: `gram_matrix` of the model's features, `gram_matrix_of_sites` without ComBat."""
        return self.folder / f"{name}.npz"
