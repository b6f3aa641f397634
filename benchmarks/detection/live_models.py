"""Silent changes of real weights: edits of the demo's GGUF file, each a file of its own.

Noise and the edited layer change the scales of quantised blocks in place (w -> w * (1 + noise), the
same noise for the 32 or 256 weights of a block), so that nothing but the noise differs: no weight
is quantised again, and the kernels stay the same. `q4_0` dequantises every matrix of the layers
and quantises it to Q4_0; the embedding stays as it is. Needs the package `gguf`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

# Type name -> (bytes a block, offsets of its float16 scales).
SCALES = {"Q8_0": (34, (0,)), "Q5_0": (22, (0,)), "Q4_K": (144, (0, 2)), "Q6_K": (210, (208,))}
EDITS = {
    **{f"noise_2^-{k}": {"noise": 2.0**-k} for k in (10, 8, 6, 4)},
    "one_layer": {"noise": 2.0**-4, "only": "blk.9."},
}


def weights_file(original: Path, name: str) -> Path:
    """The edited copy of `original`, made once beside it."""
    target = original.with_name(f"{original.stem}-{name.replace('^', '')}.gguf")
    if not target.exists():
        fresh = target.with_suffix(".part")
        if name == "weights_q4_0":
            _requantised(original, fresh)
        else:
            shutil.copyfile(original, fresh)
            _scaled(fresh, **EDITS[name])
        fresh.replace(target)
    return target


def _scaled(path: Path, *, noise: float, only: str = "blk.") -> None:
    import gguf

    reader = gguf.GGUFReader(path, "r+")
    rng = np.random.default_rng(7)
    for tensor in reader.tensors:
        if not tensor.name.startswith(only) or tensor.tensor_type.name not in SCALES:
            continue
        size, offsets = SCALES[tensor.tensor_type.name]
        blocks = tensor.data.reshape(-1, size)
        factor = 1.0 + noise * rng.standard_normal(len(blocks))
        for offset in offsets:
            old = np.ascontiguousarray(blocks[:, offset : offset + 2]).view(np.float16)[:, 0]
            # Rounded at random: a factor below float16's step would else vanish.
            wanted = old.astype(np.float64) * factor
            new = wanted.astype(np.float16)
            step = np.spacing(np.abs(new)).astype(np.float64)
            left = (wanted - new.astype(np.float64)) / step
            moved = rng.random(len(blocks)) < np.abs(left)
            new = np.where(moved, new + (np.sign(left) * step).astype(np.float16), new)
            blocks[:, offset : offset + 2] = new.astype(np.float16)[:, None].view(np.uint8)
    reader.data.flush()


def _requantised(original: Path, target: Path) -> None:
    import gguf
    from gguf.quants import dequantize, quantize

    reader: Any = gguf.GGUFReader(original)
    arch = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(target, arch)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(field.name, field.contents(), kind, sub_type=field.types[-1])
        else:
            writer.add_key_value(field.name, field.contents(), kind)
    to = gguf.GGMLQuantizationType.Q4_0
    data = []
    for tensor in reader.tensors:
        kind = tensor.tensor_type
        if tensor.name.startswith("blk.") and kind.name in SCALES:
            data.append((tensor, quantize(dequantize(tensor.data, kind), to), to))
        else:
            data.append((tensor, tensor.data, kind))
    for tensor, values, kind in data:
        writer.add_tensor(tensor.name, values, raw_shape=values.shape, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
