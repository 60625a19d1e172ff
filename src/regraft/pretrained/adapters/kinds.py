"""The kinds of what is put into a model, by their names in ``adapter_config.json``."""

from __future__ import annotations

from regraft.pretrained.adapters._contract import Kind
from regraft.pretrained.adapters.bottleneck import Bottlenecks
from regraft.pretrained.adapters.prefix import Prefixes
from regraft.pretrained.adapters.prompt import Prompts
from regraft.pretrained.adapters.with_peft import Ia3, Lora

KINDS: dict[str, Kind] = {
    "LORA": Lora(),
    "IA3": Ia3(),
    "BOTTLENECK": Bottlenecks(),
    "PROMPT_TUNING": Prompts(),
    "P_TUNING": Prompts(),
    "PREFIX_TUNING": Prefixes(),
}
