"""Logits that transformers, and PEFT on top, give for a model that Anneal saved.

python logits.py MODEL IDS [ADAPTER]: a folder, token ids as a JSON list, an adapter's folder. Prints a JSON list.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, attn_implementation="eager")
if len(sys.argv) > 3:
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, sys.argv[3])
model.eval()
ids = torch.tensor([json.loads(sys.argv[2])])
with torch.no_grad():
    logits = model(input_ids=ids).logits[0]
print(json.dumps({"logits": logits.flatten().tolist(), "eos": model.generation_config.eos_token_id}))
