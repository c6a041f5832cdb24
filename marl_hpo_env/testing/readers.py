"""What every reader of data owes to its users, as tests."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from typing import TYPE_CHECKING

from marl_hpo_env.testing.evaluators import is_sentence

if TYPE_CHECKING:
    import torch

    from marl_hpo_env.data.splits import Data


class DataConformance:
    """A data reader's conformance tests; a subclass, whose name begins with `Test`, says how the data are read.

    Every test reads them anew, and most look at every example: of a large data set test a small copy.
    """

    def make(self) -> Data:
        """The data, read anew."""
        raise NotImplementedError("A subclass of DataConformance reads its data in make().")

    def test_the_splits_are_alike_and_none_is_empty(self) -> None:
        data = self._read()
        for name, examples in data.splits().items():
            assert len(examples[0]) == len(examples[1]) > 0, (
                f"The {name} split has {len(examples[0])} inputs and {len(examples[1])} targets."
            )
            for what, part, first in zip(("inputs", "targets"), examples, data.train, strict=True):
                ours, theirs = ((tuple(tensor.shape[1:]), tensor.dtype) for tensor in (part, first))
                assert ours == theirs, (
                    f"The {name} split has {what} of shape {ours[0]} and {ours[1]}, training of {theirs[0]} and {theirs[1]}."
                )

    def test_inputs_are_finite_numbers(self) -> None:
        for name, batch in self._batches(self._read()):
            assert batch.isfinite().all(), f"The {name} split has inputs that are not finite numbers."

    def test_targets_are_of_their_kind(self) -> None:
        import torch

        data = self._read()
        for name, (inputs, targets) in data.splits().items():
            if data.kind in ("labels", "values"):
                assert targets.dtype == torch.float32 and targets.dim() == 2, (  # noqa: PT018
                    f"The {name} split has {data.kind} of {targets.dtype} and shape {tuple(targets.shape)}; they are float32 of "
                    f"shape (n, {data.kind})."
                )
                within = targets.isfinite() if data.kind == "values" else (targets == 0) | (targets == 1)
                assert within.all(), f"The {name} split has {data.kind} with {float(targets[~within][0]):g}."
                continue
            if data.kind == "masks":
                masks = targets.dtype == torch.float32 and targets.dim() > 2 and targets.shape[2:] == inputs.shape[2:]
                assert masks, (
                    f"The {name} split has masks of {targets.dtype} and shape {tuple(targets.shape)} for inputs of shape "
                    f"{tuple(inputs.shape)}; they are float32 of the same size."
                )
                values = sorted(set(targets.unique().tolist()) - {0.0, 1.0})
                assert not values, f"The {name} split has masks with {values[0]}; they hold 0 and 1."
                continue
            assert targets.dtype == torch.int64 and targets.dim() == 1, (  # noqa: PT018
                f"The {name} split has classes of {targets.dtype} and {targets.dim()} dimensions; they are int64 of one."
            )
            known = data.train[1].unique().tolist()
            assert known == list(range(len(known))), (
                f"The classes in training are {known}; they are 0 to n - 1, each at least once."
            )
            unknown = sorted(set(targets.unique().tolist()) - set(known))
            assert not unknown, f"The {name} split has the class {unknown[0]}, which is not in training."

    def test_no_example_is_in_two_splits(self) -> None:
        where: dict[bytes, str] = {}
        for name, batch in self._batches(self._read()):
            for example in batch:
                digest = hashlib.sha256(example.contiguous().numpy().tobytes()).digest()
                found = where.setdefault(digest, name)
                assert found == name, f"An input of the {name} split is in the {found} split too."

    def test_episodes_train_on_training_examples(self) -> None:
        import torch

        data = self._read()
        chosen = data.episode_examples
        if chosen is None:
            return
        assert chosen.dtype == torch.int64 and chosen.dim() == 1, (  # noqa: PT018
            f"The examples of an episode are {chosen.dtype} of {chosen.dim()} dimensions; they are int64 of one."
        )
        count = len(data.train[0])
        assert len(chosen) > 0, "The examples of an episode are none; give None for all."
        assert 0 <= chosen.min() <= chosen.max() < count, (
            f"An episode trains on examples beyond the {count} of training."
        )
        assert len(chosen.unique()) == len(chosen), "An episode trains on an example twice."

    def test_read_again_it_is_the_same(self) -> None:
        assert self._read().digest() == self._read().digest(), "Read twice, the data have two digests."

    def test_notes_are_sentences(self) -> None:
        notes = self._read().notes
        assert isinstance(notes, tuple), f"The notes are {notes!r}, which is no tuple."
        for note in notes:
            assert is_sentence(note), f"The note {note!r} is not one sentence."

    def test_it_can_be_moved_to_a_device(self) -> None:
        import torch

        data = self._read()
        moved = data.to(torch.device("cpu"))
        assert type(moved) is type(data), f"Moved to a device, the data are a {type(moved).__name__}."
        assert moved.digest() == data.digest(), "Moved to a device, the data have another digest."

    def test_it_can_be_sent_to_another_process(self) -> None:
        data = self._read()
        try:
            sent = pickle.loads(pickle.dumps(data))
        except Exception as error:
            raise AssertionError(f"The data cannot be sent to another process: {error!r}.") from error
        assert sent.digest() == data.digest(), "Sent to another process, the data have another digest."

    def _read(self) -> Data:
        from marl_hpo_env.data.splits import Data

        data = self.make()
        assert isinstance(data, Data), f"The reader returns a {type(data).__name__}, which is no Data."
        return data

    def _batches(self, data: Data, size: int = 256) -> Iterator[tuple[str, torch.Tensor]]:
        """All inputs, so many at a time, each with the name of its split."""
        from marl_hpo_env.data.lazy_images import in_batches

        for name, (inputs, _) in data.splits().items():
            batches = [slice(start, start + size) for start in range(0, len(inputs), size)]
            yield from ((name, batch) for batch in in_batches(inputs, batches))
