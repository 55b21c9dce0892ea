"""Holds the Grafana dashboards to rules that Grafana does not check, and checks that the rules notice when they are broken.

With `queries`: prints all PromQL of the dashboards as a rule file, for promtool to parse.
"""

import copy
import json
import re
import sys
from pathlib import Path

import boards

ROOT = Path(__file__).resolve().parents[2]

BUILT_IN = {"__range", "__rate_interval", "__interval"}
SELF_TEST = 'llm_workload!="refusal-collector-selftest"'
# The label that each variable chooses, and so must filter wherever a metric has it.
LABELS = {
    "namespace": "namespace",
    "workload": "llm_workload",
    "provider": "gen_ai_provider_name",
    "model": "gen_ai_request_model",
    "job": "job",
    "instance": "instance",
}
# Born at 0 before they count, or of no use to anybody when they were not there: rate() sees all of their events.
BORN_AT_ZERO = r"llm_responses_total|otelcol_\w+|refusal_collector_\w+"


def main():
    loaded = boards.load()
    if sys.argv[1:] == ["queries"]:
        print_queries(loaded)
        return
    wrong = [f"{name}: {what}" for name, board in loaded.items() for what in lint(board)]
    uids = [board["uid"] for board in loaded.values()]
    if len(set(uids)) != len(uids):
        wrong.append(f"uids are not unique: {uids}")
    wrong += unnoticed(loaded["refusals.json"])
    for line in wrong:
        print(line, file=sys.stderr)
    count = sum(len(boards.panels(board)) for board in loaded.values())
    print(f"{len(loaded)} dashboards, {count} panels, {len(wrong)} mistakes")
    sys.exit(1 if wrong or not count else 0)


def lint(board):
    """Yields what is wrong, a line each."""
    yield from frame(board)
    yield from layout(board["panels"])
    for panel in boards.panels(board):
        yield from (f"{panel['title']}: {what}" for what in look(panel))
    chosen = [variable["name"] for variable in boards.variables(board) if variable["type"] == "query"]
    used = set()
    for query in boards.queries("", board):
        yield from (f"{query.where[2:]}: {what}" for what in promql(query.expr, chosen))
        used |= set(re.findall(r"\$(\w+)", query.expr))
    for _where, selector, _label in boards.label_queries("", board):
        used |= set(re.findall(r"\$(\w+)", selector))
    yield from (f"variable {name} is used nowhere" for name in chosen if name not in used)
    yield from (f"variable {name} is defined nowhere" for name in used - set(chosen) - BUILT_IN)


def frame(board):
    if "id" in board or "__inputs" in board:
        yield "what is provisioned has no id and no __inputs"
    if board["editable"] is not False:
        yield "it can be edited, and the edits would be lost"
    if board["templating"]["list"][0]["type"] != "datasource":
        yield "the first variable is not the data source"
    text = json.dumps(board)
    for page in set(re.findall(r"docs/runbooks/(\w+)\.md", text)):
        if not (ROOT / f"docs/runbooks/{page}.md").exists():
            yield f"there is no runbook {page}"
    for uid in re.findall(r'"datasource": \{[^}]*"uid": "([^"]*)"', text):
        if uid != "${datasource}":
            yield f"data source {uid} is not the variable"


def layout(panels):
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) != len(ids):
        yield f"ids are not unique: {ids}"
    taken = {}
    for panel in panels:
        at = panel["gridPos"]
        if at["x"] + at["w"] > 24:
            yield f"{panel['title']}: stands out of the grid"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            other = taken.setdefault(cell, panel["title"])
            if other != panel["title"]:
                yield f"{panel['title']}: overlaps {other}"
                break


def look(panel):
    if "?" not in panel["description"]:
        yield "the description says no question that the panel answers"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "no unit"
    if not panel["targets"]:
        yield "no query"
    refs = [target["refId"] for target in panel["targets"]]
    if len(set(refs)) != len(refs):
        yield f"refIds are not unique: {refs}"
    for target in panel["targets"]:
        if target["format"] != "table" and not target.get("legendFormat"):
            yield "no legend"
        by = re.findall(r"\bby \(([^)]*)\)", target["expr"])
        labels = {label.strip() for group in by for label in group.split(",")}
        for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
            if by and label not in labels:
                yield f"the legend names {label}, which the query drops"


def promql(expr, chosen):
    for name in re.findall(r"\$(\w+)", re.sub(r'=~"\$\w+"', "", expr)):
        if name not in BUILT_IN:
            yield f"${name} stands outside of a =~ matcher"
    for label, name in re.findall(r'(\w+)=~"\$(\w+)"', expr):
        if LABELS.get(name) != label:
            yield f"${name} filters {label}"
    for window in re.findall(r"\[([^\]]*)\]|\boffset (\S+)", expr):
        window = "".join(window)
        if window.split(":")[0] not in ("$__range", "$__rate_interval"):
            yield f"the window {window} does not follow the panel; what needs a fixed one is a recording rule"
    for function, selector in re.findall(r"\b(rate|increase)\((\w+\{[^}]*\})\[", expr):
        births = f"unless {selector} offset" in expr
        if function == "rate" and not re.match(BORN_AT_ZERO, selector) or function == "increase" and not births:
            yield f"{function}() does not see {selector.split('{')[0]} born"
    for metric, matchers in re.findall(r"([\w:]+)\{([^}]*)\}", expr):
        for name in needed(metric, chosen):
            if f'{LABELS[name]}=~"${name}"' not in matchers:
                yield f"{metric} is not filtered by ${name}"
        if metric.startswith("llm_") and "blind_emitter" not in metric and SELF_TEST not in matchers:
            yield f"{metric} does not leave the self-test out"
    code = re.sub(r'"[^"]*"|\{[^}]*\}', "{}", expr)
    for word in re.findall(r"(?<![\w:])([a-z][\w:]*)(?![\w:{])", re.sub(r'"[^"]*"|\{[^}]*\}', "{}", expr)):
        if ":" in word or re.fullmatch(r"(llm|otelcol|refusal_collector)_\w+_(total|seconds|bytes|size|capacity|requests|items|info)", word):
            yield f"{word} is not filtered at all"


def needed(metric, chosen):
    """The variables whose labels `metric` has."""
    if metric == "ALERTS":
        return ["namespace"]
    if "blind_emitter" in metric:
        return ["namespace"]
    if metric.startswith("namespace_job_exporter"):
        return ["namespace", "job"]
    has_no_model = "stop_reason" in metric.split(":")[0] or ":" in metric
    return [name for name in chosen if name in LABELS and not (name == "model" and has_no_model)]


def unnoticed(board):
    """Breaks a sound dashboard in many ways; each must be told."""

    def second(change):
        return lambda board: change(boards.panels(board)[1])

    def expr(old, new):
        def change(board):
            target = boards.panels(board)[1]["targets"][0]
            assert old in target["expr"], old
            target["expr"] = target["expr"].replace(old, new)

        return change

    breaks = [
        ("ids are not unique", second(lambda panel: panel.update(id=1))),
        ("overlaps", second(lambda panel: panel["gridPos"].update(x=0))),
        ("stands out of the grid", second(lambda panel: panel["gridPos"].update(w=40))),
        ("says no question", second(lambda panel: panel.update(description="Refusals"))),
        ("no unit", second(lambda panel: panel["fieldConfig"]["defaults"].pop("unit"))),
        ("no legend", second(lambda panel: panel["targets"][0].pop("legendFormat"))),
        ("which the query drops", second(lambda panel: panel["targets"][0].update(legendFormat="{{a}}", expr="sum by (b) (up)"))),
        ("data source mine", second(lambda panel: panel.update(datasource={"type": "prometheus", "uid": "mine"}))),
        ("no runbook Nothing", second(lambda panel: panel["links"].append({"url": "docs/runbooks/Nothing.md"}))),
        ("team is defined nowhere", expr("$workload", "$team")),
        ("outside of a =~ matcher", expr('=~"$workload"', '="$workload"')),
        ("$model filters llm_workload", expr('llm_workload=~"$workload"', 'llm_workload=~"$model"')),
        ("window 5m", expr("$__range", "5m")),
        ("does not see llm_responses_total born", expr("unless llm", "and llm")),
        ("is not filtered by $provider", expr('gen_ai_provider_name=~"$provider",', "")),
        ("does not leave the self-test out", expr(SELF_TEST + ",", "")),
        ("is not filtered at all", expr(r"llm_responses_total{", "llm_responses_total + up{")),
        ("team is used nowhere", lambda board: boards.variables(board).append(boards.variables(board)[1] | {"name": "team"})),
        ("can be edited", lambda board: board.update(editable=True)),
    ]
    for what, change in breaks:
        broken = copy.deepcopy(board)
        change(broken)
        told = list(lint(broken))
        if not any(what in line for line in told):
            yield f"the lint does not notice that something {what}, but: {told}"


def print_queries(loaded):
    print("groups:\n- name: dashboards\n  rules:")
    number = 0
    for name, board in loaded.items():
        found = [(query.where, query.expr) for query in boards.queries(name, board)]
        found += [(where, selector) for where, selector, _label in boards.label_queries(name, board)]
        for where, expr in found:
            number += 1
            print(f"  # {where}\n  - record: query{number}\n    expr: {json.dumps(boards.with_values(board, expr))}")


main()
