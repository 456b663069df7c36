"""Make the figure of a paper: performance, location and regions of one model."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np

import pellucid

MODEL, METHOD = "model_averaging/gm", "pattern"
analysis = pellucid.load_analysis("../../quickstart/results", "diagnosis")
heatmap = analysis.heatmap(model=MODEL, method=METHOD, explained_class="patient")

plt.rcParams.update(
    {"font.size": 8, "svg.fonttype": "none"}
)  # text stays text in the SVG
figure = plt.figure(figsize=(7.1, 5.2))  # inches: the width of two columns
axes = figure.subplot_mosaic(
    [["scores", "people"], ["brain", "brain"], ["regions", "regions"]],
    height_ratios=(1, 1.2, 0.9),
    gridspec_kw={
        "left": 0.2,
        "right": 0.97,
        "top": 0.95,
        "bottom": 0.09,
        "wspace": 0.35,
        "hspace": 0.45,
    },
)

# A: the model, beside the classifiers that use no image
scores = analysis.scores.query("cell == @MODEL or cell not in @analysis.verdicts")
scores = scores.iloc[::-1]
center = scores["balanced_accuracy"]
distance = [
    center - scores["balanced_accuracy_low"],
    scores["balanced_accuracy_high"] - center,
]
axes["scores"].errorbar(
    center, scores["cell"], xerr=distance, fmt="o", color="black", capsize=2
)
axes["scores"].axvline(0.5, color="gray", linestyle="--")
axes["scores"].set(
    xlim=(0, 1),
    ylim=(-0.5, len(scores) - 0.5),
    xlabel="balanced accuracy (95 % interval)",
)

# B: every participant, held out
predictions = analysis.predictions.query("cell == @MODEL")
jitter = np.random.default_rng(1)
for position, name in enumerate(("control", "patient")):
    probability = predictions.loc[predictions["true"] == name, "probability_patient"]
    axes["people"].scatter(
        position + jitter.uniform(-0.15, 0.15, len(probability)), probability, s=12
    )
axes["people"].axhline(0.5, color="gray", linestyle="--")
axes["people"].set(
    xticks=(0, 1),
    xticklabels=("control", "patient"),
    xlim=(-0.5, 1.5),
    ylim=(-0.05, 1.05),
)
axes["people"].set_ylabel("probability of patient")

# C: where
cuts = {"display_mode": "z", "cut_coords": (-8, -2, 4, 10, 16)}
display = heatmap.plot(
    axes=axes["brain"], black_bg=False, annotate=False, title=None, **cuts
)
display.annotate(size=8)

# D: the regions with the largest mean
regions = analysis.regions.query("cell == @MODEL and method == @METHOD")
regions = regions.query("atlas == 'AAL' and rank <= 5")
axes["regions"].barh(regions["region"], regions["mean"], color="gray")
axes["regions"].invert_yaxis()
axes["regions"].set_xlabel("mean of the heatmap")

for letter, left, panel in zip(
    "ABCD", (0.01, 0.55, 0.01, 0.01), axes.values(), strict=True
):
    figure.text(
        left, panel.get_position().y1, letter, weight="bold", size=11, va="center"
    )
figure.savefig("paper_figure.svg")
figure.savefig("paper_figure.png", dpi=150)

print(textwrap.fill(analysis.verdicts[MODEL]["text"], 80))
print("unit of the heatmap:", heatmap.unit)
