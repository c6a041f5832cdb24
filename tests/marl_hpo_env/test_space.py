"""Layers, the search space they span, and designs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl_hpo_env import InputError, Layer, SearchSpace


def test_the_first_hyperparameter_varies_fastest():
    layer = Layer("conv", "Conv2d", {"out_channels": (8, 16), "kernel_size": (1, 3, 5)})
    assert layer.actions == ((8, 1), (16, 1), (8, 3), (16, 3), (8, 5), (16, 5))
    assert layer.hyperparameters(3) == {"out_channels": 16, "kernel_size": 3}


@given(data=st.data())
def test_every_action_round_trips_through_its_hyperparameters(search_spaces, data):
    for layer in data.draw(search_spaces).layers:
        assert [layer.action(layer.hyperparameters(a)) for a in range(len(layer.actions))] == list(
            range(len(layer.actions))
        )


@given(data=st.data())
def test_a_design_round_trips_through_its_hyperparameters(search_spaces, data):
    space = data.draw(search_spaces)
    design = space.design_at(data.draw(st.integers(0, space.size - 1)))
    assert space.design(space.hyperparameters(design)) == design


@given(data=st.data())
def test_a_design_round_trips_through_its_number(search_spaces, data):
    space = data.draw(search_spaces)
    number = data.draw(st.integers(0, space.size - 1))
    assert space.index(space.design_at(number)) == number


@given(data=st.data())
def test_a_design_and_its_hyperparameters_round_trip_through_json(search_spaces, data):
    space = data.draw(search_spaces)
    design = space.design_at(data.draw(st.integers(0, space.size - 1)))
    assert space.check(json.loads(json.dumps(design))) == design
    assert space.design(json.loads(json.dumps(space.hyperparameters(design)))) == design


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_a_sampled_design_is_canonical_and_of_the_space(search_spaces, data, seed):
    space = data.draw(search_spaces)
    design = space.sample(np.random.default_rng(seed))
    assert design == space.check(design)
    assert isinstance(design, tuple)
    assert {type(action) for action in design} == {int}


def test_samples_are_uniform(spaces):
    space = spaces["unequal"]
    rng = np.random.default_rng(0)
    counts = np.zeros(space.size)
    for _ in range(100 * space.size):
        counts[space.index(space.sample(rng))] += 1
    assert counts.min() > 60
    assert counts.max() < 140


def test_numbers_name_every_design_once_and_the_first_layer_varies_fastest(space):
    designs = [space.design_at(number) for number in range(space.size)]
    assert len(set(designs)) == space.size == np.prod(space.sizes)
    assert designs == sorted(designs, key=lambda design: design[::-1])


@pytest.mark.parametrize("number", [5, np.int64(5), np.uint8(5)])
def test_the_design_of_a_number_has_plain_ints_whatever_the_number_came_from(spaces, number):
    design = spaces["chain"].design_at(number)
    assert json.loads(json.dumps(design)) == [1, 1, 0]


def test_numpy_actions_become_plain_ints(spaces):
    for design in (np.array([1, 2, 3]), [np.int8(1), np.int64(2), np.array(3)]):
        checked = spaces["chain"].check(design)
        assert checked == (1, 2, 3)
        assert {type(action) for action in checked} == {int}


@given(data=st.data())
def test_pairs_feeding_and_fed_say_the_same_of_the_graph(search_spaces, data):
    space = data.draw(search_spaces)
    edges = {(space.position(name), j) for j, layer in enumerate(space.layers) for name in layer.inputs}
    assert list(space.pairs) == sorted(edges)
    assert {(i, j) for j, producers in enumerate(space.feeding) for i in producers} == edges
    assert {(i, j) for i, consumers in enumerate(space.fed) for j in consumers} == edges
    assert all(i < j for i, j in edges)


def test_the_pairs_of_a_diamond(spaces):
    space = spaces["diamond"]
    assert space.pairs == ((0, 1), (0, 2), (1, 3), (2, 3))
    assert space.feeding == ((), (0,), (0,), (1, 2))
    assert space.fed == ((1, 2), (3,), (3,), ())


def test_feeding_layers_are_in_network_order_in_whatever_order_they_are_given():
    choices = {"stride": (1, 2)}
    layers = [Layer(name, "Conv2d", choices) for name in "abc"]
    space = SearchSpace([*layers, Layer("d", "Conv2d", choices, ("c", "a", "b", "a"))])
    assert space.feeding[3] == (0, 1, 2)
    assert space.pairs == ((0, 3), (1, 3), (2, 3))
    assert space.fed == ((3,), (3,), (3,), ())


@given(data=st.data())
def test_the_description_is_json_and_tells_spaces_apart(search_spaces, data):
    first, second = data.draw(search_spaces), data.draw(search_spaces)
    described = json.loads(json.dumps(first.describe()))
    assert described == first.describe()
    assert (described == second.describe()) == (first == second)


@given(data=st.data())
def test_a_described_space_is_the_same_space(search_spaces, data):
    space = data.draw(search_spaces)
    assert SearchSpace.described(json.loads(json.dumps(space.describe()))) == space


def test_a_value_of_any_depth_is_described_and_comes_back():
    space = SearchSpace([Layer("conv", "Conv2d", {"padding": (((1, 2), (3, 4)), "same", None)})])
    assert SearchSpace.described(json.loads(json.dumps(space.describe()))) == space


@pytest.mark.parametrize(
    "description",
    [
        3,
        [3],
        [{}],
        [{"name": "conv", "kind": "Conv2d", "choices": [], "inputs": []}],
        [{"name": "conv", "kind": "Conv2d", "choices": [["stride"]], "inputs": []}],
        [{"name": "conv", "kind": "Conv2d", "choices": [["stride", [1]]], "inputs": ["stem"]}],
    ],
)
def test_what_describes_no_space_is_refused(description, refused):
    with refused("describe"):
        SearchSpace.described(description)


def test_a_type_among_the_choices_is_described_by_its_name():
    space = SearchSpace([Layer("relu", "Activation", {"type": (dict, list)})])
    assert space.describe()[0]["choices"] == [["type", ["builtins.dict", "builtins.list"]]]


def test_spaces_whose_designs_mean_other_networks_are_not_equal():
    # The same action stands for other values where the hyperparameters come in another order.
    first = Layer("conv", "Conv2d", {"kernel_size": (1, 2), "stride": (1, 2)})
    second = Layer("conv", "Conv2d", {"stride": (1, 2), "kernel_size": (1, 2)})
    assert first.hyperparameters(1) != second.hyperparameters(1)
    assert SearchSpace([first]) != SearchSpace([second])
    described = [json.dumps(SearchSpace([layer]).describe(), sort_keys=True) for layer in (first, second)]
    assert described[0] != described[1]  # this is what a task's fingerprint is made of


def test_equal_spaces_are_equal_and_hash_alike(spaces):
    again = SearchSpace(
        [Layer(layer.name, layer.kind, dict(layer.choices), layer.inputs) for layer in spaces["diamond"].layers]
    )
    assert again == spaces["diamond"]
    assert hash(again) == hash(spaces["diamond"])
    assert again != spaces["chain"]


@pytest.mark.parametrize("values", [(1, 1.0), (True, 1), (0, False), ((1, 1), (1.0, 1))])
def test_values_that_are_equal_are_refused_or_told_apart(values):
    try:
        layer = Layer("conv", "Conv2d", {"bias": values})
    except InputError:
        return
    assert [layer.action(layer.hyperparameters(action)) for action in range(2)] == [0, 1]


def test_a_list_as_a_value_becomes_a_tuple():
    layer = Layer("conv", "Conv2d", {"kernel_size": [[3, 1], [1, 3]]})
    assert layer.actions == (((3, 1),), ((1, 3),))
    assert layer.action({"kernel_size": [1, 3]}) == 1


@pytest.mark.parametrize(
    ("choices", "mentioned"),
    [
        ({}, "no hyperparameter"),
        ({"stride": ()}, "'stride'"),
        ({"stride": (1, 2, 1)}, "twice"),
        ({"stride": 2}, "2"),
        ({"padding_mode": "zeros"}, "'zeros'"),
    ],
)
def test_a_layer_needs_choices_that_can_be_chosen_from(refused, choices, mentioned):
    with refused("'conv'", mentioned):
        Layer("conv", "Conv2d", choices)


def test_a_space_needs_a_layer(refused):
    with refused("at least one layer"):
        SearchSpace([])


def test_a_name_is_used_once(refused):
    layer = Layer("conv", "Conv2d", {"stride": (1, 2)})
    with refused("'conv'"):
        SearchSpace([layer, layer])


@pytest.mark.parametrize("producer", ["later", "conv", "absent"])
def test_a_layer_is_fed_by_layers_before_it(refused, producer):
    layers = [Layer("conv", "Conv2d", {"stride": (1, 2)}, (producer,)), Layer("later", "Conv2d", {"stride": (1, 2)})]
    with refused("'conv'", f"'{producer}'"):
        SearchSpace(layers)


@pytest.mark.parametrize("design", [(), (0, 0), (0, 0, 0, 0)])
def test_a_design_has_one_action_per_layer(spaces, refused, design):
    for use in (spaces["chain"].check, spaces["chain"].index, spaces["chain"].hyperparameters):
        with refused("3 actions", f"got {len(design)}"):
            use(design)


def test_what_is_not_an_action_is_refused(spaces, refused, no_action):
    with refused("'conv2'", "0 to 3"):
        spaces["chain"].check((0, no_action(4), 0))


@pytest.mark.parametrize("number", [-1, 64, 10**20])
def test_a_number_beyond_the_space_is_refused(spaces, refused, number):
    with refused(str(number), "0 to 63"):
        spaces["chain"].design_at(number)


def test_an_unknown_layer_is_refused_with_the_names_nearest_to_it(spaces, refused):
    with refused("'conv3'", "'conv1'", "'conv2'"):
        spaces["chain"].position("conv3")
    with refused("'conv3'", "'conv1'", "'conv2'"):
        spaces["chain"].design({"conv3": {}})


def test_agents_are_named_as_layers_without_dots(refused):
    names = ["features.0", "fc", "a.b_c", "a_b.c", "head", "head.1", "head_1", "head_1_2"]
    space = SearchSpace(Layer(name, "Linear", {"out_features": (1, 2)}) for name in names)
    assert space.names == tuple(names)
    assert space.agents == ("features_0", "fc", "a_b_c", "a_b_c_2", "head", "head_1_3", "head_1", "head_1_2")
    for position, (name, agent) in enumerate(zip(space.names, space.agents, strict=True)):
        assert space.position(name) == space.position(agent) == position
    with refused("'features_0'"):
        space.design({"features_0": {"out_features": 1}})  # files have the layers' names


@given(data=st.data())
def test_every_name_is_of_one_layer_and_torch_takes_every_agents(search_spaces, data):
    space = data.draw(search_spaces)
    assert len(set(space.agents)) == len(space)
    assert not any("." in agent for agent in space.agents)
    assert [*map(space.position, space.names)] == [*map(space.position, space.agents)] == list(range(len(space)))


def test_hyperparameters_of_every_layer_are_needed(spaces, refused):
    hyperparameters = spaces["chain"].hyperparameters((0, 1, 2))
    del hyperparameters["conv2"]
    with refused("'conv2'"):
        spaces["chain"].design(hyperparameters)


@pytest.mark.parametrize(
    "values",
    [{"out_channels": 8, "kernel_size": 4}, {"out_channels": 8}, {"out_channels": 8, "kernel_size": 3, "stride": 1}],
)
def test_hyperparameters_that_are_no_action_are_refused(spaces, refused, values):
    with refused("'conv1'", str(values)):
        spaces["chain"].layers[0].action(values)


def test_a_space_of_thousands_of_layers_can_be_shown():
    # 60^2500 has 4,446 digits, more than Python turns into text.
    layers = [Layer(f"layer{i}", "Conv2d", {"out_channels": range(60)}) for i in range(2500)]
    assert repr(SearchSpace(layers)) == "SearchSpace(2500 layers, 0 pairs, about 10^4445 designs)"
    assert SearchSpace(layers[:2]).size_text == "3,600"


@pytest.mark.parametrize(
    ("wrong", "mentioned"),
    [
        ({"name": 3}, "3"),
        ({"name": ""}, "name"),
        ({"kind": None}, "None"),
        ({"inputs": "conv"}, "'conv'"),
        ({"inputs": (3,)}, "(3,)"),
        ({"choices": [("stride", (1, 2))]}, "by the hyperparameter's name"),
        ({"choices": {"stride": (1, float("nan"))}}, "nan"),
        ({"choices": {"stride": (1, float("inf"))}}, "inf"),
        ({"choices": {"stride": ((1, float("nan")),)}}, "nan"),
        ({"choices": {"stride": (np.zeros(2),)}}, "array"),
        ({"choices": {"stride": ({"a": 1},)}}, "{'a': 1}"),
        ({"choices": {str(n): range(50) for n in range(8)}}, "39,062,500,000,000 actions"),
    ],
)
def test_a_layer_of_values_of_another_kind_is_one_sentence(refused, wrong, mentioned):
    with refused(mentioned):
        Layer(**{"name": "conv", "kind": "Conv2d", "choices": {"stride": (1, 2)}, **wrong})
