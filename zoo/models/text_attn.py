"""`text_attn`: a Transformer encoder with attention pooling beside a regression over n-grams.

    tokens (B, L)
      |-> some replaced by [MASK] in training -> embeddings + hashed pairs' embeddings -> positions
      |        -> encoder blocks -> norm -> attention pooling -> Dense                                      "deep"
      `-> the n-grams of the training texts, one weight a class each                                         "wide"
    logits (B, C) = the weighted mean of both; in training the deep path's alone

The deep path is the sentence level of the hierarchical attention network (Yang et al. 2016) on a Transformer encoder.
The wide path is a logistic regression over n-grams, scaled by log-count ratios as in Wang and Manning 2012; it is
solved before training (`prepare`), not learned by gradients. On small corpora it holds what a linear model knows; the
deep path adds what order and context say, and their mean errs less than either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.config import BaseConfig, setting
from zoo.registry import Architecture, register

if TYPE_CHECKING:
    import keras

# Fields of stored configurations that no longer exist; they had no effect on a trained model.
_GONE = frozenset(("wide_dropout", "wide_penalty", "path_dropout", "conv_filters", "conv_widths", "conv_dropout"))


@register(
    "text_attn",
    task="text_classification",
    paper="Yang et al. 2016, Hierarchical Attention Networks; Wang and Manning 2012, Baselines and Bigrams",
)
class TextAttention(Architecture):
    """Transformer encoder, attention pooling, and a regression over n-grams."""

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
        wide_ngrams: tuple[int, ...] = setting((1, 2), low=1, high=8)
        """Lengths of the n-grams of the wide path: 1, 2 and so on without a gap; empty for no wide path."""
        wide_rows: int = setting(80_000, low=1, high=10_000_000)
        """Most n-grams of two and more tokens that have weights."""
        wide_strength: float = setting(0.05, low=0.0, high=1e6)
        """Inverse of the L2 penalty on them."""
        wide_share: float = setting(0.6, low=0.0, high=1.0)
        """Weight of the wide path's logits; the deep path has the rest."""
        wide_buckets: int = setting(0, low=0, high=131_071)
        """Rows of a hashed table an n-gram length: only in models stored before the wide path was solved."""
        wide_scale: float = setting(10.0, low=0.0, high=1000.0)
        """Factor on that table."""
        balance: float = setting(0.5, low=0.0, high=1.0)
        """How far rare classes count more in training: 0 not at all, 1 as much in total as frequent ones."""

        def check(self) -> None:
            """Check that the heads fit."""
            if self.d_model % self.num_heads:
                raise self.fail("d_model", f"a multiple of num_heads ({self.num_heads})")
            if self.wide_ngrams != tuple(range(1, len(self.wide_ngrams) + 1)):
                raise self.fail("wide_ngrams", "1, 2, 3 and so on without a gap")
            if len(self.wide_ngrams) > 1 and self.vocab_size * (self.vocab_size + self.wide_rows) >= 2**31:
                raise self.fail("wide_rows", f"below 2^31 / vocab_size - vocab_size (vocab_size is {self.vocab_size})")

        @classmethod
        def from_dict(cls, values: dict[str, Any]) -> TextAttention.Config:
            """Build from `to_dict`'s output.

            Of a model stored before `wide_share` existed the paths have equal weights, and fields that are gone since
            are passed over.
            """
            return super().from_dict({"wide_share": 0.5, **{k: v for k, v in values.items() if k not in _GONE}})

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
            wide_rows=128,
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
        for i in range(config.num_layers):
            block = layers.TransformerEncoderBlock(
                config.d_model, config.num_heads, config.mlp_dim, config.dropout, name=f"block_{i}"
            )
            x = block(x, mask=mask)
        x = layers.LayerNorm(name="norm")(x)
        pooled, _ = layers.AttentionPooling(name="pooling")(x, mask=mask)
        pooled = keras.layers.Dropout(config.pooled_dropout, name="pooled_dropout")(pooled)
        logits = keras.layers.Dense(config.num_classes, dtype="float32", name="deep")(pooled)
        if config.wide_ngrams:
            pool = layers.OpinionPool(config.wide_share, dtype="float32", name="pool")
            logits = pool(logits, _wide(config)(tokens))
        logits = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
        return keras.Model({"tokens": tokens}, {"logits": logits}, name="text_attn")

    @classmethod
    def prepare(cls, model: keras.Model, config: Config, examples: Any) -> None:
        """Solve the wide path for the training examples (`zoo.tasks.text_classification.TextExamples`).

        Of examples that are streamed from shards it is solved for the sample that `sample()` gives.

        Raises:
            MissingExtraError: If scikit-learn is not installed.
        """
        if not config.wide_ngrams or config.wide_buckets:
            return
        from zoo.models._ngram_regression import fit_ngrams

        known = examples.sample()
        table = fit_ngrams(
            known.tokens,
            known.labels,
            known.weights,
            num_classes=config.num_classes,
            vocab_size=config.vocab_size,
            rows=config.wide_rows,
            longest=max(config.wide_ngrams),
            strength=config.wide_strength,
        )
        model.get_layer("wide").assign(*table)


def _wide(config: TextAttention.Config) -> keras.layers.Layer:
    from zoo import layers

    if not config.wide_buckets:
        return layers.NGramClassifier(
            config.num_classes,
            config.vocab_size,
            config.wide_rows,
            max(config.wide_ngrams),
            dtype="float32",
            name="wide",
        )
    return layers.NGramEmbedding(
        config.num_classes,
        config.wide_buckets,
        config.wide_ngrams,
        bag=True,
        scale=config.wide_scale,
        vocab_size=min(config.vocab_size, 131_071),
        initializer="zeros",
        dtype="float32",
        name="wide",
    )
