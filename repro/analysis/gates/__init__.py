"""Figure 3 of the paper: the gates of the meta-LSTM."""
