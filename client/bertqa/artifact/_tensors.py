"""The tensor contract: the names and types of a question-answering model's inputs and outputs."""

from __future__ import annotations

INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"
TOKEN_TYPE_IDS = "token_type_ids"
START_LOGITS = "start_logits"
END_LOGITS = "end_logits"

INPUTS = (INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS)
OUTPUTS = (START_LOGITS, END_LOGITS)
