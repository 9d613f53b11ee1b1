"""Attention layers for Keras 3: one layer a file, `keras.ops` only, graphs of LiteRT built-in operators.

Masks are boolean everywhere and True means "keep". Shapes are batch first. `scores` are attention weights after
softmax.
"""

from __future__ import annotations

if __name__ != "zoo.layers":
    raise ImportError(
        f"this folder was imported as {__name__!r}, but it is the package 'zoo.layers': "
        "install attention-zoo (pip install -e .) and write 'import zoo.layers'"
    )

from zoo.layers.additive_attention import AdditiveAttention
from zoo.layers.attention_pooling import AttentionPooling
from zoo.layers.byte_dropout import ByteDropout
from zoo.layers.cbam import CBAM, ChannelAttention, SpatialAttention
from zoo.layers.cnn_feature_extractor import CNNFeatureExtractor
from zoo.layers.cross_attention import MultiHeadCrossAttention
from zoo.layers.efficientnet_lite import EfficientNetLite
from zoo.layers.inverted_residual import InvertedResidual
from zoo.layers.layer_norm import LayerNorm
from zoo.layers.ngram_classifier import NGramClassifier
from zoo.layers.ngram_embedding import NGramEmbedding
from zoo.layers.opinion_pool import OpinionPool
from zoo.layers.path_head import PathHead
from zoo.layers.positional_encoding import PositionalEncoding
from zoo.layers.residual_block import ResidualBlock
from zoo.layers.revin import RevIN
from zoo.layers.rotary import apply_rotary
from zoo.layers.self_attention import MultiHeadSelfAttention
from zoo.layers.token_dropout import TokenDropout
from zoo.layers.transformer_decoder import TransformerDecoder
from zoo.layers.transformer_decoder_block import TransformerDecoderBlock
from zoo.layers.transformer_encoder_block import TransformerEncoderBlock
from zoo.layers.window_features import WindowFeatures

__all__ = [
    "CBAM",
    "AdditiveAttention",
    "AttentionPooling",
    "ByteDropout",
    "CNNFeatureExtractor",
    "ChannelAttention",
    "EfficientNetLite",
    "InvertedResidual",
    "LayerNorm",
    "MultiHeadCrossAttention",
    "MultiHeadSelfAttention",
    "NGramClassifier",
    "NGramEmbedding",
    "OpinionPool",
    "PathHead",
    "PositionalEncoding",
    "ResidualBlock",
    "RevIN",
    "SpatialAttention",
    "TokenDropout",
    "TransformerDecoder",
    "TransformerDecoderBlock",
    "TransformerEncoderBlock",
    "WindowFeatures",
    "apply_rotary",
]
