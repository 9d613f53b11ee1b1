"""`text_attn`: a Transformer encoder with attention pooling beside a linear path over hashed n-grams.

    tokens (B, L), some replaced by [MASK] in training
      |-> embeddings + n-gram embeddings -> positions -> encoder blocks -> norm -> attention pooling -> Dense   "deep"
      `-> bag of hashed n-grams, one weight a class                                                             "wide"
    logits (B, C) = (deep + wide) / 2; in training at times one of them alone

The deep path is the sentence level of the hierarchical attention network (Yang et al. 2016) on a Transformer encoder;
the wide path is fastText's bag of hashed n-grams (Joulin et al. 2017), joined as in Cheng et al. 2016. On small corpora
the wide path holds what a linear model knows and the deep path adds what order and context say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.config import BaseConfig, setting
from zoo.registry import Architecture, register

if TYPE_CHECKING:
    import keras


@register(
    "text_attn",
    task="text_classification",
    paper="Yang et al. 2016, Hierarchical Attention Networks; Joulin et al. 2017; Cheng et al. 2016, Wide & Deep",
)
class TextAttention(Architecture):
    """Transformer encoder, attention pooling, and a linear path over n-grams."""

    @dataclass(frozen=True)
    class Config(BaseConfig):
        """Size and regularisation of the model."""

        vocab_size: int = setting(6000, low=8, high=1_000_000)
        """Number of tokens; when fitting, the largest number."""
        num_classes: int = setting(2, low=2, high=10_000)
        """Number of classes; filled from the data."""
        max_length: int = setting(64, low=1, high=4096)
        """Number of tokens a text is cut or padded to."""
        head_fraction: float = setting(1.0, low=0.0, high=1.0)
        """Part of a text that is too long taken from its start; the rest is from its end."""
        embedding_dim: int = setting(64, low=1, high=4096)
        """Width of the token embeddings; projected to d_model if different."""
        d_model: int = setting(64, low=2, high=4096)
        """Width of the encoder."""
        num_heads: int = setting(4, low=1, high=64)
        """Attention heads; must divide d_model."""
        num_layers: int = setting(2, low=0, high=48)
        """Encoder blocks."""
        mlp_dim: int = setting(128, low=1, high=16384)
        """Width of the blocks' hidden layer."""
        dropout: float = setting(0.1, low=0.0, high=0.9)
        """Dropout in the blocks."""
        embedding_dropout: float = setting(0.2, low=0.0, high=0.9)
        """Dropout of the embedded tokens."""
        pooled_dropout: float = setting(0.3, low=0.0, high=0.9)
        """Dropout before the last layer."""
        token_dropout: float = setting(0.15, low=0.0, high=0.9)
        """Probability of replacing a token by [MASK] in training."""
        deep_ngrams: tuple[int, ...] = setting((2,), low=2, high=8)
        """Lengths of the n-grams whose embeddings are added to the tokens'; empty for none."""
        deep_buckets: int = setting(4096, low=1, high=131_071)
        """Rows of the table of each of them."""
        wide_ngrams: tuple[int, ...] = setting((1, 2, 3), low=1, high=8)
        """Lengths of the n-grams of the linear path; empty for no linear path."""
        wide_buckets: int = setting(65_536, low=1, high=131_071)
        """Rows of the table of each of them; single tokens have vocab_size rows."""
        wide_dropout: float = setting(0.1, low=0.0, high=0.9)
        """Probability of leaving an n-gram out of the linear path in training."""
        wide_scale: float = setting(10.0, low=0.0, high=1000.0)
        """Factor on the linear path, so that frequent n-grams learn fast enough."""
        wide_penalty: float = setting(2e-4, low=0.0, high=10.0)
        """L2 penalty on the linear path's weights: what keeps rare n-grams small."""
        conv_filters: int = setting(0, low=0, high=4096)
        """Filters of each width of the convolutional path; 0 for no convolutional path."""
        conv_widths: tuple[int, ...] = setting((2, 3, 4), low=1, high=16)
        """Numbers of tokens its filters see."""
        conv_dropout: float = setting(0.5, low=0.0, high=0.9)
        """Dropout before its last layer."""
        path_dropout: float = setting(0.5, low=0.0, high=1.0)
        """Probability that an example trains one of the two paths alone."""
        balance: float = setting(0.5, low=0.0, high=1.0)
        """How far rare classes count more in training: 0 not at all, 1 as much in total as frequent ones."""

        def check(self) -> None:
            """Check that the heads fit."""
            if self.d_model % self.num_heads:
                raise self.fail("d_model", f"a multiple of num_heads ({self.num_heads})")

    @classmethod
    def tiny(cls) -> Config:
        """Return a configuration small enough for a test."""
        return cls.Config(
            vocab_size=60,
            num_classes=3,
            max_length=24,
            embedding_dim=8,
            d_model=16,
            num_heads=2,
            num_layers=1,
            mlp_dim=24,
            deep_buckets=64,
            wide_buckets=128,
        )

    @classmethod
    def build(cls, config: Config) -> keras.Model:
        """Return the model: `tokens` int32 (B, L) -> `logits` float32 (B, C)."""
        import keras
        from keras import ops

        from zoo import layers
        from zoo.preprocess.text import MASK

        tokens = keras.Input((config.max_length,), dtype="int32", name="tokens")
        mask = ops.not_equal(tokens, 0)
        seen = layers.TokenDropout(config.token_dropout, replacement=MASK, name="token_dropout")(tokens)

        x = keras.layers.Embedding(config.vocab_size, config.embedding_dim, name="embedding")(seen)
        if config.deep_ngrams:
            ngrams = layers.NGramEmbedding(config.embedding_dim, config.deep_buckets, config.deep_ngrams, name="ngrams")
            x = keras.layers.Add(name="embedded")([x, ngrams(seen)])
        if config.embedding_dim != config.d_model:
            x = keras.layers.Dense(config.d_model, use_bias=False, name="projection")(x)
        x = layers.PositionalEncoding("learned", name="positions")(x)
        x = keras.layers.Dropout(config.embedding_dropout, name="embedding_dropout")(x)
        embedded = x
        for i in range(config.num_layers):
            block = layers.TransformerEncoderBlock(
                config.d_model, config.num_heads, config.mlp_dim, config.dropout, name=f"block_{i}"
            )
            x = block(x, mask=mask)
        x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
        pooled, _ = layers.AttentionPooling(name="pooling")(x, mask=mask)
        pooled = keras.layers.Dropout(config.pooled_dropout, name="pooled_dropout")(pooled)
        paths = [keras.layers.Dense(config.num_classes, dtype="float32", name="deep")(pooled)]
        if config.conv_filters and config.conv_widths:
            # Padding is set to zero, so that a filter past the end sees zeros as before the start.
            shown = embedded * ops.expand_dims(ops.cast(mask, embedded.dtype), -1)
            features = []
            for width in config.conv_widths:
                conv = keras.layers.Conv1D(
                    config.conv_filters, width, padding="same", activation="relu", name=f"conv_{width}"
                )
                features.append(ops.max(conv(shown), axis=1))
            found = keras.layers.Concatenate(name="conv_features")(features) if len(features) > 1 else features[0]
            found = keras.layers.Dropout(config.conv_dropout, name="conv_dropout")(found)
            paths.append(keras.layers.Dense(config.num_classes, dtype="float32", name="conv")(found))
        if config.wide_ngrams:
            wide = layers.NGramEmbedding(
                config.num_classes,
                config.wide_buckets,
                config.wide_ngrams,
                bag=True,
                scale=config.wide_scale,
                penalty=config.wide_penalty,
                vocab_size=min(config.vocab_size, 131_071),
                dropout=config.wide_dropout,
                initializer="zeros",
                dtype="float32",
                name="wide",
            )
            paths.append(wide(seen))
        logits = layers.PathDropout(config.path_dropout, dtype="float32", name="path_dropout")(ops.stack(paths, axis=1))
        logits = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
        return keras.Model({"tokens": tokens}, {"logits": logits}, name="text_attn")
