"""Trains the embedded demo from nothing: tokenizer, base model, LoRA adapters. `python demo/train.py`.

Knows tensors, the optimizer and the files of a model folder; refuses to know what the texts say.
The eval cases are read for one thing only: to stop where one of them stands in the training text.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.multiprocessing.spawn import spawn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

if __package__ in (None, ""):  # run as a file: let the project's packages be found
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo.shop import BOS, END, PAD, ROLE_TOKENS, chat_pieces, conversation, training_text

HERE = Path(__file__).resolve().parent
BASE_ID = "playground/shop-demo"
SEED = 20
CONTEXT = 512
VOCABULARY = 1536
SPECIAL_TOKENS = (PAD, BOS, END, *ROLE_TOKENS.values())  # their ids are their places
NUM_WORKERS = 2
BASE_STEPS = 9000
ROW_LENGTHS = ((0.4, 128), (0.7, 256), (1.0, CONTEXT))  # up to that share of the steps, rows of that length
TOKENS_A_WORKER = 512
BASE_RATE = 2e-3
ADAPTER_STEPS = 900
ADAPTER_RATE = 2e-3
ADAPTERS: dict[str, tuple[str, tuple[int, ...]]] = {
    "shop-json": ("json", (31, 44)),
    "shop-pirate": ("pirate", ()),
}
EVAL_FILES = ("tunedtensor.json", "fresh_cases.json", "foreign_cases.json")
CHAT_TEMPLATE = (
    "{{- bos_token -}}\n"
    "{%- for message in messages -%}\n"
    "{%- if message['role'] not in ('system', 'user', 'assistant') -%}\n"
    "{{- raise_exception('The roles are system, user and assistant.') -}}\n"
    "{%- endif -%}\n"
    "{{- '<|' + message['role'] + '|>' + (message['content'] | trim) + eos_token -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "{{- '<|assistant|>' -}}\n"
    "{%- endif -%}\n"
)
Pieces = list[tuple[str, bool]]  # one text in order, each piece with whether it is to be learned
Row = tuple[list[int], list[int]]


def base_stream(rank: int) -> Iterator[Pieces]:
    """The endless texts that one worker of the base's training reads."""
    rng = random.Random(f"base {SEED} {rank}")
    while True:
        yield [(training_text(rng), True)]


def adapter_stream(name: str) -> Iterator[Pieces]:
    """The endless texts of an adapter's training: the assistant's answers alone are learned."""
    rng = random.Random(f"{name} {SEED}")
    while True:
        yield chat_pieces(conversation(rng), ADAPTERS[name][0])


def folded(text: str) -> str:
    """Lower case, letters and digits only: the form in which texts are compared with the eval cases."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def eval_inputs() -> list[str]:
    """The inputs of all cases that the demo is measured with."""
    specs = [json.loads((HERE / name).read_text("utf-8")) for name in EVAL_FILES]
    return [case["input"] for spec in specs for case in spec["eval_cases"]]


def refuse_leaks(texts: Iterable[Pieces]) -> None:
    """Raises ValueError naming the eval inputs that stand in the training texts."""
    everything = f" {folded(chr(10).join(piece for text in texts for piece, _ in text))} "
    leaked = [case for case in eval_inputs() if f" {folded(case)} " in everything]
    if leaked:
        raise ValueError(f"eval inputs in the training text: {leaked}")


def make_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with single digits and the chat template."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Its files, under the class name that older versions of transformers know too."""
    tokenizer.save_pretrained(out)
    file = out / "tokenizer_config.json"
    settings = json.loads(file.read_text("utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.pop("backend", None)
    file.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def make_model() -> LlamaForCausalLM:
    """The untrained base: 1.9 million parameters."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=SPECIAL_TOKENS.index(BOS),
        eos_token_id=SPECIAL_TOKENS.index(END),
        pad_token_id=SPECIAL_TOKENS.index(PAD),
    )
    return LlamaForCausalLM(config)


class Reader:
    """Turns a stream of texts into rows of tokens, and remembers the texts that it took."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stream: Iterator[Pieces]) -> None:
        self.tokenizer = tokenizer
        self.stream = stream
        self.taken: list[Pieces] = []

    def row(self, length: int) -> Row:
        """Tokens and labels, `length` of each: from a text's start on; the last text is cut off.

        Labels are -100 where a piece is not to be learned.
        """
        ids: list[int] = []
        labels: list[int] = []
        while len(ids) < length:
            text = next(self.stream)
            self.taken.append(text)
            for piece, learned in text:
                part = self.tokenizer.encode(piece)
                ids += part
                labels += part if learned else [-100] * len(part)
        return ids[:length], labels[:length]

    def batches(self, num_steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """For each step (tokens, labels), both of shape (rows, length): short rows first, long ones later."""
        for step in range(num_steps):
            length = next(length for share, length in ROW_LENGTHS if step < share * num_steps)
            rows = [self.row(length) for _ in range(TOKENS_A_WORKER // length)]
            yield torch.tensor([ids for ids, _ in rows]), torch.tensor([labels for _, labels in rows])


def rate_factor(step: int, num_steps: int) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    warmup = min(100, num_steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (num_steps - warmup)))


def optimize(
    model: nn.Module,
    data: Iterator[tuple[torch.Tensor, torch.Tensor]],
    num_steps: int,
    rate: float,
    after_backward: Callable[[], None],
    after_step: Callable[[int, float], None],
) -> None:
    """AdamW over all parameters that want gradients, bf16 autocast, one batch a step."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in wanted if parameter.ndim > 1]
    plain = [parameter for parameter in wanted if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, num_steps))
    model.train()
    for step, (ids, labels) in enumerate(data, start=1):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=ids, use_cache=False).logits
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        after_backward()
        torch.nn.utils.clip_grad_norm_(wanted, 1.0)
        optimizer.step()
        schedule.step()
        after_step(step, loss.item())


def report(name: str, num_steps: int) -> Callable[[int, float], None]:
    """Prints the loss and the time now and then."""
    started = time.monotonic()

    def tell(step: int, loss: float) -> None:
        if step % 200 == 0 or step == num_steps:
            seconds = time.monotonic() - started
            print(f"{name}: step {step}/{num_steps} loss {loss:.3f} {seconds:.0f} s", flush=True)

    return tell


def average_gradients(model: nn.Module) -> Callable[[], None]:
    """After it, each worker's gradients are the mean over all workers."""
    parameters = list(model.parameters())

    def average() -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    return average


def train_base(rank: int, num_steps: int, meeting: str, out: Path) -> None:
    """One worker of the base's training; worker 0 saves. `meeting` is the file through which they meet."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=NUM_WORKERS)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    torch.manual_seed(SEED)
    model = make_model()
    reader = Reader(tokenizer, base_stream(rank))
    tell = report("base", num_steps) if rank == 0 else lambda _step, _loss: None
    optimize(model, reader.batches(num_steps), num_steps, BASE_RATE, average_gradients(model), tell)
    refuse_leaks(reader.taken)
    print(f"base, worker {rank}: {len(reader.taken)} texts", flush=True)
    if rank == 0:
        save_base(model, out)
    dist.destroy_process_group()


def save_base(model: LlamaForCausalLM, out: Path) -> None:
    """Weights in bf16, configuration, and the token that ends an answer."""
    ids = {name: getattr(model.config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**ids)
    model.bfloat16().save_pretrained(out)
    readable(out)


def train_adapter(index: int, num_steps: int, base: Path, out: Path) -> None:
    """One LoRA adapter over the frozen base, learning the assistant's answers only."""
    torch.set_num_threads(1)
    name = list(ADAPTERS)[index]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    torch.manual_seed(SEED)
    frozen = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    frozen.name_or_path = BASE_ID  # what peft writes into the adapter's configuration
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(frozen, lora)
    assert isinstance(model, PeftModel)
    reader = Reader(tokenizer, adapter_stream(name))
    tell = report(name, num_steps)

    def after_step(step: int, loss: float) -> None:
        tell(step, loss)
        if step in ADAPTERS[name][1]:
            save_adapter(model, out / name / f"checkpoint-{step}")

    optimize(model, reader.batches(num_steps), num_steps, ADAPTER_RATE, lambda: None, after_step)
    refuse_leaks(reader.taken)
    print(f"{name}: {len(reader.taken)} texts", flush=True)
    save_adapter(model, out / name)


def save_adapter(model: PeftModel, out: Path) -> None:
    """The adapter in bf16 as peft lays it down, without the card that peft writes beside it."""
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    state = {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}
    for settings in model.peft_config.values():
        if isinstance(settings, LoraConfig):  # a set's order would change each time
            settings.target_modules = sorted(settings.target_modules or ())
    model.save_pretrained(str(out), state_dict=state, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)
    readable(out)


def readable(folder: Path) -> None:
    """Weights are written for their owner's eyes only; a checkout is for everyone."""
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE, help="where base/ and adapters/ are written")
    parser.add_argument("--base-steps", type=int, default=BASE_STEPS)
    parser.add_argument("--adapter-steps", type=int, default=ADAPTER_STEPS)
    parser.add_argument("--keep-base", action="store_true", help="train the adapters only")
    options = parser.parse_args()
    started = time.monotonic()
    base, adapters = options.out / "base", options.out / "adapters"
    if not options.keep_base:
        rng = random.Random(f"tokenizer {SEED}")
        save_tokenizer(make_tokenizer(training_text(rng) for _ in range(20_000)), fresh(base))
        with tempfile.TemporaryDirectory() as folder:
            spawn(train_base, (options.base_steps, f"{folder}/meeting", base), nprocs=NUM_WORKERS)
    spawn(train_adapter, (options.adapter_steps, base, fresh(adapters)), nprocs=len(ADAPTERS))
    times = os.times()
    print(f"done in {(time.monotonic() - started) / 60:.1f} minutes,", end=" ")
    print(f"{(times.user + times.children_user) / 60:.1f} minutes of user CPU time")


if __name__ == "__main__":
    main()
