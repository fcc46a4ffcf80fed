"""LoRA steps on a checkpoint of Phi-3's architecture with transformers and PEFT: the peer of the bench phi3-mini.

    python phi3_mini.py folder length steps rank checkpointing|whole [bfloat16|float32]

Each line that it writes tells of a phase, as the bench's own processes do.
"""

import json
import os
import resource
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import Phi3ForCausalLM

folder, length, steps, rank = sys.argv[1], *map(int, sys.argv[2:5])
checkpointing = sys.argv[5] == "checkpointing"
dtype = getattr(torch, sys.argv[6] if len(sys.argv) > 6 else "bfloat16")
torch.manual_seed(0)
torch.set_num_threads(int(os.environ.get("THREADS", "2")))
started, spent = time.perf_counter(), time.process_time()


def tell(phase, **facts):
    global started, spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    seconds = time.perf_counter() - started
    facts = {"seconds": seconds, "cpuSeconds": time.process_time() - spent, "peakMemoryMb": peak, **facts}
    print(json.dumps({"phase": phase, **facts}), flush=True)
    started, spent = time.perf_counter(), time.process_time()


model = Phi3ForCausalLM.from_pretrained(folder, dtype=dtype, use_cache=False, attn_implementation="sdpa")
tell("load")
targets = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets))
if checkpointing:
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
model.train()
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-4)
ids = torch.randint(0, model.config.vocab_size, (1, length))
tell("add the adapter")

losses, times = [], []
for step in range(steps):
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    losses.append(loss.item())
    times.append(time.perf_counter() - start)
    print(f"peer, step {step + 1}: loss {losses[-1]:.4f}, {times[-1]:.1f} s", file=sys.stderr, flush=True)
# The first step warms up, where there is another.
later = times[1:] or times
tell(
    "train",
    checkpointing=checkpointing,
    losses=losses,
    stepSeconds=times,
    tokensPerSecond=length * len(later) / sum(later),
)
