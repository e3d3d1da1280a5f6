"""Running pipelines on this machine: kfp.local with a display that a person can follow."""
