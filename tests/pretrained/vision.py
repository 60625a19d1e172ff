"""Tiny folders of image models: families without a head of their own, classifiers, detectors and segmenters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from regraft.pretrained.centernet import CenterNetConfig, register
from regraft.pretrained.folder import quiet

CLASSES = "AutoModelForImageClassification"
BOXES = "AutoModelForObjectDetection"
MASKS = "AutoModelForSemanticSegmentation"
SETS = "AutoModelForUniversalSegmentation"

_VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "image_size": 32, "patch_size": 8}  # fmt: skip
_DINO = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 28,
         "patch_size": 14}  # fmt: skip
_STAGES: dict[str, Any] = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
_RESNET: dict[str, Any] = {
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 16, 32],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}
_HEADS = {"num_attention_heads": [1, 1, 2, 2]}
_SWIN: dict[str, Any] = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2,
                         "image_size": 64, "patch_size": 4}  # fmt: skip
_HGNET: dict[str, Any] = {"stage_in_channels": [8, 16, 16, 32], "stage_mid_channels": [4, 4, 4, 4],
          "stage_out_channels": [16, 16, 32, 32], "stage_num_blocks": [1, 1, 1, 1],
          "stage_numb_of_layers": [1, 1, 1, 1], "embedding_size": 8, "stem_channels": [3, 8, 8],
          "hidden_sizes": [16, 16, 32, 32]}  # fmt: skip

# Families on which heads are grafted: their config, and the strides of the maps that a head is given.
BACKBONES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "vit": ("ViTConfig", _VIT, (4, 8, 16, 32)),
    "deit": ("DeiTConfig", _VIT, (4, 8, 16, 32)),
    "beit": ("BeitConfig", {**_VIT, "num_hidden_layers": 4, "out_indices": [1, 2, 3, 4]}, (4, 8, 16, 32)),
    "dinov2": ("Dinov2Config", _DINO, (4, 8, 16, 32)),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", _DINO, (4, 8, 16, 32)),
    "dinov3_vit": ("DINOv3ViTConfig", {**_VIT, "patch_size": 16, "num_register_tokens": 4}, (4, 8, 16, 32)),
    "swin": ("SwinConfig", _SWIN, (4, 8, 16, 32)),
    "convnext": ("ConvNextConfig", {**_STAGES, "num_stages": 4, "image_size": 64}, (4, 8, 16, 32)),
    "resnet": ("ResNetConfig", _RESNET, (4, 8, 16, 32)),
    "regnet": ("RegNetConfig", {**_RESNET, "groups_width": 8, "layer_type": "y"}, (4, 8, 16, 32)),
    "efficientnet": (
        "EfficientNetConfig",
        {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
        (4, 8, 16, 32),
    ),
    "mobilenet_v2": ("MobileNetV2Config", {"image_size": 64, "depth_multiplier": 0.25}, (4, 8, 16, 32)),
    "segformer": ("SegformerConfig", {**_STAGES, **_HEADS, "decoder_hidden_size": 16}, (4, 8, 16, 32)),
    "pvt": ("PvtConfig", {**_STAGES, **_HEADS, "image_size": 64}, (4, 8, 16, 32)),
    "hiera": ("HieraConfig", {"image_size": [64, 64], "embed_dim": 8, "depths": [1] * 4,
                              "num_heads": [1, 1, 2, 2]}, (4, 8, 16, 32)),
    "levit": ("LevitConfig", {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [1, 1, 2],
                              "depths": [1, 1, 1], "key_dim": [8, 8, 8]}, (16, 32, 64)),
    "hgnet_v2": ("HGNetV2Config", _HGNET, (4, 8, 16, 32)),
}  # fmt: skip


def _detr() -> Any:
    backbone = transformers.ResNetConfig(**_RESNET, out_features=["stage4"])
    return transformers.DetrConfig(backbone_config=backbone, encoder_layers=1, **_TRANSFORMER)


_TRANSFORMER: dict[str, Any] = {"d_model": 16, "decoder_layers": 2, "encoder_attention_heads": 2,
                                "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
                                "num_queries": 10}  # fmt: skip
_REAL_TIME = {**_TRANSFORMER, "encoder_hidden_dim": 16, "decoder_in_channels": [16, 16, 16], "num_denoising": 4}
_UPPER = ["stage2", "stage3", "stage4"]


def _rt_detr() -> Any:
    backbone = transformers.RTDetrResNetConfig(**_RESNET, out_features=_UPPER)
    return transformers.RTDetrConfig(backbone_config=backbone, encoder_in_channels=[16, 16, 32], **_REAL_TIME)


def _d_fine() -> Any:
    backbone = transformers.HGNetV2Config(**_HGNET, out_features=_UPPER)
    return transformers.DFineConfig(backbone_config=backbone, encoder_in_channels=[16, 32, 32], **_REAL_TIME)


def _yolos() -> Any:
    return transformers.YolosConfig(**{**_VIT, "image_size": [32, 32], "num_detection_tokens": 5})


def _segformer() -> Any:
    return transformers.SegformerConfig(**BACKBONES["segformer"][1])


def _upernet() -> Any:
    backbone = transformers.ConvNextConfig(**_STAGES, out_features=["stage1", *_UPPER])
    return transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=16, pool_scales=[1, 2], auxiliary_channels=8, auxiliary_in_channels=16
    )


def _mask2former() -> Any:
    backbone = transformers.SwinConfig(**_SWIN, out_features=["stage1", *_UPPER])
    return transformers.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=16, num_queries=5,
    )  # fmt: skip


def _centernet() -> Any:
    rows = [(3, 0, 8, 0, "relu", 1), (3, 16, 8, 0, "relu", 2), (3, 16, 8, 4, "relu", 2), (3, 16, 8, 4, "relu", 2),
            (3, 16, 8, 4, "hard_swish", 2)]  # fmt: skip
    names = ("kernel", "expansion", "channels", "squeeze", "activation", "stride")
    blocks = [dict(zip(names, row, strict=True)) for row in rows]
    return CenterNetConfig(
        image_size=64, stem_channels=8, blocks=blocks, taps=(1, 2, 3), top_channels=16, lateral_expansions=(8, 8, 0),
        lateral_channels=(8, 8, 8), neck_channels=(8, 8, 8), gate_channels=4,
    )  # fmt: skip


def _vit() -> Any:
    return transformers.ViTConfig(**_VIT)


# Families with heads of their own: their config, the class they are saved with, and the one a task asks for.
OWN: dict[str, tuple[Any, str, str]] = {
    "detr": (_detr, BOXES, BOXES),
    "rt_detr": (_rt_detr, BOXES, BOXES),
    "d_fine": (_d_fine, BOXES, BOXES),
    "yolos": (_yolos, BOXES, BOXES),
    "segformer": (_segformer, MASKS, MASKS),
    "upernet": (_upernet, MASKS, MASKS),
    "mask2former": (_mask2former, SETS, MASKS),
    "centernet": (_centernet, BOXES, BOXES),
    "vit": (_vit, CLASSES, CLASSES),
}
# Where the rows of the labels are, and how many there are beyond the labels.
CLASSIFIERS = {
    "detr": ("class_labels_classifier.weight", 1),
    "rt_detr": ("model.decoder.class_embed.1.weight", 0),
    "d_fine": ("model.decoder.class_embed.1.weight", 0),
    "yolos": ("class_labels_classifier.layers.2.weight", 1),
    "segformer": ("decode_head.classifier.weight", 0),
    "upernet": ("decode_head.classifier.weight", 0),
    "mask2former": ("class_predictor.weight", 1),
    "centernet": ("heatmap.pointwise.weight", 0),
    "vit": ("classifier.weight", 0),
}


def backbone_folder(folder: Path, family: str, *, processor: bool = True) -> Path:
    """A model without a head."""
    name, sizes, _ = BACKBONES[family]
    return written(folder, getattr(transformers, name)(**sizes), "AutoModel", processor=processor)


def own_folder(folder: Path, family: str, labels: Sequence[str]) -> Path:
    """A detector, segmenter or classifier of these labels."""
    settings = OWN[family][0]()
    settings.id2label = dict(enumerate(labels))
    settings.label2id = {name: place for place, name in enumerate(labels)}
    return written(folder, settings, OWN[family][1])


def written(folder: Path, settings: Any, auto_class: str, *, processor: bool = True) -> Path:
    """A folder as ``save_pretrained`` writes it, with weights from a seed; batch norms have seen something."""
    register()
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, auto_class).from_config(settings)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn_like(buffer) * 0.1)
        model.save_pretrained(folder)
        if processor:
            size = {"height": side(settings), "width": side(settings)}
            transformers.ViTImageProcessorPil(size=size).save_pretrained(folder)
    return folder


def side(settings: Any) -> int:
    """Pixels of an image for a config."""
    size = getattr(settings, "image_size", None) or 64
    return int(size[0] if isinstance(size, list | tuple) else size) if settings.model_type != "upernet" else 64


def labels_of(names: Sequence[str]) -> dict[str, Any]:
    """What a task with these labels sets in a config."""
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: place for place, name in enumerate(names)},
    }
