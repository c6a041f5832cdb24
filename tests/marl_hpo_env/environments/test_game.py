"""The rules of the game, without any framework."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from marl_hpo_env import Game, Layer, SearchSpace


def facts(game: Game) -> tuple:
    """All that can be known of a game."""
    return game.turn, game.agent, game.picks, game.design, game.state().tolist()


@given(data=st.data())
def test_a_game_ends_with_the_design_that_was_picked_in_network_order(search_spaces, data):
    space = data.draw(search_spaces)
    design = space.design_at(data.draw(st.integers(0, space.size - 1)))
    game = Game(space)
    for turn, action in enumerate(design):
        assert (game.turn, game.agent, game.design, game.design_complete) == (turn, space.agents[turn], None, False)
        assert game.picks == design[:turn]
        game.pick(action)
    assert (game.turn, game.agent, game.design, game.design_complete) == (len(space), None, design, True)


@given(data=st.data())
def test_observing_never_changes_the_game(search_spaces, data):
    space = data.draw(search_spaces)
    design = space.design_at(data.draw(st.integers(0, space.size - 1)))
    game = Game(space)
    for turn in range(len(space) + 1):
        before = facts(game)
        for layer in range(len(space)):
            first = game.observe(layer)
            first += 7  # what was handed out is the agent's own
            assert (game.observe(layer) == first - 7).all()
        game.state()[:] = -1
        game.render()
        assert facts(game) == before
        if turn < len(space):
            game.pick(design[turn])


@given(data=st.data())
def test_the_state_changes_after_every_pick_and_tells_all_picks(search_spaces, data):
    space = data.draw(search_spaces)
    design = space.design_at(data.draw(st.integers(0, space.size - 1)))
    game = Game(space)
    assert game.state().tolist() == [0] * len(space)
    for turn, action in enumerate(design):
        before = game.state()
        game.pick(action)
        assert (game.state() != before).tolist() == [layer == turn for layer in range(len(space))]
        assert game.state()[turn] == action + 1


@given(data=st.data())
def test_an_agent_sees_what_its_feeding_layers_picked(search_spaces, data):
    space = data.draw(search_spaces)
    design = space.design_at(data.draw(st.integers(0, space.size - 1)))
    game = Game(space)
    for turn in range(len(space) + 1):
        for layer in range(len(space)):
            seen = [design[i] + 1 if i < turn else 0 for i in space.feeding[layer]] or [0]
            assert game.observe(layer).tolist() == seen
        if turn < len(space):
            game.pick(design[turn])


def test_the_observations_in_a_diamond(spaces):
    game = Game(spaces["diamond"])
    game.pick(3)
    game.pick(1)
    assert [game.observe(layer).tolist() for layer in range(4)] == [[0], [4], [4], [2, 0]]
    assert game.state().tolist() == [4, 2, 0, 0]


def test_what_is_not_an_action_is_refused_and_leaves_the_game_as_it_was(spaces, refused, no_action):
    space = spaces["unequal"]
    game = Game(space)
    for turn in range(len(space)):
        before = facts(game)
        with refused(repr(space.names[turn]), f"0 to {space.sizes[turn] - 1}"):
            game.pick(no_action(space.sizes[turn]))
        assert facts(game) == before
        game.pick(0)


def test_a_numpy_integer_is_an_action(spaces):
    game = Game(spaces["single"])
    game.pick(np.int64(2))
    assert game.design == (2,)
    assert type(game.design[0]) is int


def test_a_complete_design_takes_no_further_pick(space, refused):
    game = Game(space)
    for _ in space.layers:
        game.pick(0)
    before = facts(game)
    with refused("complete", "reset"):
        game.pick(0)
    assert facts(game) == before


def test_a_reset_forgets_every_pick(space):
    game = Game(space)
    new = facts(game)
    game.pick(0)
    assert facts(game) != new
    game.reset()
    assert facts(game) == new


def test_the_picture_shows_what_was_picked_and_who_is_next():
    space = SearchSpace(
        [
            Layer("conv", "Conv2d", {"out_channels": (8, 16), "kernel_size": (3, 5)}),
            Layer("relu", "Activation", {"type": (dict, list)}, ("conv",)),
            Layer("fc", "Linear", {"out_features": (16, 32)}, ("relu",)),
        ]
    )
    game = Game(space)
    game.pick(1)
    first, second, third = game.render().splitlines()
    assert first.split() == ["conv", "Conv2d", "out_channels", "16,", "kernel_size", "3"]
    assert "picks next" in second
    assert "picks next" not in third
    game.pick(1)
    assert game.render().splitlines()[1].split() == ["relu", "Activation", "type", "list"]


def test_the_picture_stands_in_columns_however_long_the_names_are():
    space = SearchSpace(
        [
            Layer("a", "Conv2d", {"stride": (1, 2)}),
            Layer("a.much.longer.name", "Linear", {"out_features": (1, 2)}, ("a",)),
        ]
    )
    game = Game(space)
    game.pick(0)
    lines = game.render().splitlines()
    assert [line.index(kind) for line, kind in zip(lines, ("Conv2d", "Linear"), strict=True)] == [20, 20]
    assert lines[0].index("stride 1") == lines[1].index("picks next")
