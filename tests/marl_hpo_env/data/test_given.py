import numpy as np
import pytest
import torch
from PIL import Image

from marl_hpo_env.data.given import as_data, split
from marl_hpo_env.errors import InputError


class Pairs(torch.utils.data.Dataset):
    """Inputs with their classes, one by one."""

    def __init__(self, inputs, classes):
        self.pairs = list(zip(inputs, classes, strict=True))

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]


def test_a_dataset_and_a_tuple_are_split_alike_by_class_without_overlap():
    inputs, classes = torch.arange(100.0).view(100, 1), torch.arange(100) % 4
    data, same = as_data((inputs, classes)), as_data(Pairs(inputs, classes))
    assert data.digest() == same.digest() == as_data((inputs, classes)).digest()
    assert [len(x) for x, _ in data.splits().values()] == [68, 16, 16]
    for x, y in data.splits().values():
        assert torch.equal(x[:, 0].long() % 4, y)
        assert y.unique().tolist() == [0, 1, 2, 3]
    assert sorted(torch.cat([x for x, _ in data.splits().values()])[:, 0].tolist()) == list(range(100))


def test_pixels_from_0_to_255_are_scaled_and_doubles_become_floats():
    classes = torch.arange(12) % 2
    pixels = torch.full((12, 1, 2, 2), 255, dtype=torch.uint8)
    assert as_data((pixels, classes)).train[0].unique().tolist() == [1.0]
    assert as_data((np.zeros((12, 3)), classes.numpy())).train[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((torch.zeros(5, 1), torch.arange(4) % 2), "There are 5 inputs and 4 targets"),
        ((torch.zeros(5, 1), torch.tensor([0, 0, 0, 1, 1])), "class 1 has 2"),
        ((torch.zeros(0, 1), torch.zeros(0)), "there are none"),
        (
            (torch.zeros(9, 1), torch.ones(9)),
            "Every example is of the class 1; to tell apart there must be two classes",
        ),
        ((torch.zeros(9, 1), ["ill"] * 9), "Every example is of the class ill"),
        ("photos", "The data are a str"),
        (Pairs([torch.zeros(1), torch.zeros(2)], [0, 1]), "cannot be read as tensors of one shape"),
    ],
)
def test_data_that_cannot_be_used_are_one_sentence(given, sentence, refused):
    with refused(sentence):
        as_data(given)


def test_masks_are_drawn_without_classes():
    images, masks = torch.rand(20, 3, 4, 4), (torch.rand(20, 1, 4, 4) > 0.5)
    for given in (masks, masks.float(), masks.to(torch.uint8)):
        data = as_data((images, given))
        assert [len(x) for x, _ in data.splits().values()] == [14, 3, 3]
        assert data.train[1].dtype == torch.float32
        for x, y in data.splits().values():
            for image, mask in zip(x, y, strict=True):
                (number,) = [i for i in range(20) if torch.equal(images[i], image)]
                assert torch.equal(mask, masks[number].float())


def test_targets_that_are_no_whole_numbers_are_refused_and_not_floored(refused):
    with refused("A target is 0.25; class indices are whole numbers from 0"):
        split(torch.rand(60, 3, 8, 8), torch.tensor([0.25, 1.0, 0.0]).repeat(20))
    with refused("A target is nan"):
        split(torch.rand(60, 3, 8, 8), torch.tensor([float("nan"), 1.0, 0.0]).repeat(20))
    assert split(torch.rand(60, 3, 8, 8), torch.tensor([2.0, 1.0, 0.0]).repeat(20)).number_of_classes == 3


# What users have.


def kept(data):
    """The numbers of all examples that are kept, and their targets."""
    return {
        int(x[0]): y.tolist()
        for inputs, targets in data.splits().values()
        for x, y in zip(inputs, targets, strict=True)
    }


NUMBERED = torch.arange(60.0).view(60, 1)
THREE = torch.arange(60) % 3


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (np.array(["owl", "cat", "emu"])[np.arange(60) % 3], ("cat", "emu", "owl")),
        ([("owl", "cat", "emu")[i % 3] for i in range(60)], ("cat", "emu", "owl")),
        (np.array(["owl", "cat", "emu"], dtype=object)[np.arange(60) % 3], ("cat", "emu", "owl")),
        ([("10", "9", "100")[i % 3] for i in range(60)], ("9", "10", "100")),
    ],
)
def test_strings_are_the_names_of_classes(targets, names):
    data = split(NUMBERED, targets)
    assert (data.kind, data.class_names) == ("classes", names)
    assert {number: names[y] for number, y in kept(data).items()} == {i: str(targets[i]) for i in range(60)}


def test_the_order_of_names_that_are_given_is_kept(refused):
    data = split(NUMBERED, ["owl", "cat", "emu"] * 20, class_names=("owl", "emu", "cat"))
    assert kept(data) == {i: (0, 2, 1)[i % 3] for i in range(60)}
    assert data.class_names == ("owl", "emu", "cat")
    with refused("There is no class 'emu'"):
        split(NUMBERED, ["owl", "cat", "emu"] * 20, class_names=("owl", "cat"))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32, torch.bool])
def test_one_hot_rows_are_classes_and_that_is_said(dtype):
    data = split(NUMBERED, torch.eye(3)[THREE].to(dtype))
    assert data.digest() == split(NUMBERED, THREE).digest()
    assert "one-hot" in str(data.notes)


def test_classes_from_1_are_numbered_from_0_and_that_is_said():
    data = split(NUMBERED, THREE + 1)
    assert data.digest() == split(NUMBERED, THREE).digest()
    assert (data.number_of_classes, data.class_names) == (3, ("1", "2", "3"))
    assert "Classes are numbered from 1 to 3; here they are 0 to 2, in the same order." in data.notes
    signs = split(NUMBERED, 2 * (torch.arange(60) % 2) - 1)
    assert (signs.number_of_classes, signs.class_names) == (2, ("-1", "1"))


def test_a_class_between_that_has_no_example_is_said():
    data = split(NUMBERED, torch.tensor([0, 1, 3])[THREE])
    assert data.number_of_classes == 4
    assert "1 of 4 classes have no example, such as class 2." in data.notes


def test_a_column_of_class_indices_is_read_where_the_kind_is_said(refused):
    with refused("shape (60, 1)", "kind='values'"):
        split(NUMBERED, THREE[:, None])
    assert split(NUMBERED, THREE[:, None], kind="classes").digest() == split(NUMBERED, THREE).digest()


@pytest.mark.parametrize(
    ("targets", "kind", "expected"),
    [
        (torch.linspace(0, 1, 60), "values", torch.linspace(0, 1, 60)[:, None]),
        (torch.arange(60), "values", torch.arange(60.0)[:, None]),
        (torch.arange(120.0).view(60, 2), "values", torch.arange(120.0).view(60, 2)),
        (THREE % 2, "labels", (THREE % 2).float()[:, None]),
        (torch.eye(3)[THREE], "labels", torch.eye(3)[THREE]),
        (np.arange(60.0), "values", torch.arange(60.0)[:, None]),
    ],
)
def test_values_and_labels_are_read_where_their_kind_is_said(targets, kind, expected):
    data = split(NUMBERED, targets, kind=kind)
    assert data.kind == kind
    assert kept(data) == {i: expected[i].tolist() for i in range(60)}
    assert [len(x) for x, _ in data.splits().values()] == [42, 9, 9]


def test_masks_of_indices_and_of_255_become_planes_of_0_and_1():
    inputs = torch.rand(20, 3, 4, 4)
    indices = torch.randint(0, 3, (20, 4, 4), dtype=torch.uint8)
    data = split(inputs, indices, kind="masks")
    assert (data.train[1].shape[1:], data.class_names) == ((2, 4, 4), ("1", "2"))
    planes = torch.stack([indices == 1, indices == 2], 1).float()
    assert as_data((inputs, planes)).digest() == data.digest() == as_data((inputs, indices.numpy())).digest()
    whole = (indices[:, None] > 0).to(torch.uint8)
    assert as_data((inputs, 255 * whole)).digest() == as_data((inputs, whole)).digest()


@pytest.mark.parametrize(
    ("targets", "settings", "words"),
    [
        (torch.linspace(0.01, 0.99, 60), {}, ("A target is 0.01", "kind='values'")),
        (torch.rand(60, 4), {}, ("shape (60, 4)", "kind='labels'", "kind='values'")),
        (torch.ones(60, 4), {}, ("kind='labels'",)),
        (torch.full((60,), float("nan")), {"kind": "values"}, ("A target is nan",)),
        (torch.full((60,), float("inf")), {}, ("A target is inf",)),
        (torch.rand(60, 2), {"kind": "labels"}, ("other values than 0 and 1",)),
        (torch.rand(60, 2), {"kind": "classes"}, ("shape (60, 2)", "one-hot")),
        (THREE * 100, {}, ("3 numbers from 0 to 200", "number them from 0")),
        (THREE, {"kind": "class"}, ("There is no kind of targets 'class'; did you mean 'classes'",)),
        (["a", "b", None] * 20, {}, ("The targets cannot be read",)),
        (np.array(["2026-01-01"] * 60, dtype="datetime64[D]"), {}, ("The targets cannot be read",)),
        (["a", "b", "c"] * 20, {"kind": "values"}, ("The targets are text, such as 'a'; values are numbers",)),
        (THREE, {"class_names": ("a", "b")}, ("2 names for 3 classes",)),
        (THREE, {"groups": THREE[:5]}, ("5 groups for 60 examples",)),
        (THREE, {"groups": THREE % 2}, ("There are 2 groups", "3 parts")),
        (THREE, {"groups": THREE}, ("No division keeps each group in one part and every class in training",)),
    ],
)
def test_targets_that_may_be_several_things_or_none_are_one_sentence(targets, settings, words, refused):
    with refused(*words):
        split(NUMBERED, targets, **settings)


@pytest.mark.parametrize(
    ("value", "dtype"), [(4095, torch.int32), (-1, torch.int16), (256, torch.int64), (65535, torch.uint16)]
)
def test_integers_that_are_no_pixels_are_refused_with_the_value(value, dtype, refused):
    inputs = torch.zeros(60, 1, 2, 2, dtype=torch.int64)
    inputs[7, 0, 1, 1] = value
    with refused(f"An input is {value}; integers are pixels from 0 to 255"):
        split(inputs.to(dtype), THREE)
    with refused("The inputs are <U1"):
        split(["a"] * 60, THREE)
    with refused("complex64"):
        split(torch.zeros(60, 1, dtype=torch.complex64), THREE)


def test_inputs_of_true_and_false_are_1_and_0():
    inputs = torch.rand(60, 1, 2, 2) > 0.5
    assert split(inputs, THREE).digest() == split(inputs.float(), THREE).digest()


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_no_group_is_in_two_parts(kind):
    generator = torch.Generator().manual_seed(1)
    groups = [f"patient {i}" for i in torch.randint(25, (300,), generator=generator).tolist()]
    targets = torch.arange(300) % 3
    inputs = torch.arange(300.0)[:, None]
    data = split(inputs, targets, kind=kind, groups=groups)
    parts = [{groups[int(x)] for x in part[:, 0]} for part, _ in data.splits().values()]
    assert sum(map(len, parts)) == 25
    for (x, y), share in zip(data.splits().values(), (0.7, 0.15, 0.15), strict=True):
        assert abs(len(x) / 300 - share) < 0.06
        if kind == "classes":
            assert (y.bincount(minlength=3) / len(y) - 1 / 3).abs().max() < 0.15
    assert split(inputs, targets, kind=kind, groups=np.array(groups)).digest() == data.digest()


def test_an_input_that_is_there_twice_is_said():
    inputs = torch.rand(60, 2)
    assert not any("twice" in note for note in split(inputs, THREE).notes)
    inputs[1] = inputs[0]
    assert (
        "1 inputs are there twice, with other targets, such as number 0 and number 1; keep one of each."
        in split(inputs, THREE).notes
    )
    apart = split(inputs, THREE)
    inputs[int((inputs == apart.test[0][0]).all(1).nonzero())] = apart.train[0][0]
    assert "in two of training, validation and test" in str(split(inputs, THREE).notes)


def test_what_was_read_is_said():
    assert split(NUMBERED, THREE).notes == (
        "Read 60 examples of 3 classes, 0 20, 1 20, 2 20; 42 for training, 9 for validation and 9 for the test.",
    )
    many = split(torch.arange(300.0)[:, None], torch.cat([torch.arange(30).repeat(9), torch.full((30,), 7)]))
    assert "of 30 classes, from 9 (0) to 39 (7) of each;" in many.notes[0]
    values = split(NUMBERED, torch.rand(60), kind="values", class_names=("age",))
    assert values.notes[0].startswith("Read 60 examples with 1 value: age; 42 for training")


# Data sets of torch, dictionaries, and parts.


class Items(torch.utils.data.Dataset):
    """Whatever it is given."""

    def __init__(self, items, classes=None):
        self.items = items
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


PHOTOS = [Image.fromarray(np.full((4, 4), i, dtype=np.uint8)) for i in range(60)]


@pytest.mark.parametrize(
    "items",
    [
        [(x, int(y)) for x, y in zip(NUMBERED, THREE, strict=True)],
        [(x.numpy(), y) for x, y in zip(NUMBERED, THREE, strict=True)],
        [(x, np.int64(y)) for x, y in zip(NUMBERED, THREE, strict=True)],
        [[x, torch.eye(3)[y]] for x, y in zip(NUMBERED, THREE, strict=True)],
        [{"image": x, "label": int(y)} for x, y in zip(NUMBERED, THREE, strict=True)],
        [{"pixel_values": x, "labels": y, "id": 3} for x, y in zip(NUMBERED, THREE, strict=True)],
    ],
)
def test_the_items_of_a_data_set_may_be_pairs_or_dictionaries(items):
    assert as_data(Items(items)).digest() == as_data((NUMBERED, THREE)).digest()


def test_photographs_of_a_data_set_become_pixels_and_its_classes_names():
    data = as_data(Items([(photo, i % 3) for i, photo in enumerate(PHOTOS)], classes=["cat", "emu", "owl"]))
    assert data.class_names == ("cat", "emu", "owl")
    pixels = torch.stack([torch.full((1, 4, 4), i, dtype=torch.uint8) for i in range(60)])
    assert data.digest() == as_data((pixels, THREE)).digest()
    deep = Image.fromarray(np.full((4, 4), 4000, dtype=np.uint16))
    with pytest.raises(InputError, match="An input is 4000"):
        as_data(Items([(deep, i % 3) for i in range(60)]))


def test_whole_arrays_may_stand_in_a_dictionary():
    given = {"image": NUMBERED.numpy(), "label": THREE.tolist()}
    assert as_data(given).digest() == as_data((NUMBERED, THREE)).digest()


def test_targets_of_a_data_set_are_not_cut_off(refused):
    with refused("A target is 0.5", "kind='values'"):
        as_data(Items([(x, 0.5) for x in NUMBERED]))


PARTS = [NUMBERED[:40], NUMBERED[40:50], NUMBERED[50:]]


@pytest.mark.parametrize("form", ["pairs", "subsets", "dictionary", "random_split"])
def test_three_parts_are_training_validation_and_test(form):
    whole = Items([(x, int(y)) for x, y in zip(NUMBERED, THREE, strict=True)], classes=["a", "b", "c"])
    ends = (range(40), range(40, 50), range(50, 60))
    subsets = [torch.utils.data.Subset(whole, list(part)) for part in ends]
    given = {
        "pairs": tuple((NUMBERED[list(part)], THREE[list(part)]) for part in ends),
        "subsets": subsets,
        "dictionary": {"test": subsets[2], "train": subsets[0], "val": subsets[1]},
        "random_split": torch.utils.data.random_split(whole, [40, 10, 10]),
    }[form]
    data = as_data(given)
    assert [len(x) for x, _ in data.splits().values()] == [40, 10, 10]
    assert kept(data) == {i: i % 3 for i in range(60)}
    if form != "random_split":
        assert [sorted(x[:, 0].int().tolist()) for x, _ in data.splits().values()] == [[*part] for part in ends]
    assert data.class_names == (() if form == "pairs" else ("a", "b", "c"))


def test_of_two_parts_the_second_is_the_test_and_validation_is_held_out_of_the_first():
    whole = Items([(x, int(y)) for x, y in zip(NUMBERED, THREE, strict=True)])
    parts = torch.utils.data.random_split(whole, [45, 15], torch.Generator().manual_seed(0))
    data = as_data(parts)
    assert sorted(data.test[0][:, 0].int().tolist()) == sorted(parts[1].indices)
    assert len(data.train[0]) + len(data.validation[0]) == 45
    assert data.validation[1].unique().tolist() == [0, 1, 2]
    assert "There is no validation part:" in str(data.notes)
    keras = as_data(((NUMBERED[:45].numpy(), THREE[:45].numpy()), (NUMBERED[45:].numpy(), THREE[45:].numpy())))
    assert sorted(keras.test[0][:, 0].int().tolist()) == list(range(45, 60))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"pixels": NUMBERED, "label": THREE},
            ("The data have the entries ['label', 'pixels']", "'image' and 'label'"),
        ),
        (Items([{"image": 1.0, "id": 3}] * 9), ("The data set's items have the entries ['id', 'image']",)),
        (Items([(1.0, 2, 3)] * 9), ("The data set cannot be read", "an item has 3 parts", "pairs")),
        (Items([1.0] * 9), ("The data set cannot be read",)),
        ((NUMBERED, THREE, THREE), ("The data are a tuple",)),
        ((), ("The data are a tuple",)),
        ({}, ("The data have the entries []",)),
        ((3, THREE), ("The inputs are torch.int64 of shape ()",)),
        (([[1, 2], [3]], [0, 1]), ("The inputs cannot be read as tensors of one shape",)),
        (
            {"test": (NUMBERED, THREE), "val": (NUMBERED, THREE)},
            ("validation and test only; name the part for training",),
        ),
        (((NUMBERED, THREE), (NUMBERED[:5], THREE)), ("The test part has 5 inputs and 60 targets",)),
        (((NUMBERED, THREE), (torch.rand(60, 2), THREE)), ("The parts differ in the shape",)),
    ],
)
def test_data_of_another_form_are_one_sentence(given, words, refused):
    with refused(*words):
        as_data(given)


def test_what_was_read_rightly_before_is_read_the_same():
    """The digests are those of version 0.1."""
    generator = torch.Generator().manual_seed(3)
    inputs, targets = torch.rand(50, 3, 4, 4, generator=generator), torch.randint(3, (50,), generator=generator)
    for data, digest in (
        (split(inputs, targets), "b9c535842762d28816e8e3bc8b0290d1d3d067d0e6f1403a4c07b3333c36d247"),
        (as_data((inputs, inputs[:, :1] > 0.5)), "fc1107576b2c85797543db59d091f36037ea84c19df2771124514328d9c10fb3"),
        (
            as_data(((inputs * 255).to(torch.uint8), targets.float())),
            "3063cd7fa35b70e578b5c92e41d1be75928c349db0b1e9c48f342c09e818a563",
        ),
        (split(inputs, targets, 0.3, 0.2), "1e2f981bbef0b0310cb3392bb3e3bec4383a6ce053289c407694c63a96e27b60"),
    ):
        assert data.digest() == digest
