"""One tuning run, from the learner's play to the closing report."""
