"""From a checkpoint to published INT8 versions."""

import logging

# torchao reports each kernel for other hardware that it cannot load, and torch that torchao is old.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
