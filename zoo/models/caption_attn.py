"""Picture to caption: residual convolutions with attention, 2-D positions, Transformer decoder.

"Show, Attend and Tell" (Xu et al. 2015, arXiv:1502.03044) with its recurrent decoder exchanged for the Transformer's
(Vaswani et al. 2017, arXiv:1706.03762). Symbols of the first paper: the annotation vectors `a_i` are the cells of the
encoder's map, the attention weights `alpha_ti` are the decoder's scores over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.config import BaseConfig, setting
from zoo.registry import Architecture, register

if TYPE_CHECKING:
    import keras


@register(
    "caption_attn",
    task="captioning",
    paper="Xu et al. 2015, Show, Attend and Tell (arXiv:1502.03044); Vaswani et al. 2017 (arXiv:1706.03762)",
)
class CaptionAttn(Architecture):
    """A small captioner that looks at the cells of a feature map.

    1. `image` (B, H, W, 3), 0 to 255, is scaled to -1 to 1.
    2. `encoder`: `CNNFeatureExtractor` and sine positions of row and column, (B, h, w, d_model).
    3. `decoder`: `TransformerDecoder` over `tokens` (B, T), which begin with the start token; `logits` (B, T, V) for
       the token that follows each. Token 0 is padding.
    """

    @dataclass(frozen=True)
    class Config(BaseConfig):
        """Configuration of `caption_attn`; training lowers `vocab_size` and `max_length` to what the captions need."""

        image_size: int = setting(72, low=16, high=1024)
        """Height and width of the picture in pixels."""
        vocabulary: str = setting("bpe", choices=("bpe", "words"))
        """Whether tokens are byte pairs or whole words."""
        vocab_size: int = setting(1500, low=5, high=100_000)
        """Number of tokens; four of them are padding, start, end and unknown."""
        max_length: int = setting(32, low=2, high=512)
        """Most tokens of a caption, the end included."""
        d_model: int = setting(128, low=8, high=2048)
        """Width of the feature map and of the decoder; a multiple of num_heads and of 4."""
        num_heads: int = setting(4, low=1, high=64)
        """Attention heads."""
        num_layers: int = setting(2, low=1, high=24)
        """Decoder blocks."""
        mlp_dim: int = setting(512, low=8, high=16_384)
        """Width of the decoder's hidden layers."""
        filters: tuple[int, ...] = setting((16, 64, 128), low=4, high=2048)
        """Channels of the encoder's stages."""
        blocks: tuple[int, ...] = setting((1, 1, 1), low=1, high=64)
        """Residual blocks of the encoder's stages."""
        strides: tuple[int, ...] = setting((2, 2, 1), low=1, high=4)
        """Strides of the encoder's stages."""
        stem_stride: int = setting(2, low=1, high=4)
        """Stride of the encoder's first convolution."""
        attention: str | None = setting("cbam", choices=("cbam", "se"))
        """Attention inside the encoder's blocks: CBAM, squeeze-and-excitation or none."""
        norm: str = setting("batch", choices=("batch", "group"))
        """Normalisation in the encoder: of the batch, or of groups of channels, which suits small and cut batches."""
        dropout: float = setting(0.1, low=0.0, high=0.9)
        """Share of values dropped in training."""
        augment: float = setting(0.5, low=0.0, high=1.0)
        """Strength of the shifts, scaling and brightness changes of training pictures; 0 means none."""

        def check(self) -> None:
            """Check relations between fields."""
            if self.d_model % self.num_heads or self.d_model % 4:
                raise self.fail("d_model", f"a multiple of num_heads ({self.num_heads}) and of 4")
            for name in ("blocks", "strides"):
                if not self.filters or len(self.filters) != len(getattr(self, name)):
                    raise self.fail(name, f"one number for each of filters {self.filters}")

    @classmethod
    def tiny(cls) -> CaptionAttn.Config:
        """Return a configuration small enough for a test."""
        return cls.Config(
            image_size=24,
            vocabulary="words",
            vocab_size=24,
            max_length=6,
            d_model=16,
            num_heads=2,
            num_layers=1,
            mlp_dim=32,
            filters=(8, 16),
            blocks=(1, 1),
            strides=(2, 2),
        )

    @classmethod
    def build(cls, config: CaptionAttn.Config) -> keras.Model:
        """Return the uncompiled model: `image`, `tokens` -> `logits`."""
        import keras

        from zoo.layers.cnn_feature_extractor import CNNFeatureExtractor
        from zoo.layers.positional_encoding import PositionalEncoding
        from zoo.layers.transformer_decoder import TransformerDecoder

        shape = (config.image_size, config.image_size, 3)
        picture = keras.Input(shape, dtype="float32", name="image")
        x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(picture)
        x = CNNFeatureExtractor(
            filters=config.filters,
            blocks=config.blocks,
            strides=config.strides,
            stem_stride=config.stem_stride,
            attention=config.attention,
            d_model=config.d_model,
            dropout=config.dropout,
            norm=config.norm,
            name="features",
        )(x)
        encoder = keras.Model(picture, PositionalEncoding("2d", name="positions")(x), name="encoder")

        image = keras.Input(shape, dtype="float32", name="image")
        tokens = keras.Input((config.max_length,), dtype="int32", name="tokens")
        memory = keras.layers.Reshape((-1, config.d_model), name="memory")(encoder(image))
        decoder = TransformerDecoder(
            vocab_size=config.vocab_size,
            d_model=config.d_model,
            num_heads=config.num_heads,
            mlp_dim=config.mlp_dim,
            num_layers=config.num_layers,
            max_length=config.max_length,
            dropout=config.dropout,
            name="decoder",
        )
        logits = decoder(tokens, memory)
        return keras.Model({"image": image, "tokens": tokens}, {"logits": logits}, name="caption_attn")
