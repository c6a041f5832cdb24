"""The shipped conformance suites: what is the package's own passes them, and what breaks a protocol does not."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from marl_hpo_env import (
    Data,
    InputError,
    Limits,
    PaperReward,
    Recipe,
    Request,
    Store,
    StoredEvaluator,
    Table,
    TableEvaluator,
    Task,
    TrainingEvaluator,
    WeightedReward,
    image_folder,
)
from marl_hpo_env.data.digits import digits, digits_on_ground
from marl_hpo_env.reward import Objective
from marl_hpo_env.testing import SPACES, DataConformance, EvaluatorConformance, RewardConformance
from marl_hpo_env.trial import TIME_METRICS

TABLE = Table.open("digits-convnet")


# --- the package's own -----------------------------------------------------------------------------------------------


def tiny_task(learning_rate=0.01, **limits):
    """A training of milliseconds, which worker processes can be sent."""
    generator = torch.Generator().manual_seed(0)
    examples = torch.rand(60, 4, generator=generator), torch.arange(60) % 3
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    recipe = Recipe(batch_size=16, epochs=2, optimizer="sgd", learning_rate=learning_rate)
    return Task("tiny", model, examples, {nn.Linear: {"out_features": (2, 4, 8)}}, recipe, limits=Limits(**limits))


EVALUATORS = {
    "formula": lambda formula: formula(SPACES["diamond"]),
    "formula without times": lambda formula: formula(SPACES["dotted names"], measures_time=False),
    "formula where nothing completes": lambda formula: formula(
        SPACES["single"], statuses={None: "failed", (0,): "terminated", (1,): "failed", (2,): "terminated"}
    ),
    "formula of one design": lambda formula: formula(SPACES["one design"]),
    "stored formula": lambda formula: StoredEvaluator(formula(SPACES["chain"]), Store()),
    "stored table": lambda formula: StoredEvaluator(TableEvaluator(TABLE), Store()),
    "table": lambda formula: TableEvaluator(TABLE),
    "training": lambda formula: TrainingEvaluator(tiny_task(), "cpu"),
    "training that diverges": lambda formula: TrainingEvaluator(tiny_task(learning_rate=3e38), "cpu"),
    "training that is terminated": lambda formula: TrainingEvaluator(tiny_task(loss=0.01, loss_epochs=1), "cpu"),
    "stored training": lambda formula: StoredEvaluator(TrainingEvaluator(tiny_task(), "cpu"), Store()),
}


@pytest.mark.parametrize(
    "name", ["formula where nothing completes", "training that diverges", "training that is terminated"]
)
def test_some_of_the_evaluators_have_trials_that_do_not_complete(name, formula_evaluator):
    evaluator = EVALUATORS[name](formula_evaluator)
    (trial,) = evaluator.evaluate([Request(evaluator.space.design_at(0), 0, 2)])
    assert trial.status != "completed"


class TestEveryEvaluator(EvaluatorConformance):
    @pytest.fixture(autouse=True, params=EVALUATORS)
    def _named(self, request, formula_evaluator):
        self.name, self.formula = request.param, formula_evaluator

    def make(self):
        return EVALUATORS[self.name](self.formula)


class TestTrainingInTwoProcesses(EvaluatorConformance):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _started_once(cls):
        """Two evaluators take turns, since processes take longer to start than to train."""
        cls.evaluators = itertools.cycle([TrainingEvaluator(tiny_task(), "cpu", workers=2) for _ in range(2)])
        yield
        del cls.evaluators  # and with them their processes

    def make(self):
        return next(self.evaluators)


REWARDS = {
    "accuracy": lambda: WeightedReward({"validation_accuracy": 1}),
    "a sum of many": lambda: WeightedReward(
        {"validation_accuracy": 3, "model_size_mb": 0.1, "flops": 1e-6, "epochs": 1}
    ),
    "relative": lambda: WeightedReward({"validation_accuracy": 1, "model_size_mb / original": 0.2}),
    "losses and times": lambda: WeightedReward({"validation_loss": 1, "inference_ms_per_batch / original": 1}),
    "constrained": lambda: WeightedReward({"validation_accuracy": 1}, ["inference_ms_per_batch <= 5"]),
    "constrained by the original": lambda: WeightedReward(
        {"model_size_mb": 1}, ["validation_accuracy >= original - 0.1", "flops / original <= 2"]
    ),
}


class TestEveryWeightedReward(RewardConformance):
    @pytest.fixture(autouse=True, params=REWARDS)
    def _named(self, request):
        self.name = request.param

    def make(self):
        return REWARDS[self.name]()


class TestEquation2(RewardConformance):
    def make(self):
        return PaperReward()


class TestEquation2PerEpoch(TestEquation2):
    def make(self):
        return PaperReward(accuracy_weight=0.9, accuracy_score="per_epoch")


class TestEquation2AsPrinted(TestEquation2):
    penalty_is_lowest = False  # as printed it gives no order between the two

    def make(self):
        return PaperReward(below_zero="printed")


class TestDigits(DataConformance):
    def make(self):
        return digits()


class TestDigitsOnGround(DataConformance):
    def make(self):
        return digits_on_ground()


class TestImageFolder(DataConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        for number in range(30):
            place = tmp_path / "abc"[number % 3]
            place.mkdir(exist_ok=True)
            Image.new("RGB", (9, 7), (8 * number, 100, 200)).save(place / f"{number}.png")
        (tmp_path / "a" / "torn.png").write_bytes(b"")

    def make(self):
        return image_folder(self.folder, 6)


# --- evaluators that break the protocol ------------------------------------------------------------------------------


def table(**members):
    """The evaluator of a table with other members."""
    return type("Broken", (TableEvaluator,), members)(TABLE)


def answering(change, **members):
    """One whose `evaluate` is made by `change` from the table's trials, those of the requests in their order."""

    def evaluate(self, requests):
        return iter(change(self, [TABLE.trial(request) for request in requests]))

    return table(evaluate=evaluate, **members)


def with_fields(**fields):
    return answering(lambda self, trials: [dataclasses.replace(trial, **fields) for trial in trials])


def with_metrics(metrics, **members):
    def measured(self, trials):
        return [dataclasses.replace(trial, metrics={**trial.metrics, **metrics}) for trial in trials]

    return answering(measured, **members)


def with_requests(change):
    return answering(lambda self, trials: [dataclasses.replace(t, request=change(t.request)) for t in trials])


def with_history(change):
    return answering(lambda self, trials: [dataclasses.replace(t, history=change(t.history)) for t in trials])


COUNTER = itertools.count()


def scored(trial, accuracy):
    return dataclasses.replace(trial, metrics={**trial.metrics, "validation_accuracy": accuracy})


def by_what_was_asked_before(self, trials):
    return [scored(trial, next(COUNTER) % 1000 / 1000) for trial in trials]


def by_place_in_the_call(self, trials):
    return [scored(trial, number / len(trials)) for number, trial in enumerate(trials)]


def no_original(self, requests):
    if any(request.design is None for request in requests):
        raise InputError("There is no original.")
    return iter([TABLE.trial(request) for request in requests])


def any_seed(self, requests):
    return iter([dataclasses.replace(TABLE.trial(r._replace(seed=0, epochs=2)), request=r) for r in requests])


def some_designs_only(self, requests):
    if any(request.design is not None and request.design[0] == 4 for request in requests):
        raise InputError("There is no such design.")
    return iter([TABLE.trial(request) for request in requests])


def wrapped(self, requests):
    """Whatever the actions are, it finds a design."""
    sizes = TABLE.space.sizes
    for request in requests:
        design = None if request.design is None else [a % s for a, s in zip(request.design, sizes, strict=False)]
        padded = None if design is None else tuple(design + [0] * (len(sizes) - len(design)))
        yield dataclasses.replace(TABLE.trial(request._replace(design=padded)), request=request)


def one_call_at_a_time(self, requests):
    if self.__dict__.setdefault("busy", False):
        return
    self.busy = True
    yield from map(TABLE.trial, requests)
    self.busy = False


def only_first_alone(self, trials):
    return [TABLE.trial(Request((0,) * 5, 0, 2))] if len(trials) == 1 else trials


def looked_up(self, requests):
    numbers = {None: -1, **{design: number for number, design in enumerate(map(tuple, TABLE.designs.tolist()))}}
    return iter([TABLE.trial(request) for request in requests if numbers[request.design] is not None])


def another_loss(self, trials):
    """Every evaluator has a loss of its own."""
    loss = self.__dict__.setdefault("loss", next(COUNTER))
    return [dataclasses.replace(trial, history=[{"train_loss": loss}]) for trial in trials]


def renamed(self, requests):
    self.fingerprint += "x"
    return iter([TABLE.trial(request) for request in requests])


def refuse(self, seed, epochs):
    raise InputError("No.")


def refuse_large(self, seed, epochs):
    if seed > 100:
        raise InputError("No such seed.")


MS = dict.fromkeys(TIME_METRICS, 1.0)

EVALUATOR_CHECKS = {
    "test_it_says_what_it_evaluates": {
        "space is None, which is no SearchSpace": lambda: table(space=None),
        "fingerprint is b'a', which is no str": lambda: table(fingerprint=b"a"),
        "fingerprint is empty": lambda: table(fingerprint=""),
        "measures_time is None, which is no bool": lambda: table(measures_time=None),
        "made alike, the fingerprint differs": lambda: table(fingerprint=str(next(COUNTER))),
        "fingerprint or space changed": lambda: table(fingerprint="x", evaluate=renamed),
    },
    "test_unmeasured_metrics_are_in_no_trial": {
        "'energy', which is no metric": lambda: table(unmeasured={"energy"}),
        "does not measure 'validation_accuracy', and a trial has 0": lambda: table(unmeasured={"validation_accuracy"}),
    },
    "test_times_are_there_where_it_measures_them": {
        "measures no time, and a trial has train_ms_per_batch": lambda: with_metrics(MS, measures_time=False),
        "measures time, and a trial has no inference_ms": lambda: with_metrics(
            {**MS, "inference_ms_per_batch": None}, measures_time=True
        ),
    },
    "test_an_exhaustive_one_answers_for_every_design": {
        "exhaustive is 1, which is no bool": lambda: table(exhaustive=1),
        r"exhaustive, and refuses \(4, ": lambda: table(evaluate=some_designs_only),
    },
    "test_check_refuses_what_it_cannot_answer": {
        "check refuses what the suite asks for": lambda: table(check=refuse),
        "check refuses seed 1001 and 2 epochs, and it answers them": lambda: table(
            check=refuse_large, evaluate=any_seed
        ),
        "check accepts seed 1001, and it refuses that": lambda: table(check=lambda self, seed, epochs: None),
    },
    "test_its_task_has_a_name": {
        "task_name is None": lambda: table(task_name=None),
        "task_name is empty": lambda: table(task_name=""),
    },
    "test_every_request_is_answered_once_and_a_repeated_one_as_often": {
        "3 times, and answered it 1 times": lambda: answering(
            lambda self, trials: {t.request: t for t in trials}.values()
        ),
        "0 times, and answered it 1 times": lambda: answering(
            lambda self, trials: [*trials, TABLE.trial(Request((1, 1, 1, 1, 1), 0, 2))]
        ),
        "answered {}, which is no Trial": lambda: answering(lambda self, trials: [{}]),
        r"Request\(design=\[.* 0 times, and answered": lambda: with_requests(lambda r: r._replace(design=[*r.design])),
        r"np.int64.* 0 times, and answered": lambda: with_requests(
            lambda r: r._replace(design=tuple(np.array(r.design)))
        ),
    },
    "test_no_request_gives_no_trial": {
        "asked for nothing, and answered": lambda: answering(
            lambda self, trials: trials or [TABLE.trial(Request(None, 0, 2))]
        ),
    },
    "test_the_original_network_is_answered": {
        "refuses the original network": lambda: table(evaluate=no_original),
    },
    "test_a_trial_says_whether_it_completed_and_else_why": {
        "status is 'done'": lambda: with_fields(status="done"),
        "reason None, which is not one sentence": lambda: with_fields(status="failed"),
        "reason 'boom', which is not": lambda: with_fields(status="terminated", reason="boom"),
        r"reason 'It\\nbroke.', which is not": lambda: with_fields(status="failed", reason="It\nbroke."),
        "accidental and its status 'completed'": lambda: with_fields(accidental=True),
    },
    "test_metrics_are_known_finite_numbers_or_none": {
        "metric 'energy', which is not in METRICS": lambda: with_metrics({"energy": 1.0}),
        "flops is nan; what was not measured is None": lambda: with_metrics({"flops": math.nan}),
        "seconds is inf": lambda: with_metrics({"seconds": math.inf}),
        "validation_accuracy is 93.0; it is a fraction": lambda: with_metrics({"validation_accuracy": 93.0}),
        "neither int nor float": lambda: with_metrics({"flops": np.float32(1)}),
        "flops is True, which is neither": lambda: with_metrics({"flops": True}),
    },
    "test_the_history_has_the_metrics_of_each_epoch": {
        "of 2 epochs has a history of 4": lambda: with_history(lambda history: (*history, *history)),
        "'test_accuracy', which is no metric of an epoch": lambda: with_history(lambda _: [{"test_accuracy": 0.5}]),
        "'energy', which is no metric of an epoch": lambda: with_history(lambda _: [{"energy": 0.5}]),
        "train_loss is None, neither": lambda: with_history(lambda _: [{"train_loss": None}]),
    },
    "test_equal_requests_give_equal_trials": {
        "again by the same evaluator, .* has the validation_accuracy": lambda: answering(by_what_was_asked_before),
        "by the same evaluator, .* has the validation_accuracy": lambda: answering(by_place_in_the_call),
        "by an evaluator made alike, .* has the reason": lambda: with_fields(reason=str(next(COUNTER))),
        "by an evaluator made alike, .* has the history": lambda: answering(another_loss),
    },
    "test_a_design_that_is_not_of_the_space_is_refused": {
        "no design of its space, the evaluator answered": lambda: table(evaluate=wrapped),
        r"raised KeyError\(": lambda: table(evaluate=looked_up),
    },
    "test_it_can_be_left_in_the_middle_and_asked_again": {
        "1 times, and answered it 0 times": lambda: table(evaluate=one_call_at_a_time),
    },
    "test_it_can_be_played": {
        "the trial is Request": lambda: answering(only_first_alone),
    },
}


# --- rewards that break the protocol ---------------------------------------------------------------------------------


def reward(call=None, weights=None, **members):
    """A weighted reward with other members; `call` makes its value from it, the trial, the original and what it would be."""
    if call is not None:
        members["__call__"] = lambda self, trial, original=None: call(
            self, trial, original, WeightedReward.__call__(self, trial, original)
        )
    base = type("Broken", (WeightedReward,), {name: m for name, m in members.items() if name == "__call__"})
    made = base(weights or {"validation_accuracy": 1})
    made.__dict__.update({name: member for name, member in members.items() if name != "__call__"})
    return made


def plain(call, **members):
    """A reward that is a function."""
    attributes = {"objectives": (ACCURACY,), "relative": False, "penalty": -1.0, **members}
    return type("Broken", (), {**attributes, "__call__": lambda self, trial, original=None: call(trial)})()


ACCURACY = Objective("validation_accuracy", False)


def unless_completed(value):
    return lambda self, trial, original, before: before if trial.status == "completed" else value


def forgets(trial):
    trial.metrics.pop("flops", None)
    return 1.0


def plus(metric):
    """The reward and a metric that it does not name."""
    return lambda self, trial, original, before: before + 1e-3 * (trial.metrics.get(metric) or 0.0)


REWARD_CHECKS = {
    "test_it_says_what_it_sees": {
        "objectives are .*, which is no tuple": lambda: reward(objectives=[ACCURACY]),
        "sees 'validation_accuracy', which is no Objective": lambda: reward(objectives=("validation_accuracy",)),
        "sees 'energy', which is not in METRICS": lambda: reward(objectives=(Objective("energy", False),)),
        "relative is 'no', which is no bool": lambda: reward(relative="no"),
        "not relative, and sees 'flops / original'": lambda: reward(weights={"flops / original": 1}, relative=False),
        "penalty is nan, which is no finite number": lambda: reward(penalty=math.nan),
        "penalty is None": lambda: reward(penalty=None),
    },
    "test_it_needs_the_original_only_where_it_says_so": {
        "is not relative, and with other originals": lambda: reward(
            lambda self, trial, original, before: before + (original is None)
        ),
    },
    "test_a_completed_trial_gets_a_finite_number": {
        "is nan, which is no finite number": lambda: plain(lambda trial: math.nan),
        "is -inf, which is no": lambda: plain(lambda trial: -math.inf),
        "is 'good', which is no": lambda: plain(lambda trial: "good"),
        "is None, which is no": lambda: plain(lambda trial: None),
    },
    "test_a_trial_that_did_not_complete_gets_the_penalty": {
        "terminated gets 0.0, not -2": lambda: reward(unless_completed(0.0)),
        "terminated gets -3.0, not -2": lambda: reward(unless_completed(-3.0)),
        "failed gets 0.0, not -1": lambda: plain(lambda trial: 0.0 if trial.status == "failed" else -1.0),
    },
    "test_the_penalty_lies_below_the_rewards": {
        "gets -999999999.0, which is below the penalty": lambda: plain(lambda trial: 1 - trial.metrics["flops"]),
        "No completed trial gets more": lambda: plain(lambda trial: -1.0),
    },
    "test_equal_trials_get_equal_rewards": {
        "another one when they are rewarded again": lambda: plain(lambda trial: float(next(COUNTER))),
        "Two rewards made alike": lambda: reward(bonus=next(COUNTER), call=lambda self, *_: float(self.bonus)),
    },
    "test_a_better_value_is_never_worse": {
        "With validation_accuracy .* the reward falls": lambda: reward(lambda self, trial, original, before: -before),
        "With flops .* the reward falls": lambda: plain(
            lambda trial: trial.metrics["flops"], objectives=(Objective("flops", False),)
        ),
    },
    "test_it_does_not_change_the_trial": {
        "The reward changed a trial": lambda: plain(forgets),
    },
    "test_it_reads_only_the_metrics_that_it_names": {
        "reads 'flops', which": lambda: reward(plus("flops")),
        "reads 'epochs', which": lambda: reward(plus("epochs")),
        "reads 'test_accuracy', which": lambda: reward(plus("test_accuracy")),
        "reads 'seconds', which": lambda: reward(
            lambda self, trial, original, before: before / (1 + (original.metrics["seconds"] or 0.0))
        ),
        "reads the history": lambda: reward(lambda self, trial, original, before: trial.history[0]["train_loss"]),
    },
    "test_it_never_reads_a_test_figure": {
        "reads 'test_accuracy', which": lambda: reward(plus("test_accuracy")),
        "sees test_accuracy; test figures never": lambda: reward(objectives=(Objective("test_accuracy", False),)),
    },
    "test_what_was_not_measured_is_refused_or_done_without": {
        "raised TypeError": lambda: plain(lambda trial: 100 * trial.metrics["validation_accuracy"] + 1.0),
        "Without validation_accuracy the reward is nan": lambda: plain(
            lambda trial: trial.metrics["validation_accuracy"] or math.nan
        ),
    },
}


# --- readers that break the protocol ---------------------------------------------------------------------------------


def examples(count, start=0, shape=(1, 4, 4), classes=3):
    inputs = start + torch.arange(count).view(-1, *[1] * len(shape)) + torch.rand(count, *shape) / 2
    return inputs, torch.arange(count) % classes


def masks(count, start=0, planes=1, dtype=torch.float32):
    inputs, _ = examples(count, start)
    return inputs, (torch.rand(count, planes, 4, 4) < 0.5).to(dtype)


def data(train=None, validation=None, test=None, seed=0, set_later=None, **settings):
    """Small data with parts of other kinds; `set_later` is put in past the checks of `Data`."""
    torch.manual_seed(seed)
    made = Data(train or examples(12), validation or examples(6, 100), test or examples(6, 200), **settings)
    for name, value in (set_later or {}).items():
        object.__setattr__(made, name, value)
    return made


def changed(value, of):
    """Data in which one number is another one."""
    made = data(masks(12), masks(6, 100), masks(6, 200))
    made.test[of][-1, 0, -1, -1] = value
    return made


class Forgetful(Data):
    def to(self, device):
        return type(self)(self.train, self.validation, self.test)


class Plain(Data):
    def to(self, device):
        return Data(self.train, self.validation, self.test)


def forgetful(kind):
    made = data()
    return kind(made.train, made.validation, made.test, episode_examples=torch.tensor([1, 2]))


class Cut(Data):
    def __reduce__(self):
        return Data, (self.train, self.validation, self.validation)


def numbers(kind, wrong):
    """Labels or values, with a wrong one in the validation split."""
    parts = [(examples(6, start)[0], torch.ones(6, 2)) for start in (0, 100, 200)]
    made = data(*parts, kind=kind)
    made.validation[1][3, 1] = wrong
    return made


DATA_CHECKS = {
    "test_the_splits_are_alike_and_none_is_empty": {
        "returns a tuple, which is no Data": lambda: examples(12),
        "test split has 0 inputs": lambda: data(set_later={"test": examples(0)}),
        "validation split has 5 inputs and 6 targets": lambda: data(
            set_later={"validation": (examples(5)[0], examples(6)[1])}
        ),
        r"test split has inputs of shape \(1, 5, 4\)": lambda: data(test=examples(6, shape=(1, 5, 4))),
        "validation split has inputs of shape .* torch.float64": lambda: data(
            set_later={"validation": (examples(6)[0].double(), examples(6)[1])}
        ),
        r"test split has targets of shape \(2, 4, 4\)": lambda: data(masks(12), masks(6, 100), masks(6, 200, planes=2)),
        "validation split has targets of shape .* torch.float32, training of .* torch.int64": lambda: data(
            set_later={"validation": masks(6, 100)}
        ),
    },
    "test_inputs_are_finite_numbers": {
        "test split has inputs that are not finite": lambda: changed(math.nan, 0),
        "test split has inputs that are not": lambda: changed(math.inf, 0),
    },
    "test_targets_are_of_their_kind": {
        "validation split has labels with 0.5": lambda: numbers("labels", 0.5),
        "validation split has values with nan": lambda: numbers("values", math.nan),
        r"train split has labels of torch.float64 and shape \(12, 2\)": lambda: data(
            *((examples(12)[0], torch.ones(12, 2)),) * 3,
            kind="labels",
            set_later={"train": (examples(12)[0], torch.ones(12, 2).double())},
        ),
        r"classes in training are \[0, 2\]": lambda: data((examples(12)[0], 2 * examples(12, classes=2)[1])),
        r"classes in training are \[1, 2\]": lambda: data((examples(12)[0], 1 + examples(12, classes=2)[1])),
        "validation split has the class 3, which is not": lambda: data(validation=examples(6, 100, classes=4)),
        "classes of torch.int32": lambda: data(set_later={"train": (examples(12)[0], examples(12)[1].int())}),
        "masks of torch.float64": lambda: data(*(masks(6, start, dtype=torch.float64) for start in (0, 100, 200))),
        "for inputs of shape": lambda: data(
            set_later={"kind": "masks", "train": (examples(12)[0], torch.zeros(12, 1, 2, 2))}
        ),
        "masks with 0.5; they hold 0 and 1": lambda: changed(0.5, 1),
    },
    "test_no_example_is_in_two_splits": {
        "input of the test split is in the train split too": lambda: data(
            test=(torch.cat([examples(5, 200)[0], data().train[0][:1]]), examples(6)[1])
        ),
        "input of the test split is in the validation split too": lambda: data(set_later={"test": data().validation}),
    },
    "test_episodes_train_on_training_examples": {
        "beyond the 12 of training": lambda: data(episode_examples=torch.tensor([3, 12])),
        "examples beyond": lambda: data(episode_examples=torch.tensor([-1, 3])),
        "on an example twice": lambda: data(episode_examples=torch.tensor([3, 3])),
        "of an episode are none": lambda: data(episode_examples=torch.tensor([], dtype=torch.int64)),
        "are torch.float32": lambda: data(episode_examples=torch.tensor([1.0])),
    },
    "test_read_again_it_is_the_same": {
        "Read twice": lambda: data(seed=next(COUNTER)),
    },
    "test_notes_are_sentences": {
        "which is no tuple": lambda: data(notes=["Ten are left out."]),
        "'ten left out' is not one sentence": lambda: data(notes=("ten left out",)),
        "3 is not one sentence": lambda: data(notes=(3,)),
    },
    "test_it_can_be_moved_to_a_device": {
        "the data are a Data": lambda: forgetful(Plain),
        "Moved to a device, the data have another digest": lambda: forgetful(Forgetful),
    },
    "test_it_can_be_sent_to_another_process": {
        "cannot be sent to another process: .*lambda": lambda: data(set_later={"open": lambda: 0}),
        "Sent to another process, the data have another digest": lambda: forgetful(Cut),
    },
}

CHECKS = {
    EvaluatorConformance: EVALUATOR_CHECKS,
    RewardConformance: REWARD_CHECKS,
    DataConformance: DATA_CHECKS,
}
BROKEN = [
    pytest.param(suite, check, says, make, id=f"{check}-{says}")
    for suite, checks in CHECKS.items()
    for check, broken in checks.items()
    for says, make in broken.items()
]


@pytest.mark.parametrize(("suite", "check", "says", "make"), BROKEN)
def test_what_breaks_a_protocol_fails_in_one_sentence(suite, check, says, make):
    broken = type("Suite", (suite,), {"make": lambda self: make()})
    with pytest.raises(AssertionError) as failed:
        getattr(broken(), check)()
    sentence = str(failed.value).splitlines()[0]
    assert re.search(says, sentence), sentence
    assert re.match(r"[A-Z].*[.:]", sentence), sentence


@pytest.mark.parametrize("suite", CHECKS)
def test_every_check_fails_for_something_broken(suite):
    assert {name for name in dir(suite) if name.startswith("test_")} == set(CHECKS[suite])


@pytest.mark.parametrize("suite", CHECKS)
def test_a_suite_that_makes_nothing_says_so(suite):
    with pytest.raises(NotImplementedError, match=r"make\(\)"):
        getattr(suite(), next(iter(CHECKS[suite])))()
