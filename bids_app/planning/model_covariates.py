"""The covariates that trained models require, coded as in training; cards: of one model per cell (`find_models`)."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bids_app.dataset import covariates
from bids_app.training.feature_pipeline import SITE_COLUMN

Cards = Sequence[dict[str, Any]]


def training_levels(cards: Cards) -> dict[str, list[str]]:
    """The values of each categorical covariate in training."""
    return {name: values for card in cards for name, values in card["settings"]["levels"].items()}


def needed_columns(cards: Cards) -> tuple[str, ...]:
    """The columns, as in participants.tsv, that any cell adjusts for or ComBat preserves."""
    levels = training_levels(cards)
    adjusted = [column for card in cards for columns in card["adjust"].values() for column in columns]
    preserved = [column for card in cards for column in card.get("combat_keep", ())]
    return tuple(dict.fromkeys(_column_name(column, levels) for column in (*adjusted, *preserved)))


def training_sites(cards: Cards) -> tuple[str, ...] | None:
    """The sites that ComBat was fitted to, by number; None without ComBat."""
    return next((tuple(card["settings"]["sites"]) for card in cards if "combat_keep" in card), None)


def encode(table: pd.DataFrame, cards: Cards) -> tuple[pd.DataFrame, tuple[str, ...] | None]:
    """Add the coded columns and, with ComBat, the number of the site (-1: not in training); returns also the sites."""
    coded, _ = covariates.encode_covariates(table, needed_columns(cards), training_levels(cards))
    sites = training_sites(cards)
    if sites is not None:
        numbers = [sites.index(str(site)) if str(site) in sites else -1 for site in coded["site"]]
        coded = coded.assign(**{SITE_COLUMN: numbers})
    return coded, sites


def _column_name(coded: str, levels: dict[str, list[str]]) -> str:
    """sex[M] -> sex, as participants.tsv has it."""
    return next((name for name, values in levels.items() if coded in {f"{name}[{value}]" for value in values}), coded)
