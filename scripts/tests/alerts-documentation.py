"""Compares the alerting rules with their runbooks and with docs/metrics.md.

Without an argument: tells what does not agree. With `queries`: prints the runbooks' PromQL as a rule file, for promtool to parse.
"""

import json
import re
import sys
from pathlib import Path

RULES = Path("helm/refusal-collector/files/alerts.yaml")
RUNBOOKS = Path("docs/runbooks")
METRICS = Path("docs/metrics.md")
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Fix", "Verify"]
FIELDS = [r"severity: (critical|warning|info)$", r"summary: \S", r"description: \S"]
SELF_TEST = 'llm_workload!="refusal-collector-selftest"'


def runbooks():
    return {path.stem: path.read_text() for path in sorted(RUNBOOKS.glob("*.md")) if path.name != "README.md"}


def queries(text):
    return re.findall(r"```promql\n(.*?)```", text, re.DOTALL)


def documented():
    """The metrics and labels in the tables of docs/metrics.md."""
    names = set()
    for row in re.findall(r"^\| `.*$", METRICS.read_text(), re.MULTILINE):
        metric, _kind, labels = [cell.strip() for cell in row.split("|")][1:4]
        items = ["spans", "log_records", "metric_points"] if "{items}" in metric else [""]
        names.update(metric.strip("`").replace("{items}", item) for item in items)
        names.update(re.findall(r"`(\w+)`", labels))
    return names


def check():
    rules = RULES.read_text()
    pages = runbooks()
    wrong = []

    code = re.sub(r"^ *#.*\n", "", rules, flags=re.MULTILINE)
    blocks = re.split(r"^      - (?=alert: |record: )", code, flags=re.MULTILINE)[1:]
    alerts = {}
    for block in blocks:
        kind, name = block.split("\n", 1)[0].split(": ")
        if kind == "alert":
            alerts[name] = block
        for selector in re.findall(r"\b(llm_\w+_(?:total|seconds)(?:\{[^}]*\})?)", block):
            # What follows `unless` only takes away.
            if f"unless {selector}" in block or "blind_emitter" in selector or SELF_TEST in selector:
                continue
            wrong.append(f"{name}: {selector} does not leave the self-test out")
    for name, block in alerts.items():
        for field in [*FIELDS, rf"runbook_url: {RUNBOOKS}/{name}\.md$"]:
            if not re.search(rf"^ +{field}", block, re.MULTILINE):
                wrong.append(f"alert {name}: no {field}")

    wrong += [f"alert {name} has no runbook" for name in alerts.keys() - pages.keys()]
    wrong += [f"runbook {name} has no alert" for name in pages.keys() - alerts.keys()]
    for name, text in pages.items():
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        if headings != HEADINGS:
            wrong.append(f"runbook {name}: headings {headings}, not {HEADINGS}")
        if not queries(text):
            wrong.append(f"runbook {name}: no query")

    known = documented() | set(re.findall(r"record: (\S+)", rules))
    for name, text in {"the rules": rules, **pages}.items():
        for word in set(re.findall(r"(?<![\w:.\"/-])[a-z_]\w*(?::\w+)*", text)):
            is_ours = word.startswith(("llm_", "otelcol_", "refusal_collector_", "gen_ai_")) or ":llm_" in word
            if (is_ours or ":" in word and word.startswith("namespace_")) and word not in known:
                wrong.append(f"{name}: {word} stands in no table of {METRICS}, and no rule records it")

    for line in sorted(wrong):
        print(line, file=sys.stderr)
    print(f"{len(alerts)} alerts, {len(pages)} runbooks, {len(known)} names")
    sys.exit(1 if wrong else 0)


def print_queries():
    print("groups:\n- name: runbooks\n  rules:")
    for name, text in runbooks().items():
        for number, query in enumerate(queries(text)):
            print(f"  - record: runbook:{name}:query{number}\n    expr: {json.dumps(query)}")


if sys.argv[1:] == ["queries"]:
    print_queries()
else:
    check()
