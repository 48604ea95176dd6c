"""Ask questions of a BERT model served by OpenVINO Model Server."""
