"""From features to out-of-sample predictions: labels, folds, samples, and the walk forward over them."""
