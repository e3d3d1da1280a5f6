"""Files of any format to batches of rows with their places; knows nothing of labels."""
