"""Compare two analyses: models that were trained on a diagnosis, and on a coin toss."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pellucid

OUT_DIR = "../../quickstart/results"
diagnosis = pellucid.load_analysis(OUT_DIR, "diagnosis")
coin = pellucid.load_analysis(OUT_DIR, "coin")

# classifiers that use no image have scores, but no verdict
scores = pd.concat({"diagnosis": diagnosis.scores, "coin": coin.scores})
scores = scores.rename_axis(["analysis", None]).reset_index("analysis")
scores = scores.query("cell in @diagnosis.verdicts")
columns = ["analysis", "cell", "balanced_accuracy", "p_corrected"]
print(scores[columns].to_string(index=False))

# of two classes there is one pattern, that of the class which is not the reference
first, second = (
    analysis.heatmap(model="model_averaging/gm", method="pattern").image.get_fdata()
    for analysis in (diagnosis, coin)
)
inside = (first != 0) & (second != 0)
correlation = np.corrcoef(first[inside], second[inside])[0, 1]
print(f"correlation of the two heatmaps of model_averaging/gm: {correlation:.2f}")

figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
for offset, name in ((-0.1, "diagnosis"), (0.1, "coin")):
    rows = scores.query("analysis == @name")
    center = rows["balanced_accuracy"]
    distance = [
        center - rows["balanced_accuracy_low"],
        rows["balanced_accuracy_high"] - center,
    ]
    position = np.arange(len(rows)) + offset
    axes.errorbar(center, position, xerr=distance, fmt="o", capsize=3, label=name)
axes.axvline(0.5, color="gray", linestyle="--", label="chance")
axes.set(
    yticks=range(len(rows)),
    yticklabels=rows["cell"],
    ylim=(len(rows) - 0.5, -0.5),
    xlim=(0, 1),
)
axes.set_xlabel("balanced accuracy (95 % interval)")
figure.legend(loc="outside right upper")
figure.savefig("compare_analyses.png", dpi=110)
