"""Labelled text, checked and split: `prepare_data.prepare`, `settings.PrepareSettings`, `splits.read_split`."""
