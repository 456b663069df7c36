"""Compare two analyses: models that were trained on a diagnosis, and on a coin toss."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pellucid

analyses = {name: pellucid.load_analysis("../../quickstart/results", name) for name in ("diagnosis", "coin")}

# verdicts has the models; scores also has the classifiers that use no image
scores = pd.concat({name: analysis.scores for name, analysis in analyses.items()}, names=["analysis", None])
scores = scores.reset_index("analysis").query("cell in @analyses['diagnosis'].verdicts")
print(scores[["analysis", "cell", "balanced_accuracy", "p_corrected"]].to_string(index=False))

# an analysis of two classes has one pattern per model, that of the class which is not the reference
images = [analysis.heatmap(model="model_averaging/gm", method="pattern").image for analysis in analyses.values()]
diagnosis, coin = (image.get_fdata() for image in images)
inside = (diagnosis != 0) & (coin != 0)
correlation = np.corrcoef(diagnosis[inside], coin[inside])[0, 1]
print(f"correlation of the two heatmaps of model_averaging/gm: {correlation:.2f}")

figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
for offset, (name, rows) in zip((-0.1, 0.1), scores.groupby("analysis", sort=False), strict=True):
    center = rows["balanced_accuracy"]
    distance = [center - rows["balanced_accuracy_low"], rows["balanced_accuracy_high"] - center]
    axes.errorbar(center, np.arange(len(rows)) + offset, xerr=distance, fmt="o", capsize=3, label=name)
axes.axvline(0.5, color="gray", linestyle="--", label="chance")
axes.set(yticks=range(len(rows)), yticklabels=rows["cell"], ylim=(-0.5, len(rows) - 0.5), xlim=(0, 1))
axes.set_xlabel("balanced accuracy (95 % interval)")
figure.legend(loc="outside right upper")
figure.savefig("compare_analyses.png", dpi=110)
