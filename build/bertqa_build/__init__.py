"""From a checkpoint to published INT8 versions."""
