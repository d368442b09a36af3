"""What training minimises: functions of an estimate and of the batch it was made for."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from stemsplit.shapes import Batch, Estimate


def magnitude_mse(estimate: Estimate, batch: Batch) -> Float[Tensor, ""]:
    """Mean squared error of unnormalised magnitudes, as open-unmix's training loop takes it.

    (Its spectra are not scaled by the window, so its figures are those of the study as well.)
    """
    return functional.mse_loss(estimate.magnitudes, batch.stem_spectra.abs())
