"""What the kernels that are to be fast are made of in the end: instructions of the cubins, by NVIDIA's disassembler."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

import pytest

from dlcore.runtime.cuda_table import cuda_table

WHEEL = Path(sysconfig.get_path("platlib")) / "nvidia" / "cu13" / "bin" / "nvdisasm"
FORMS = ("matmul_nn", "matmul_nt", "matmul_tn", "dense_forward")
BF16 = [f"{form}_bf16" for form in FORMS] + ["matmul_tn_parts_bf16"]
FLOATS = ["matmul_nn", "matmul_nt", "matmul_tn_whole", "matmul_tn_parts", "dense_forward"] + [f"{form}_middle" for form in FORMS]
SMALL = [f"{form}_small" for form in FORMS]
PANELS = ["multiply_bf16_nn", "multiply_bf16_nt", "multiply_bf16_tn", "multiply_bf16_parts", "multiply_bf16_dense"]
SPLIT = ["multiply_tf32_nn", "multiply_tf32_nt", "multiply_tf32_tn", "multiply_tf32_parts", "multiply_tf32_dense"]
CONVOLUTIONS = [f"conv2d_{form}panels" for form in ("", "forward_", "data_", "weight_")]
SPLIT_CONVOLUTIONS = [f"conv2d_{form}tf32" for form in ("", "forward_", "data_", "weight_")]
ATTENTION = [f"{name}_{W}" for W in (64, 128) for name in (
    "attention_forward", "attention_queries", "attention_keys_values", "packed_attention_gradient")]  # fmt: skip
VECTORS = ["adam", "layernorm_forward", "layernorm_dx", "cross_entropy_forward", "cross_entropy_backward", "round_to_bf16", "add",
           "round_to_blocks", "cross_entropy_forward_long", "cross_entropy_backward_long", "gelu_tanh_gradient", "embedding_pieces",
           "embedding_rows", "column_blocks", "layernorm_weight_parts", "round_heads_64", "attention_delta_64"]
READ_ONLY = ["cross_entropy_forward", "cross_entropy_forward_long", "column_blocks", "layernorm_weight_parts"]


@cache
def counts(name: str, arch: str) -> dict[str, int]:
    """How often the code of a kernel has an instruction, by its whole name."""
    program = str(WHEEL) if WHEEL.exists() else shutil.which("nvdisasm")
    assert program, "nvdisasm is not installed: pip install '.[cuda-build]'"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cuda_table().cubin(name, "f32", arch))
        file.flush()
        text = subprocess.run([program, "-c", file.name], capture_output=True, text=True, check=True).stdout
    found: dict[str, int] = {}
    for word in re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ )?\s*([A-Z][\w.]*)", text, re.M):
        found[word] = found.get(word, 0) + 1
    return found


def some(found: dict[str, int], *parts: str) -> int:
    """How many instructions have these parts, in order, in their names."""
    return sum(n for word, n in found.items() if re.match(".*".join(map(re.escape, parts)), word))


ARCHES = pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])


@pytest.mark.parametrize("name, arch", [(n, a) for n in PANELS + CONVOLUTIONS + ATTENTION for a in ("sm_80", "sm_90a")
                                         if a == "sm_80" or n not in PANELS + ATTENTION])  # fmt: skip
def test_products_are_on_tensor_cores(name, arch):
    """Two products and more for each matrix that is loaded; nothing in local memory; few products one by one."""
    found = counts(name, arch)
    products = some(found, "HMMA.16816.F32.BF16")
    assert products >= 32 and some(found, "LDSM.16.M") * 1.5 <= products
    assert some(found, "LDL") == some(found, "STL") == 0


@ARCHES
@pytest.mark.parametrize("name, multiply, products", [
    *[(name, "FFMA", 16 * 4 * 8) for name in FLOATS], *[(name, "FFMA", 16 * 2 * 4) for name in SMALL],
    *[(name, "HMMA.16816.F32.BF16", 2 * 4) for name in BF16]])  # fmt: skip
def test_small_products(name, multiply, products, arch):
    """The products of a warp's slice, 16 of K, spelt out; operands copied past the registers; nothing in local memory."""
    found = counts(name, arch)
    assert some(found, multiply) >= products and some(found, "LDGSTS", "128") >= 8
    assert some(found, "LDL") == some(found, "STL") == 0


@pytest.mark.parametrize("name", PANELS)
def test_products_of_warpgroups(name):
    """Four products of 64 by 256 by 16 for a stage, between them nothing that waits; operands come from shared memory alone, and
    there by the bulk engine."""
    found = counts(name, "sm_90a")
    assert some(found, "HGMMA.64x256x16.F32.BF16") == 4 and some(found, "WARPGROUP.ARRIVE") == 1
    assert some(found, "WARPGROUP.DEPBAR") == 2 and some(found, "UBLKCP") >= 6 and some(found, "SYNCS") >= 4
    assert some(found, "STG.E.64") >= 64
    assert some(found, "HMMA") == some(found, "LDSM") == some(found, "LDL") == some(found, "STL") == 0


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_of_warpgroups(name):
    """Products have their left side in registers, all of a sum behind one another, and one wait behind each sum."""
    found = counts(name, "sm_90a")
    assert some(found, "HGMMA.64x") >= 16 and some(found, "WARPGROUP.ARRIVE") == some(found, "WARPGROUP.DEPBAR")
    assert some(found, "HMMA") == some(found, "LDSM") == some(found, "LDL") == some(found, "STL") == 0
    assert some(found, "LDGSTS", "128") >= 8


@ARCHES
@pytest.mark.parametrize("name", SPLIT + SPLIT_CONVOLUTIONS)
def test_products_in_parts_are_on_tensor_cores(name, arch):
    """Three products for each, 16 of K in two halves, 4 by 4 of 16 by 8 a warp; nothing in local memory."""
    found = counts(name, arch)
    assert some(found, "HMMA.1688.F32.TF32") >= 3 * 2 * 4 * 4
    assert some(found, "LDL") == some(found, "STL") == 0


@pytest.mark.parametrize("name", [f"{room}_{way}ward_{width}" for room in ("lstm", "gru", "rnn") for way in ("for", "back")
                                  for width in (64, 128, 256, 512) if (room, width) != ("rnn", 512)])  # fmt: skip
def test_recurrent_steps_have_few_barriers(name):
    """Of the block or the cluster, besides another one: none that the compiler has doubled.  Nothing in local memory."""
    found = counts(name, "sm_90a")
    block, arrivals, waits = (some(found, word) for word in ("BAR.SYNC", "UCGABAR_ARV", "UCGABAR_WAIT"))
    assert (block, arrivals, waits) == ((2, 0, 0) if name.endswith("_64") else (0, 2, 2))
    assert some(found, "LDL") == some(found, "STL") == 0


@pytest.mark.parametrize("name, arch", [(n, a) for n in PANELS + SPLIT + CONVOLUTIONS + SPLIT_CONVOLUTIONS
                                         for a in ("sm_80", "sm_90a") if a == "sm_80" or n not in PANELS])  # fmt: skip
def test_slices_are_copied_beside_the_products(name, arch):
    """Two operands, two pieces each, for two slices before the loop and one in it: 16 bytes a thread, past the registers."""
    found = counts(name, arch)
    assert some(found, "LDGSTS", "128") >= 12 and some(found, "LDGDEPBAR") >= 3


@ARCHES
@pytest.mark.parametrize("name", ATTENTION)
def test_rows_are_copied_16_bytes_at_a_time(name, arch):
    assert some(counts(name, arch), "LDGSTS", "128") >= 8


@ARCHES
@pytest.mark.parametrize("name", VECTORS)
def test_memory_is_read_and_written_16_bytes_at_a_time(name, arch):
    found = counts(name, arch)
    assert some(found, "LDG.E", "128") >= 1
    assert name in READ_ONLY or some(found, "STG.E", "128") >= 1
