import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_python_example_of_the_readme_runs_from_top_to_bottom(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert "validation_accuracy" in capsys.readouterr().out
    assert names["trial"].status == "completed"
    assert names["trial"].metrics["parameters"] == sum(p.numel() for p in names["network"].parameters())
