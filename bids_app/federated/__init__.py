"""Analyses of several sites whose images stay there: sites answer questions with sums, a coordinator adds them.

`protocol` is what goes over the wire, `questions` the fixed list of what a site answers, `outgoing` the filter through
which each answer leaves. `site` and `site_models` are the site's side; `pipeline`, `logistic`, `evidence`, `evaluation`
and `heatmaps` the coordinator's. Nothing here knows how messages travel, except `flare`.
"""
