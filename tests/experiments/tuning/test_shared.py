"""A search on shared weights from the command line: its best are trained, and found is the best of these."""

import csv

from marl_hpo_env import Store

TUNE = ("tune", "--task", "digits-convnet", "--learner", "random", "--episodes", 6, "--device", "cpu", "--workers", 1)


def test_the_best_on_shared_weights_are_trained_and_the_run_goes_on(marl_hpo, tmp_path):
    arguments = (*TUNE, "--shared", "--shared-epochs", 1, "--confirm", 2, "--out", tmp_path)
    code, _, errors = marl_hpo(*arguments)
    assert code == 0, errors
    assert "Shared weights know no loss limit" in errors
    run = tmp_path / "random-shared-seed0"
    report = (run / "report.md").read_text()
    assert "- Shared weights: trained for 1 epochs" in report
    assert "- random on shared weights: 6 episodes, 6 distinct designs, as slices and not trained" in report
    assert "## Confirmed by training" in report
    searched, confirmed = (
        {tuple(line.values())[1:] for line in csv.DictReader((run / f"episodes-{name}.csv").open())}
        for name in ("random-on-shared-weights", "random")
    )
    assert len(searched) == 6
    assert 2 <= len(confirmed) <= 6
    assert (run / "network.safetensors").exists()
    store = Store(tmp_path / "trials.sqlite")
    trials = list(store.trials())
    on_slices = [trial for fingerprint, trial in trials if "-shared-" in fingerprint]
    assert len(on_slices) == 7  # with the original
    assert all(not trial.history and trial.metrics["train_loss"] is None for trial in on_slices)
    assert len([trial for _, trial in trials if trial.request.epochs == 4]) == len(confirmed) + 1
    store.close()
    (checkpoint,) = tmp_path.glob("*.safetensors")
    before = checkpoint.stat().st_mtime_ns
    assert marl_hpo(*arguments)[0] == 0
    assert checkpoint.stat().st_mtime_ns == before
    assert (run / "report.md").read_text().split("Measured by")[0] == report.split("Measured by")[0]


def test_what_does_not_go_with_shared_weights_is_refused(marl_hpo, tmp_path):
    for options, said in (
        (("--shared", "--baseline", "local-search"), "The option --baseline goes with trainings"),
        (("--shared", "--target", 1), "The option --target goes with trainings"),
        (("--shared", "--weight", "inference_ms_per_batch=1"), "which is not measured here"),
        (("--confirm", 2), "are for a search on shared weights; add --shared"),
    ):
        code, _, errors = marl_hpo(*TUNE, *options, "--out", tmp_path)
        assert code == 2
        assert said in " ".join(errors.split())
