"""What the peers load: the same model as each of them wants it, made once and kept.

All are copies: DeepSparse writes another shape of the inputs into the file that it is given.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import AutoConfig, PreTrainedModel

from bertqa._progress import OnProgress, Progress
from bertqa._quiet import muted
from bertqa.artifact import IR_FILE, ONNX_FILE, Repository, onnx_model_name, write_whole
from bertqa.runtime.onnxruntime import OnnxRuntimeEngine
from bertqa.runtime.openvino import core, read_ir_info
from bertqa_build.bench.peers.plan import Kind, Peer, Plan
from bertqa_build.bench.plan import Precision
from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.checkpoint_source import TOKENIZER_FILE, locate
from bertqa_build.embeddings import with_stored_embeddings
from bertqa_build.errors import BuildError
from bertqa_build.model import SpanModel
from bertqa_build.quiet import quiet
from bertqa_build.recipe_data import RecipeData
from bertqa_build.sanity import require_same_logits
from bertqa_build.stages import appearing, calibration_windows, load_saved
from bertqa_build.work_files import FINETUNED

_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_OPTIMUM_IR = "openvino_model"


class PeerFiles:
    """The files of a plan's peers.

    Args:
        plan: The plan.
        work_dir: Where builds keep unfinished work: among it are the weights of a fine-tuning.
        folder: Where the files are made.
        on_progress: Called with what takes long.
    """

    def __init__(self, plan: Plan, work_dir: Path, folder: Path, on_progress: OnProgress) -> None:
        self._plan = plan
        self._work_dir = work_dir
        self._folder = folder
        self._on_progress = on_progress

    def of(self, peer: Peer) -> Path:
        """Return what a peer loads.

        Args:
            peer: The peer.

        Raises:
            BertQAError: It cannot be made.
        """
        if peer.kind in (Kind.PYTORCH, Kind.TORCH_COMPILE):
            return self._made("pytorch", peer, self._write_checkpoint)
        if peer.kind is Kind.OPTIMUM_INTEL and peer.precision is Precision.INT8:
            return self._made("optimum-int8", peer, self._write_optimum_int8)
        if peer.kind is Kind.OPTIMUM_INTEL:
            return self._made("optimum", peer, self._write_for_optimum)
        if peer.kind is Kind.ONNX_RUNTIME and peer.precision is Precision.INT8:
            return self._made("dynamic", peer, self._write_dynamic) / ONNX_FILE
        if peer.kind in (Kind.ONNX_RUNTIME, Kind.DEEPSPARSE):
            return self._made(peer.kind, peer, self._write_onnx) / ONNX_FILE
        return self._made("served", peer, self._write_repository)

    def _made(self, name: str, peer: Peer, write: Callable[[Peer, Path], None]) -> Path:
        directory = self._folder / f"{name}-{peer.version}"
        if not directory.is_dir():
            with appearing(directory) as staged:
                write(peer, staged)
        return directory

    def _write_checkpoint(self, peer: Peer, directory: Path) -> None:
        recipe = self._plan.recipe
        self._on_progress(Progress(f"Looking for the PyTorch weights of version {peer.version}"))
        onnx = OnnxRuntimeEngine(self._onnx(peer.version))
        for model in self._models():
            module = with_stored_embeddings(SpanModel(model), recipe.embeddings)
            with suppress(BuildError):
                require_same_logits(
                    onnx, module, onnx.info.tokenizer_json, self._plan.dataset, recipe.model
                )
                with quiet():
                    model.save_pretrained(directory, save_original_format=False)
                self._write_tokenizer(peer, directory)
                return
        raise BuildError(
            f"The PyTorch weights of version {peer.version} are not in {self._work_dir}: name the "
            "--work-dir that it was built in."
        )

    def _models(self) -> Iterator[PreTrainedModel]:
        """Yield every model that the FP32 version may have been exported from."""
        recipe = self._plan.recipe
        if recipe.finetune is None:
            yield load_checkpoint(
                recipe.source,
                adapter=recipe.adapter_path,
                directory=recipe.directory,
                max_seq_len=recipe.model.max_seq_len,
                seed=recipe.seed,
            ).model
            return
        for each in sorted((self._work_dir / recipe.name).glob(f"fp32-*/{FINETUNED}")):
            yield load_saved(each)

    def _write_for_optimum(self, peer: Peer, directory: Path) -> None:
        for file in self._version(peer.version).glob(f"{Path(IR_FILE).stem}.*"):
            shutil.copyfile(file, directory / f"{_OPTIMUM_IR}{file.suffix}")
        self._write_tokenizer(peer, directory)
        self._write_config(peer, directory)

    def _write_optimum_int8(self, peer: Peer, directory: Path) -> None:
        recipe = self._plan.recipe
        plain = self._made("optimum", peer, self._write_for_optimum)
        self._on_progress(Progress("Quantising the model with OVQuantizer of Optimum Intel"))
        tokenizer = (plain / TOKENIZER_FILE).read_text(encoding="utf-8")
        windows = calibration_windows(recipe, RecipeData(recipe), tokenizer)
        names = [port.any_name for port in core().read_model(plain / f"{_OPTIMUM_IR}.xml").inputs]
        samples = [
            {name: np.array([windows[index][name]], dtype=np.int64) for name in names}
            for index in range(len(windows))
        ]
        try:
            _quantize_by_optimum(plain, samples, directory)
        except Exception as error:  # whatever its libraries raise, as of a full disk
            raise BuildError(
                f"OVQuantizer of Optimum Intel did not quantise version {peer.version}",
                detail=str(error),
            ) from error
        self._write_tokenizer(peer, directory)

    def _write_onnx(self, peer: Peer, directory: Path) -> None:
        shutil.copyfile(self._onnx(peer.version), directory / ONNX_FILE)
        self._write_tokenizer(peer, directory)
        self._write_config(peer, directory)

    def _write_dynamic(self, peer: Peer, directory: Path) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        self._on_progress(Progress("Quantising the ONNX model with quantize_dynamic"))
        with quiet(), muted("root"):  # it recommends a preprocessing, which few do
            quantize_dynamic(
                self._onnx(peer.version), directory / ONNX_FILE, weight_type=QuantType.QInt8
            )
        self._write_tokenizer(peer, directory)
        self._write_config(peer, directory)

    def _write_repository(self, peer: Peer, directory: Path) -> None:
        """Write a repository with nothing but the version, which a server then has for itself."""
        target = Repository(directory).version_dir(peer.version, self._plan.model)
        target.mkdir(parents=True)
        for file in self._version(peer.version).iterdir():
            shutil.copyfile(file, target / file.name)

    def _write_tokenizer(self, peer: Peer, directory: Path) -> None:
        """Write the tokenizer as the checkpoint has it: which token is which is in its settings."""
        recipe = self._plan.recipe
        folder = locate(recipe.source, recipe.directory)
        for name in _TOKENIZER_SETTINGS:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, directory / name)
        info = read_ir_info(core().read_model(self._version(peer.version) / IR_FILE))
        write_whole(directory / TOKENIZER_FILE, info.tokenizer_json)

    def _write_config(self, peer: Peer, directory: Path) -> None:
        config = dict(self._plan.repository.manifest(peer.version, self._plan.model).config)
        if not config:
            raise BuildError(f"The manifest of version {peer.version} lacks its configuration.")
        AutoConfig.for_model(config.pop("model_type"), **config).save_pretrained(directory)

    def _version(self, version: int) -> Path:
        return self._plan.repository.version_dir(version, self._plan.model)

    def _onnx(self, version: int) -> Path:
        path = self._plan.repository.version_dir(version, onnx_model_name(self._plan.model))
        if not (path / ONNX_FILE).is_file():
            raise BuildError(f"The repository has no ONNX model of version {version}.")
        return path / ONNX_FILE


def _quantize_by_optimum(
    plain: Path, samples: Sequence[Mapping[str, NDArray[np.int64]]], directory: Path
) -> None:
    """Quantise an IR as the documentation of Optimum Intel shows."""
    # Outside of `quiet`, which mutes the loggers that are there when it begins.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nncf
        from optimum.intel import (
            OVConfig,
            OVModelForQuestionAnswering,
            OVQuantizationConfig,
            OVQuantizer,
        )

    with quiet(), muted("optimum"):
        model = OVModelForQuestionAnswering.from_pretrained(str(plain), local_files_only=True)
        settings = OVQuantizationConfig(num_samples=len(samples))
        OVQuantizer(model).quantize(
            calibration_dataset=nncf.Dataset(samples),
            save_directory=directory,
            ov_config=OVConfig(quantization_config=settings),
        )
