"""Plot a heatmap with nilearn: the strongest voxels of one model, on the template."""

import textwrap

import pellucid

analysis = pellucid.load_analysis("../../quickstart/results", "diagnosis")

model = "model_averaging/gm"
print(textwrap.fill(analysis.verdicts[model]["text"], 80))
print(*analysis.heatmaps, sep="\n")

heatmap = analysis.heatmap(model=model, method="pattern", explained_class="patient")
regions = analysis.regions.query("cell == @model and method == 'pattern'")
regions = regions.query("atlas == 'AAL' and rank <= 3")
print(regions[["region", "rank", "mean", "p_size"]].to_string(index=False))

# all options of nilearn.plotting.plot_stat_map can be given
display = heatmap.plot(cut_coords=(-26, 4, 0), title=f"{model}, {heatmap.method}")
display.savefig("plot_heatmap.png", dpi=110)
