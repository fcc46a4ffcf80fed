"""One optimizer step of a Phi-3 model in PyTorch with transformers (and PEFT): the peer that our own step runs beside.

    python train_step.py full|lora layers width heads mlp vocabulary batch length [cpu|cuda] [float32|tf32|bfloat16]

Says {"ready": ...} when it has warmed up. Then each line it reads makes one step, whose seconds it answers; at the end of
its input it says the most memory it held.
"""

import json
import os
import resource
import sys
import time

import torch
from transformers import Phi3Config, Phi3ForCausalLM

method, sizes = sys.argv[1], [int(size) for size in sys.argv[2:9]]
layers, width, heads, mlp, vocabulary, batch, length = sizes
device = sys.argv[9] if len(sys.argv) > 9 else "cpu"
precision = sys.argv[10] if len(sys.argv) > 10 else "float32"

torch.manual_seed(0)
torch.set_num_threads(int(os.environ.get("THREADS", "2")))
torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
config = Phi3Config(
    hidden_size=width,
    intermediate_size=mlp,
    num_hidden_layers=layers,
    num_attention_heads=heads,
    num_key_value_heads=heads,
    vocab_size=vocabulary,
    max_position_embeddings=max(length, 256),
    pad_token_id=0,
    use_cache=False,
)
model = Phi3ForCausalLM(config).to(device)
if method == "lora":
    from peft import LoraConfig, get_peft_model

    targets = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=targets))
model.train()
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=device == "cuda")
ids = torch.randint(1, vocabulary, (batch, length), device=device)


def step():
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    loss.item()
    return time.perf_counter() - start


def say(**facts):
    print(json.dumps(facts), flush=True)


for _ in range(3):
    step()
say(ready=True, torch=torch.__version__)
for _ in sys.stdin:
    say(seconds=step())
held = torch.cuda.max_memory_allocated() if device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
say(memory=held)
