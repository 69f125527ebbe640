"""W6's generation in llama.cpp, by llama-cpp-python and gguf.  Mode: library.

Matrices, the table of words that is the head too among them, are float32, bf16 or (int8) Q8_0, as the part says; positions, norms
and biases float32, which is what llama.cpp's own quantizer leaves; keys and values float16 (llama.cpp's default)."""
from worker import args, serve  # isort: skip

import ctypes
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import w6_data

V, T, L, H, C = w6_data.GPT
KINDS = {"float32": gguf.GGMLQuantizationType.F32, "bf16": gguf.GGMLQuantizationType.BF16, "int8": gguf.GGMLQuantizationType.Q8_0}
KIND = KINDS[args.part.split()[1]]


def write_model(path: str) -> None:
    """A GPT-2 with random weights, without a tokenizer."""
    rng, w = np.random.default_rng(0), gguf.GGUFWriter(path, "gpt2")
    w.add_context_length(T)
    w.add_embedding_length(C)
    w.add_feed_forward_length(4 * C)
    w.add_block_count(L)
    w.add_head_count(H)
    w.add_layer_norm_eps(1e-5)
    w.add_vocab_size(V)
    w.add_tokenizer_model("no_vocab")

    def matrix(name: str, *shape: int, kind: gguf.GGMLQuantizationType = KIND) -> None:
        values = rng.standard_normal(shape, dtype=np.float32) * 0.02
        w.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    def norm(name: str) -> None:
        w.add_tensor(f"{name}.weight", np.ones(C, np.float32))
        w.add_tensor(f"{name}.bias", np.zeros(C, np.float32))

    def linear(name: str, outputs: int, inputs: int) -> None:
        matrix(f"{name}.weight", outputs, inputs)
        w.add_tensor(f"{name}.bias", np.zeros(outputs, np.float32))

    matrix("token_embd.weight", V, C)
    matrix("position_embd.weight", T, C, kind=gguf.GGMLQuantizationType.F32)
    norm("output_norm")
    for i in range(L):
        norm(f"blk.{i}.attn_norm")
        linear(f"blk.{i}.attn_qkv", 3 * C, C)
        linear(f"blk.{i}.attn_output", C, C)
        norm(f"blk.{i}.ffn_norm")
        linear(f"blk.{i}.ffn_up", 4 * C, C)
        linear(f"blk.{i}.ffn_down", C, 4 * C)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def context() -> ctypes.c_void_p:
    """The model, loaded, with room for the whole sequence."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "gpt2.gguf")
        write_model(path)
        model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = 256
    params.n_threads = params.n_threads_batch = args.threads
    return llama_cpp.llama_init_from_model(model, params)


quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()
state = context()
prompt = [int(i) for i in w6_data.ids(w6_data.PROMPT)[0]]


def write() -> None:
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(state), True)
    ids = prompt
    for _ in range(w6_data.NEW):
        array = (llama_cpp.llama_token * len(ids))(*ids)
        if llama_cpp.llama_decode(state, llama_cpp.llama_batch_get_one(array, len(ids))):
            raise RuntimeError("llama_decode failed")
        logits = llama_cpp.llama_get_logits_ith(state, -1)
        ids = [int(np.ctypeslib.as_array(logits, (V,)).argmax())]


serve(write, "llama_cpp", w6_data.NEW)
