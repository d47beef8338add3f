"""The learner, its inner loop and the meta-learner: arithmetic that knows no data set."""
