"""The rows that cleanlab thinks are labelled wrong, as one line of JSON: python label_errors_peer.py ROWS.npz

Of `codes` and `probabilities` by two of its filters, `confident_learning` and its default; where the file holds
`features` too, also by all of cleanlab: its own cross-validation of its own default model.
"""

import json
import sys

import numpy as np
from cleanlab import __version__
from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues

given = np.load(sys.argv[1])
found = {
    name: find_label_issues(
        given["codes"],
        given["probabilities"],
        filter_by=name,
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    ).tolist()
    for name in ("confident_learning", "prune_by_noise_rate", "both")
}
if "features" in given:
    issues = CleanLearning(seed=0).find_label_issues(given["features"], given["codes"])
    found["end_to_end"] = issues.query("is_label_issue").sort_values("label_quality").index.tolist()
print(json.dumps({"version": __version__, **found}))
