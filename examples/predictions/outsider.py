"""Somebody else's method, without repro: reads exported episodes, writes a file of predictions.

python outsider.py episodes.json pixels.npy predictions.csv
"""

import csv
import json
import sys

import numpy as np


def main(episodes_path: str, pixels_path: str, predictions_path: str) -> None:
    with open(episodes_path) as file:
        content = json.load(file)
    pixels = np.load(pixels_path, mmap_mode="r")  # uint8 [n_image, height, width, 3]
    with open(predictions_path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["digest", "episode", "query", "label"])
        for number, episode in enumerate(content["episodes"]):
            support = pixels[episode["support"]].reshape(len(episode["support"]), -1) / 255
            query = pixels[episode["query"]].reshape(len(episode["query"]), -1) / 255
            labels = np.array(episode["support_labels"])
            means = np.stack([support[labels == k].mean(0) for k in range(content["n_way"])])
            distance = ((query[:, None] - means) ** 2).sum(2)
            for place, label in enumerate(distance.argmin(1)):
                writer.writerow([content["digest"], number, place, label])


if __name__ == "__main__":
    main(*sys.argv[1:])
