"""Picture to caption: residual convolutions with attention, 2-D positions, Transformer decoder.

"Show, Attend and Tell" (Xu et al. 2015, arXiv:1502.03044) with its recurrent decoder exchanged for the Transformer's
(Vaswani et al. 2017, arXiv:1706.03762). Symbols of the first paper: the annotation vectors `a_i` are the cells of the
encoder's map, the attention weights `alpha_ti` are the decoder's scores over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.config import BaseConfig, setting
from zoo.registry import Architecture, register

if TYPE_CHECKING:
    import keras

_SIDES = {"cnn": 72, "efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
ENCODERS = tuple(_SIDES)


class Parts(NamedTuple):
    """A captioner cut in two.

    Attributes:
        extract: The part that does not learn: `image` (B, H, W, 3), 0 to 255 -> features (B, h, w, C); float32. None
            where all learns.
        learn: The part that does, a captioner of `features` in place of `image`: `features` (B, h, w, C) and `tokens`
            (B, K, T), K captions of each picture -> `logits` (B, K, T, V). Its layers are those of the whole model.
            Where all learns it has the input `image`.
    """

    extract: keras.Model | None
    learn: keras.Model


@register(
    "caption_attn",
    task="captioning",
    paper="Xu et al. 2015, Show, Attend and Tell (arXiv:1502.03044); Vaswani et al. 2017 (arXiv:1706.03762)",
)
class CaptionAttn(Architecture):
    """A small captioner that looks at the cells of a feature map.

    1. `image` (B, H, W, 3), 0 to 255, is scaled to -1 to 1.
    2. `encoder`: a network that makes a map, then sine positions of row and column, (B, h, w, d_model). The network
       is `CNNFeatureExtractor`, learned from nothing; or a pretrained EfficientNet-Lite, whose map is projected and
       goes through channel and spatial attention (Woo et al. 2018, arXiv:1807.06521). Of a pretrained one the stages
       before `finetune_from` never learn, and the others in the stage of fine-tuning only.
    3. `decoder`: `TransformerDecoder` over `tokens` (B, T), which begin with the start token; `logits` (B, T, V) for
       the token that follows each. Token 0 is padding.
    """

    @dataclass(frozen=True)
    class Config(BaseConfig):
        """Configuration of `caption_attn`; training lowers `vocab_size` and `max_length` to what the captions need."""

        encoder: str = setting("cnn", choices=ENCODERS)
        """What reads the picture: convolutions learned from nothing, or a pretrained network."""
        image_size: int | None = setting(None, low=16, high=1024)
        """Height and width of the picture in pixels; what suits the encoder when not given (72 for cnn)."""
        vocabulary: str = setting("bpe", choices=("bpe", "words", "characters"))
        """Whether tokens are byte pairs, whole words or characters (for Chinese)."""
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
        """Channels of the stages of the encoder cnn."""
        blocks: tuple[int, ...] = setting((1, 1, 1), low=1, high=64)
        """Residual blocks of the stages of the encoder cnn."""
        strides: tuple[int, ...] = setting((2, 2, 1), low=1, high=4)
        """Strides of the stages of the encoder cnn."""
        stem_stride: int = setting(2, low=1, high=4)
        """Stride of the first convolution of the encoder cnn."""
        attention: str | None = setting("cbam", choices=("cbam", "se"))
        """Attention to channels and places (CBAM), to channels (squeeze-and-excitation), or none: inside the blocks of
        the encoder cnn, after a pretrained one."""
        finetune_from: int = setting(6, low=1, high=8)
        """First of the stages 0 to 8 of a pretrained encoder that the stage of fine-tuning trains."""
        norm: str = setting("batch", choices=("batch", "group"))
        """Normalisation in the encoder cnn: of the batch, or of groups of channels, for small and cut batches."""
        dropout: float = setting(0.1, low=0.0, high=0.9)
        """Share of values dropped in training."""
        augment: float = setting(0.5, low=0.0, high=1.0)
        """Strength of the shifts, scaling and brightness changes of training pictures, encoder cnn; 0 means none."""
        views: str = setting("none", choices=("none", "mirror", "all"))
        """Variants of training pictures for a pretrained encoder, where no caption speaks of a side: as they are,
        mirrored too, or mirrored and turned by quarters (pictures from the air)."""

        @property
        def side(self) -> int:
            """Height and width of the picture in pixels."""
            return self.image_size or _SIDES[self.encoder]

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

        from zoo.layers.byte_dropout import ByteDropout
        from zoo.layers.cbam import ChannelAttention, SpatialAttention
        from zoo.layers.cnn_feature_extractor import CNNFeatureExtractor
        from zoo.layers.layer_norm import LayerNorm
        from zoo.layers.positional_encoding import PositionalEncoding
        from zoo.layers.transformer_decoder import TransformerDecoder

        shape = (config.side, config.side, 3)
        picture = keras.Input(shape, dtype="float32", name="image")
        if config.encoder == "cnn":
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
        else:
            x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(picture)
            for layer in _pretrained(config):
                x = layer(x)
            x = keras.layers.Dense(config.d_model, name="projection")(x)
            if config.attention is not None:
                x = ChannelAttention(16, use_max=config.attention == "cbam", name="channel_attention")(x)
            if config.attention == "cbam":
                x = SpatialAttention(name="spatial_attention")(x)
            x = LayerNorm(name="features_norm")(x)
            x = ByteDropout(config.dropout, name="features_dropout")(x)
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

    @classmethod
    def load_parts(cls, model: keras.Model, config: CaptionAttn.Config) -> None:
        """Load the published weights of a pretrained encoder.

        Raises:
            MissingExtraError: If the package that carries them is not installed.
            ModelFileError: If they are not what they should be.
        """
        if config.encoder == "cnn":
            return
        from zoo.pretrained.efficientnet_lite import load_efficientnet_lite

        encoder = model.get_layer("encoder")
        load_efficientnet_lite([encoder.get_layer("frozen"), encoder.get_layer("tuned")], config.encoder)

    @classmethod
    def cut(cls, model: keras.Model, config: CaptionAttn.Config, *, captions: int, finetune: bool = False) -> Parts:
        """Cut a model where learning begins.

        Args:
            model: The whole model.
            config: Its configuration.
            captions: K, captions of each picture.
            finetune: Whether the last stages of a pretrained encoder learn too.
        """
        import keras
        from keras import ops

        from zoo.models._frozen import frozen_copy

        encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
        extract = None
        if config.encoder == "cnn":
            pictures = keras.Input(encoder.input.shape[1:], dtype="float32", name="image")
            cells = encoder(pictures)
            rest = keras.Model(pictures, cells, name="encoder")
        else:
            layers = encoder.layers[1:]
            first = [layer.name for layer in layers].index("tuned") + (0 if finetune else 1)
            encoder.get_layer("tuned").trainable = finetune
            extract = frozen_copy(layers[:first], encoder.input.shape[1:])
            pictures = keras.Input(extract.output.shape[1:], dtype="float16", name="features")
            cells = pictures
            for layer in layers[first:]:
                cells = layer(cells)
            rest = keras.Model(pictures, cells, name="encoder")
        tokens = keras.Input((captions, config.max_length), dtype="int32", name="tokens")
        memory = ops.reshape(rest(pictures), (-1, cells.shape[1] * cells.shape[2], config.d_model))
        logits = decoder(ops.reshape(tokens, (-1, config.max_length)), ops.repeat(memory, captions, axis=0))
        logits = ops.reshape(logits, (-1, captions, config.max_length, config.vocab_size))
        inputs = {pictures.name: pictures, "tokens": tokens}
        return Parts(extract, keras.Model(inputs, {"logits": logits}, name="learn"))


def _pretrained(config: Any) -> list[Any]:
    """Return the two parts of a pretrained encoder; neither learns unless it is told to."""
    from zoo.layers.efficientnet_lite import EfficientNetLite

    variant = config.encoder.removeprefix("efficientnet_")
    first = config.finetune_from
    return [
        EfficientNetLite(variant, last=first - 1, name="frozen", trainable=False),
        EfficientNetLite(variant, first=first, name="tuned", trainable=False),
    ]
