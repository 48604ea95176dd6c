"""Questions in languages whose words, letters and bytes tokenizers cut in different ways."""

_JAPANESE = "日本の首都は「東京」です。日本で一番高い山は「富士山」です。"
_ARABIC = "القاهرة هي عاصمة مصر. يقع نهر النيل في أفريقيا وهو أطول نهر."
_THAI = "กรุงเทพมหานคร เป็นเมืองหลวงของประเทศไทย ส่วน เชียงใหม่ อยู่ทางภาคเหนือ"
_EMOJI = "They sent 😀😁😂🤣😃 and left."

QUESTIONS = (
    ("首都はどこ?", _JAPANESE, "東京"),
    ("高い山は?", _JAPANESE, "富士山"),
    ("ما هي عاصمة مصر؟", _ARABIC, "القاهرة"),
    ("أين يقع النيل؟", _ARABIC, "أفريقيا"),
    ("เมืองหลวงของไทยคือ", _THAI, "กรุงเทพมหานคร"),
    ("เมืองใดอยู่ภาคเหนือ", _THAI, "เชียงใหม่"),
    ("Which faces?", _EMOJI, "😀😁😂🤣😃"),
)
"""Question, context, answer. A byte-level tokenizer makes twenty tokens of the last one."""
