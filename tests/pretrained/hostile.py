"""Model folders that try to run code, or to have something else opened. Each payload would write the canary."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

CANARY = Path(os.environ.get("TMPDIR", "/tmp"), f"regraft-canary-{os.getpid()}")


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"import pathlib; pathlib.Path({str(CANARY)!r}).touch()",))


def pickled(protocol: int) -> bytes:
    """A pickle that writes the canary when it is opened."""
    return pickle.dumps(_Payload(), protocol=protocol)


def torch_zip() -> bytes:
    """The same as torch.save packs it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(2))
        archive.writestr("archive/version", "3\n")
    return packed.getvalue()


def _flagged_zip() -> bytes:
    """With the bit for encryption set in the headers, which some scanners give up on and torch does not look at."""
    packed = bytearray(torch_zip())
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


def _tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("model.pkl")
        info.size = len(pickled(2))
        archive.addfile(info, io.BytesIO(pickled(2)))
    return packed.getvalue()


def _broken_off(protocol: int) -> bytes:
    """Runs, and only then turns out to be damaged: scanners that need a whole pickle see nothing."""
    return pickled(protocol).rstrip(b".") + b"\xff"


_SEVEN_Z = base64.b64decode("N3q8ryccAAQAAAAAAAAAAAAAAAAAAAAAAAAAAI2bLss=")
INST = f'(S"import pathlib; pathlib.Path({str(CANARY)!r}).touch()"\nibuiltins\nexec\n.'

# What, the file, and its bytes.
FILES: list[tuple[str, str, bytes]] = [
    *((f"pickle protocol {p} as usual", "pytorch_model.bin", pickled(p)) for p in range(6)),
    *((f"pickle protocol {p} as data", "extra.dat", pickled(p)) for p in range(6)),
    *((f"pickle protocol {p} without an ending", "weights", pickled(p)) for p in (0, 2, 4)),
    *((f"broken pickle protocol {p}", "extra.txt", _broken_off(p)) for p in (0, 1, 2, 4)),
    ("pickle with INST", "extra.txt", INST.encode()),
    ("adapter weights", "adapter_model.bin", pickled(2)),
    ("optimizer", "optimizer.pt", torch_zip()),
    ("scheduler", "scheduler.pt", pickled(2)),
    ("random state", "rng_state.pth", torch_zip()),
    ("training arguments", "training_args.bin", torch_zip()),
    ("shard", "pytorch_model-00001-of-00002.bin", torch_zip()),
    ("capital letters", "PYTORCH_MODEL.BIN", torch_zip()),
    ("checkpoint", "model.ckpt", torch_zip()),
    ("joblib", "model.joblib", pickled(4)),
    ("dill", "model.dill", pickled(4)),
    ("pkl", "tokenizer.pkl", pickled(3)),
    ("pickle", "vocab.pickle", pickled(3)),
    ("numpy of objects", "voice.npy", b"\x93NUMPY\x01\x00" + pickled(2)),
    ("numpy archive", "voices.npz", torch_zip()),
    ("a folder below", "checkpoint-100/optimizer.pt", torch_zip()),
    ("two folders below", "a/b/pytorch_model.bin", pickled(2)),
    ("hidden", ".cache/model.bin", pickled(2)),
    ("pickle called safetensors", "model.safetensors", pickled(2)),
    ("pickle called a second safetensors", "model-00002.safetensors", pickled(4)),
    ("pickle called JSON", "special_tokens_map.json", pickled(2)),
    ("pickle called README", "README.md", pickled(4)),
    ("pickle called vocabulary", "vocab.txt", pickled(0)),
    ("zip called safetensors", "model.safetensors", torch_zip()),
    ("zip called text", "merges.txt", torch_zip()),
    ("zip with the flag of encryption", "extra.dat", _flagged_zip()),
    ("zip behind other bytes", "extra.dat", b"harmless " * 100 + torch_zip()),
    ("zip with a comment", "extra.dat", torch_zip()[:-2] + b"\x09\x00harmless."),
    ("7z", "extra.dat", _SEVEN_Z),
    ("gzip", "model.safetensors.gz", gzip.compress(pickled(2))),
    ("bzip2", "extra.dat", bz2.compress(pickled(2))),
    ("xz", "extra.dat", lzma.compress(pickled(2))),
    ("zstandard", "extra.dat", b"\x28\xb5\x2f\xfd" + bytes(20)),
    ("rar", "extra.dat", b"Rar!\x1a\x07\x01\x00" + bytes(20)),
    ("tar", "extra.dat", _tar()),
    ("TorchScript", "traced_model.pt", torch_zip()),
    ("exported program", "model.pt2", torch_zip()),
]

_CODE = "evil--modeling.Model"

# What, the file, and what is put into its JSON.
SETTINGS: list[tuple[str, str, dict[str, Any]]] = [
    ("auto_map", "config.json", {"auto_map": {"AutoConfig": _CODE, "AutoModel": _CODE}}),
    ("auto_map of this folder", "config.json", {"auto_map": {"AutoModel": "modeling.Model"}}),
    ("auto_map that is a text", "config.json", {"auto_map": "modeling.Model"}),
    ("auto_map that is empty", "config.json", {"auto_map": {}}),
    ("auto_map in a part", "config.json", {"text_config": {"auto_map": {"AutoModel": _CODE}}}),
    ("auto_map deep in lists", "config.json", {"a": [{"b": [[{"c": {"auto_map": {"AutoModel": _CODE}}}]]}]}),
    ("auto_map of a tokenizer", "tokenizer_config.json", {"auto_map": {"AutoTokenizer": [_CODE, None]}}),
    ("auto_map of a processor", "processor_config.json", {"auto_map": {"AutoProcessor": _CODE}}),
    ("auto_map of a preprocessor", "preprocessor_config.json", {"auto_map": {"AutoImageProcessor": _CODE}}),
    ("auto_map of a generation", "generation_config.json", {"auto_map": {"GenerationConfig": _CODE}}),
    ("auto_map a folder below", "text_encoder/config.json", {"auto_map": {"AutoModel": _CODE}}),
    ("trust_remote_code", "config.json", {"trust_remote_code": True}),
    ("trust_remote_code as text", "config.json", {"trust_remote_code": "yes"}),
    ("trust_remote_code of a tokenizer", "tokenizer_config.json", {"trust_remote_code": True}),
    ("custom pipelines", "config.json", {"custom_pipelines": {"x": {"impl": "evil.Pipeline"}}}),
    ("custom generate", "generation_config.json", {"custom_generate": "evil/generate"}),
    ("kernels", "config.json", {"kernels": {"RMSNorm": "evil/kernel"}}),
    ("kernel_config", "config.json", {"kernel_config": {"RMSNorm": "evil/kernel:Norm"}}),
    ("use_kernels", "config.json", {"use_kernels": True}),
    ("allow_all_kernels", "config.json", {"allow_all_kernels": True}),
    ("attention kernel of the hub", "config.json", {"_attn_implementation": "evil/flash-attn"}),
    ("attention kernel with a function", "config.json", {"_attn_implementation": "evil/flash-attn@main:forward"}),
    ("attention kernel, paged", "config.json", {"_attn_implementation": "paged|evil/flash-attn"}),
    ("attention kernel, public key", "config.json", {"attn_implementation": "evil/flash-attn"}),
    ("attention kernel of a part", "config.json", {"attn_implementation": {"text": "sdpa", "vision": "evil/x"}}),
    ("attention kernel that is a list", "config.json", {"attn_implementation": ["evil/x"]}),
    ("attention kernel, internal key", "config.json", {"_attn_implementation_internal": "evil/flash-attn"}),
    ("attention kernel in a part", "config.json", {"text_config": {"_attn_implementation_internal": "evil/x"}}),
    ("experts kernel", "config.json", {"_experts_implementation": "evil/experts"}),
    ("experts kernel, internal key", "config.json", {"_experts_implementation_internal": "evil/experts"}),
    ("shards outside", "model.safetensors.index.json", {"metadata": {}, "weight_map": {"w": "../evil.safetensors"}}),
    ("shards anywhere", "model.safetensors.index.json", {"metadata": {}, "weight_map": {"w": "/tmp/e.safetensors"}}),
    ("shards that are pickles", "model.safetensors.index.json", {"metadata": {}, "weight_map": {"w": "evil.bin"}}),
    ("shards that are no names", "model.safetensors.index.json", {"metadata": {}, "weight_map": {"w": {"a": 1}}}),
    ("adapter of another model", "adapter_config.json", {"base_model_name_or_path": "../evil", "peft_type": "LORA"}),
]


def _file(name: str, content: bytes) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return spoil


def _setting(name: str, values: dict[str, Any]) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        old = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**old, **values}))
        (folder / "modeling.py").write_text(f"open({str(CANARY)!r}, 'w').write('ran')\nclass Model: pass\n")
        return path

    return spoil


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "added_tokens.json")
    return folder / "added_tokens.json"


def _linked(folder: Path) -> Path:
    """A link to a pickle elsewhere, under a harmless name."""
    (folder.parent / "elsewhere").write_bytes(pickled(2))
    (folder / "notes.txt").symlink_to(folder.parent / "elsewhere")
    return folder / "notes.txt"


HOSTILE: list[tuple[str, Callable[[Path], Path]]] = [
    *((f"{what}: {name}", _file(name, content)) for what, name, content in FILES),
    *((f"{what}: {name}", _setting(name, values)) for what, name, values in SETTINGS),
    ("a pipe instead of a file", _pipe),
    ("a link to a pickle", _linked),
]
