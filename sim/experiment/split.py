"""The images that a run learns from, is selected on, and is reported on."""

from dataclasses import dataclass

from sim.data import Dataset, Labels, Pixels


@dataclass(frozen=True, eq=False)
class Split:
    """Training, validation and test images, in file order; arrays as in ``sim.data.Dataset``.

    Settings are chosen by the error on the validation images; the test images only report.
    """

    train_pixels: Pixels
    train_labels: Labels
    validation_pixels: Pixels
    validation_labels: Labels
    test_pixels: Pixels
    test_labels: Labels

    @classmethod
    def of(cls, dataset: Dataset, validation_images: int) -> "Split":
        """Keep the last training images for validation.

        Raises:
            ValueError: If no image would be left to learn from, or none to validate with.
        """
        first = len(dataset.train_labels) - validation_images
        if not 0 < first < len(dataset.train_labels):
            raise ValueError(
                f"validation images must be 1..{len(dataset.train_labels) - 1}, "
                f"not {validation_images}"
            )
        return cls(
            dataset.train_pixels[:first],
            dataset.train_labels[:first],
            dataset.train_pixels[first:],
            dataset.train_labels[first:],
            dataset.test_pixels,
            dataset.test_labels,
        )
