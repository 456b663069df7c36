"""What `import pellucid` offers: the results of an analysis, and its trained models, in memory."""
