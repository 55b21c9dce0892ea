"""The Grafana dashboards as the tests see them: their queries, with values put for Grafana's variables."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "helm/refusal-collector/files/dashboards"


@dataclass
class Query:
    where: str
    expr: str
    instant: bool


def load():
    """All dashboards, by file name."""
    return {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def variables(board):
    return board["templating"]["list"]


def queries(name, board):
    """Every PromQL query: of panels and annotations."""
    for panel in panels(board):
        for target in panel["targets"]:
            where = f"{name}: {panel['title']} {target['refId']}"
            yield Query(where, target["expr"], target["instant"])
    for annotation in board["annotations"]["list"]:
        yield Query(f"{name}: annotation {annotation['name']}", annotation["target"]["expr"], False)


def label_queries(name, board):
    """What fills the variables: where, selector, label."""
    for variable in variables(board):
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            yield f"{name}: variable {variable['name']}", selector, label


def with_values(board, expr, time_range="1h", rate_interval="1m", interval="15s"):
    """`expr` as Grafana sends it while all of every variable is chosen."""
    values = {variable["name"]: variable["allValue"] for variable in variables(board) if variable["type"] == "query"}
    values |= {"__range": time_range, "__rate_interval": rate_interval, "__interval": interval}
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)
