"""Band-split networks, which estimate complex masks with layers along time and along sub-bands.

`BandSplit` covers a family of models. With BLSTMs along both axes it is a band-split RNN (Luo and
Yu, "Music Source Separation with Band-split RNN", 2022). With rotary attention along both axes it
is a band-split transformer (Lu, Wang, Kong and Hung, "Music Source Separation with Band-Split RoPE
Transformer", 2023). The two kinds of layer can be mixed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stemsplit.models.blocks.complex_mask import ComplexMask, MaskParts
from stemsplit.models.blocks.sequences import sequence_layer
from stemsplit.models.shapes import Views

# (upper limit, band width) in Hz. Bands are narrow where voices and chords have their partials.
WIDTHS = ((1000, 100), (4000, 250), (8000, 500), (16000, 1000), (20000, 2000))

Groups = list[tuple[int, int]]
Tokens = Float[Tensor, "band token feature"]  # a token is a frame of one batch item


def band_groups(sample_rate: int, freqs: int) -> Groups:
    """Divide the frequencies into bands, from 0 Hz upwards.

    Neighbouring bands of equal width form a group. Returns each group as a pair (number of bands,
    frequencies per band). Every band has at least one frequency. The frequencies above the bands of
    `WIDTHS` form the last band.
    """
    spacing_hertz = sample_rate / 2 / (freqs - 1)
    groups = []
    first = 0
    for limit_hertz, width_hertz in WIDTHS:
        width = max(1, round(width_hertz / spacing_hertz))
        count = (min(freqs, round(limit_hertz / spacing_hertz)) - first) // width
        if count > 0:
            groups.append((count, width))
            first += count * width
    return [*groups, (1, freqs - first)] if first < freqs else groups


class BandLinear(nn.Module):
    """A separate dense layer for each band, computed as one batched matrix product."""

    def __init__(self, bands: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5  # the initialisation of torch.nn.Linear
        self.weight = nn.Parameter(torch.empty(bands, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(bands, 1, outputs).uniform_(-bound, bound))

    def forward(
        self, tokens: Float[Tensor, "band token inputs"]
    ) -> Float[Tensor, "band token outputs"]:
        return torch.baddbmm(self.bias, tokens, self.weight)


class BandEncoder(nn.Module):
    """Encode each band: normalise its real and imaginary parts, then apply a dense layer.

    `parts` is the number of values per frequency: real and imaginary parts of all channels. The
    norms here and in `MaskEstimator` have no weights because a dense layer follows each of them.
    """

    def __init__(self, groups: Groups, parts: int, features: int) -> None:
        super().__init__()
        self.groups = groups
        self.layers = nn.ModuleList(
            BandLinear(count, width * parts, features) for count, width in groups
        )

    def forward(self, spectrum: Float[Tensor, "token freq part"]) -> Tokens:
        pieces = spectrum.split([count * width for count, width in self.groups], dim=1)
        encoded = []
        for piece, (count, _), layer in zip(pieces, self.groups, self.layers, strict=True):
            bands = piece.unflatten(1, (count, -1)).flatten(2).transpose(0, 1)
            encoded.append(layer(functional.rms_norm(bands, bands.shape[-1:])))
        return torch.cat(encoded)


class MaskEstimator(nn.Module):
    """Features → the complex mask of one stem.

    Each band has a dense layer, tanh, and a dense layer with a gated linear unit. At
    initialisation the mask is close to one, so that the whole mixture passes.
    """

    def __init__(self, groups: Groups, channels: int, features: int, hidden: int) -> None:
        super().__init__()
        self.counts = [count for count, _ in groups]
        self.channels = channels
        self.first = BandLinear(sum(self.counts), features, hidden)
        self.second = nn.ModuleList()
        for count, width in groups:
            layer = BandLinear(count, hidden, 2 * width * channels * 2)
            with torch.no_grad():
                layer.bias.zero_()
                # Real parts start at 2 × 0.5 = 1, since the gates start near sigmoid(0) = 0.5.
                layer.bias.view(count, 2, width, channels, 2)[:, 0, ..., 0] = 2
            self.second.append(layer)

    def forward(self, tokens: Tokens) -> Float[Tensor, "token freq channel 2"]:
        hidden = torch.tanh(self.first(functional.rms_norm(tokens, tokens.shape[-1:])))
        masks = []
        for bands, layer in zip(hidden.split(self.counts), self.second, strict=True):
            mask = functional.glu(layer(bands)).unflatten(2, (-1, self.channels, 2))
            masks.append(mask.transpose(0, 1).flatten(1, 2))
        return torch.cat(masks, dim=1)


class BandSplit(ComplexMask):
    """Complex spectrum → a complex mask for every stem, channel and frequency.

    Each band is encoded as `features` features per frame. Then `depth` pairs of layers follow. In
    each pair, the first layer runs along time within each band, and the second layer runs along the
    bands within each frame. `over_time` and `over_bands` choose the kinds of these two layers:
    ``attention`` (with `heads` heads) or ``lstm``. Each stem has its own mask estimator with
    `mask_hidden` hidden features per band.

    The mask does not depend on the loudness of the mixture, because each frame of each band is
    normalised separately. Raises `InputError` for another kind of layer, or if `features` cannot
    be divided into `heads` heads of an even size.
    """

    def __init__(
        self,
        bands: dict[str, int],
        sample_rate: int,
        channels: int,
        stems: int,
        features: int = 128,
        depth: int = 6,
        heads: int = 8,
        mask_hidden: int = 512,
        over_time: str = "attention",
        over_bands: str = "attention",
    ) -> None:
        freqs = bands["complex"] // 2
        super().__init__(freqs)
        groups = band_groups(sample_rate, freqs)
        self.encoder = BandEncoder(groups, 2 * channels, features)
        self.over_time = nn.ModuleList(
            sequence_layer(over_time, features, heads) for _ in range(depth)
        )
        self.over_bands = nn.ModuleList(
            sequence_layer(over_bands, features, heads) for _ in range(depth)
        )
        self.masks = nn.ModuleList(
            MaskEstimator(groups, channels, features, mask_hidden) for _ in range(stems)
        )

    def mask_parts(self, views: Views) -> MaskParts:
        parts = self.scaled_parts(views)
        batch, _, _, frame = views["complex"].shape
        spectrum = parts.permute(0, 4, 3, 1, 2).flatten(0, 1).flatten(2)
        # The tokens are float32 even under autocast, because each layer adds its output to them (a
        # residual connection), and this sum must be float32.
        tokens = self.encoder(spectrum).float()
        for along_time, along_bands in zip(self.over_time, self.over_bands, strict=True):
            sequences = along_time(tokens.reshape(-1, frame, tokens.shape[2]))
            tokens = sequences.reshape(tokens.shape[0], -1, tokens.shape[2]).transpose(0, 1)
            tokens = along_bands(tokens).transpose(0, 1)
        # PyTorch has no complex type for bfloat16, so the masks are converted to float32.
        masks = torch.stack([mask(tokens).float() for mask in self.masks])
        return masks.unflatten(1, (batch, frame)).permute(1, 0, 4, 3, 2, 5)
