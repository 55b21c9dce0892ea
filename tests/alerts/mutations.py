"""Breaks the rules in one place at a time, and expects the tests to notice.

Argument: a directory that holds alerts.yaml and the tests, and takes what is broken.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

work = Path(sys.argv[1])
rules = (work / "alerts.yaml").read_text()


def births(metric, window):
    """The half of a recorded increase that sees new series."""
    return (
        rf"\(\n +{metric}(\{{[^}}]*\}})?\n +unless {metric} offset {window}\n"
        rf" +unless on \(job, instance\) \(up offset {window} == 0\)\n +\)\n +or\n"
    )


# What is broken; the test that must fail; the expression that is replaced, at its first place; and by what.
MUTATIONS = [
    ("births of unknown values are not read", "unknown", births("llm_stop_reason_unknown_total", "15m"), ""),
    ("a scrape outage makes old counts new", "unknown", r" +unless on \(job, instance\) \(up offset 15m == 0\)\n", ""),
    ("a value that came again in an outage is not seen", "unknown", r"(?<=_seconds\{llm_workload!=\"refusal-collector-selftest\"\} )< bool 900", "< bool 0"),
    ("the value is no label", "unknown", r"(?<=by \(namespace, gen_ai_provider_name, llm_workload), llm_stop_reason_value(?=\) \(\n)", ""),
    ("the alert waits", "unknown", r"keep_firing_for: 15m", "for: 5m"),
    ("the self-test's unknown values count", "selftest", r"(llm_stop_reason_unknown\w+)\{llm_workload!=\"refusal-collector-selftest\"\}", r"\1"),
    ("births of categories are not read", "blind_spots", births("llm_refusals_total", "30m"), ""),
    ("every category is an unknown one", "blind_spots", r"\{llm_refusal_category=\"unknown\"\}", ""),
    ("births of missing reasons are not read", "blind_spots", births("llm_stop_reason_missing_total", "30m"), ""),
    ("the instrumentation is no label", "blind_spots", r"(?<=by \(namespace, gen_ai_provider_name, llm_workload), llm_instrumentation", ""),
    ("births of blind emitters are not read", "blind_spots", births("llm_refusal_blind_emitter_responses_total", "1h"), ""),
    ("a quiet workload has a share, too", "blind_spots", r"(?<=llm_responses:increase30m )> 20", "> 0"),
    ("a category without history has no baseline", "refusals", r"\n +or\n +namespace_provider_workload_category:llm_refusals:ratio30m \* 0", ""),
    ("four refusals are enough", "refusals", r"(?<=llm_refusals:increase30m )>= 5", ">= 1"),
    ("four recoveries are enough", "refusals", r"(?<=llm_refusal_recoveries:increase30m )>= 5", ">= 1"),
    ("the short window of the budget is not asked", "refusals", r"(?<=\[5m\]\)\) > 0\)\n          \) > )14\.4 \* 0\.02", "-1"),
    ("input tokens are waste", "refusals", r"\{gen_ai_token_type=\"output\"\}", ""),
    ("the baseline is not read", "baseline", r"3 \* \(\n +namespace_provider_workload_category:llm_refusals:ratio7d\n +or\n", "3 * (\n"),
    ("births of dropped data are not read", "health", births("refusal_collector_exporter_dropped_items_total", "10m"), ""),
    ("only traces can fail", "health", r" +or\n +label_replace\(rate\(otelcol_exporter_send_failed_metric_points_total.*\n", ""),
    ("every job is a collector", "health", r"up\{job=~\"\.\*refusal-collector\.\*\"\} == 0", "up == 0"),
    ("a tap is silent at night", "tap", r"(?<=selftest\"\}\[30m\]\)\n          \) )> 20", ">= 0"),
    ("a tap that sees calls is silent", "tap", r"(tap_streams_total\[30m\]\)\)) == 0", r"\1 >= 0"),
    ("the self-test's calls are not copied", "tap", r"llm_responses_total\{llm_workload!=\"refusal-collector-selftest\"\}\[30m\]\)\n          \) > 20", "llm_responses_total[30m])\n          ) > 20"),
    ("every end of a copy is a blind one", "tap", r"\{end=~\"limit\|undecodable\|malformed\|panic\"\}", ""),
    ("an Envoy that waits is not seen", "tap", r"(tap_answering_streams_total\[15m\]\)\n +\)) > 0", r"\1 > 1e6"),
    ("what is taken is pushed back", "health", r"\{outcome=\"refused\"\}", ""),
]


def promtool(directory, *arguments):
    return subprocess.run(["promtool", *arguments], cwd=directory, capture_output=True, text=True)


def complaint(mutation):
    """Why the mutation is not all right; None if the test fails, as it must."""
    what, test, pattern, replacement = mutation
    count = 0 if "self-test" in what else 1
    broken, places = re.subn(pattern, replacement, rules, count=count)
    if places == 0:
        return f"{what}: {pattern} is nowhere in the rules"
    with tempfile.TemporaryDirectory(dir=work) as directory:
        for path in work.glob("*.yaml"):
            shutil.copy(path, directory)
        (Path(directory) / "alerts.yaml").write_text(broken)
        checked = promtool(directory, "check", "rules", "--lint=none", "alerts.yaml")
        if checked.returncode != 0:
            return f"{what}: these are no rules any more\n{checked.stderr}"
        tested = promtool(directory, "test", "rules", f"{test}.yaml")
        if "FAILED" not in tested.stdout + tested.stderr:
            return f"{what}: {test}.yaml does not notice"


with ThreadPoolExecutor(os.cpu_count()) as pool:
    complaints = [found for found in pool.map(complaint, MUTATIONS) if found]
print("\n".join([*complaints, f"{len(MUTATIONS) - len(complaints)} of {len(MUTATIONS)} mutations noticed"]))
sys.exit(1 if complaints else 0)
