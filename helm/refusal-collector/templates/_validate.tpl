{{/*
Contradictions, each told in one sentence. Every workload includes this, so that `helm template --show-only` meets it too.
*/}}
{{- define "refusal-collector.validate" -}}
{{- if not (include "refusal-collector.kind" .) -}}
  {{- fail "mode is required: deployment (a gateway), daemonset (one on each node) or statefulset (a gateway whose queues are on disk)" -}}
{{- end -}}
{{- $config := include "refusal-collector.config" . | fromYaml -}}
{{- $listeners := (include "refusal-collector.listeners" . | fromJson).listeners -}}
{{- include "refusal-collector.validate.references" $config -}}
{{- include "refusal-collector.validate.listeners" (dict "root" . "listeners" $listeners) -}}
{{- include "refusal-collector.validate.scaling" . -}}
{{- include "refusal-collector.validate.monitoring" (dict "root" . "listeners" $listeners) -}}
{{- include "refusal-collector.validate.shutdown" (dict "root" . "config" $config) -}}
{{- if and .Values.hostPorts (ne .Values.mode "daemonset") -}}
  {{- fail (printf "hostPorts is for mode: daemonset; with mode: %s two Pods on one node would want the same port" .Values.mode) -}}
{{- end -}}
{{- $limiters := list -}}
{{- range $id, $limiter := $config.processors -}}
  {{- if and (eq (splitList "/" $id | first) "memory_limiter") (default dict $limiter).limit_percentage }}{{ $limiters = append $limiters $id }}{{ end -}}
{{- end -}}
{{- if and $limiters (not (dig "limits" "memory" "" .Values.resources)) -}}
  {{- fail (printf "config.processors.%s.limit_percentage is a share of resources.limits.memory, which is not set; set it, or write limit_mib" (first $limiters)) -}}
{{- end -}}
{{- end -}}

{{/* What pipelines and `service.extensions` name is there. */}}
{{- define "refusal-collector.validate.references" -}}
{{- $config := . -}}
{{- $service := default dict $config.service -}}
{{- if not $service.pipelines -}}
  {{- fail "config.service.pipelines is empty: without a pipeline nothing is received" -}}
{{- end -}}
{{- range $pipeline, $parts := $service.pipelines -}}
  {{- range $section := list "receivers" "processors" "exporters" -}}
    {{- range $id := get (default dict $parts) $section -}}
      {{- if not (hasKey (default dict (get $config $section)) $id) -}}
        {{- fail (printf "config.service.pipelines.%s names %q, which config.%s does not have (a null takes a default away; write %s: {} for one with its defaults)" $pipeline $id $section $id) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $id := $service.extensions -}}
  {{- if not (hasKey (default dict $config.extensions) $id) -}}
    {{- fail (printf "config.service.extensions names %q, which config.extensions does not have (a null takes a default away; write %s: {} for one with its defaults)" $id $id) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Probes, the Service and other Pods reach what they need. */}}
{{- define "refusal-collector.validate.listeners" -}}
{{- $reached := list -}}
{{- range .listeners -}}
  {{- if and .local (eq .use "otlp") -}}
    {{- fail (printf "%s is %q, which no other Pod reaches; write ${env:MY_POD_IP}:%v (a sidecar is made by the chart refusal-sidecar)" .where .endpoint .port) -}}
  {{- end -}}
  {{- if not .local }}{{ $reached = append $reached .use }}{{ end -}}
{{- end -}}
{{- if and .root.Values.probes.enabled (not (has "health" $reached)) -}}
  {{- fail "probes ask the extension health_check: name it in config.service.extensions, with an endpoint such as ${env:MY_POD_IP}:13133, or set probes.enabled: false" -}}
{{- end -}}
{{- end -}}

{{- define "refusal-collector.validate.scaling" -}}
{{- $values := .Values -}}
{{- if eq $values.mode "daemonset" -}}
  {{- if $values.autoscaling.enabled }}{{ fail "autoscaling cannot be combined with mode: daemonset, which runs one Pod on each node" }}{{ end -}}
  {{- if $values.podDisruptionBudget.enabled }}{{ fail "podDisruptionBudget cannot be combined with mode: daemonset, whose Pods a drain leaves alone" }}{{ end -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
  {{- fail (printf "autoscaling.minReplicas (%v) is more than autoscaling.maxReplicas (%v)" $values.autoscaling.minReplicas $values.autoscaling.maxReplicas) -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (not (or $values.autoscaling.targetCPUUtilizationPercentage $values.autoscaling.targetMemoryUtilizationPercentage $values.autoscaling.metrics)) -}}
  {{- fail "autoscaling has nothing to scale by: set targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage or metrics" -}}
{{- end -}}
{{- $budget := $values.podDisruptionBudget -}}
{{- if $budget.enabled -}}
  {{- $least := $values.autoscaling.enabled | ternary $values.autoscaling.minReplicas $values.replicaCount -}}
  {{- $given := list -}}
  {{- range list $budget.minAvailable $budget.maxUnavailable }}{{ if not (has (toString .) (list "" "<nil>")) }}{{ $given = append $given . }}{{ end }}{{ end -}}
  {{- if ne (len $given) 1 -}}
    {{- fail "podDisruptionBudget needs either minAvailable or maxUnavailable; to give minAvailable, set maxUnavailable: \"\"" -}}
  {{- end -}}
  {{- if and (eq (toString $budget.maxUnavailable) "") (not (hasSuffix "%" (toString $budget.minAvailable))) (ge (int $budget.minAvailable) (int $least)) -}}
    {{- fail (printf "podDisruptionBudget.minAvailable (%v) of %v Pods lets no node be drained; lower it, or run more Pods" $budget.minAvailable $least) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "refusal-collector.validate.monitoring" -}}
{{- $values := .root.Values -}}
{{- $monitors := or $values.metrics.podMonitor.enabled $values.metrics.serviceMonitor.enabled -}}
{{- $reached := false -}}
{{- range .listeners }}{{ if and (eq .use "metrics") (not .local) }}{{ $reached = true }}{{ end }}{{ end -}}
{{- if and $values.metrics.podMonitor.enabled $values.metrics.serviceMonitor.enabled -}}
  {{- fail "metrics.podMonitor and metrics.serviceMonitor are both enabled: everything would be counted twice; enable one" -}}
{{- end -}}
{{- if and (or $monitors $values.metrics.scrapeAnnotations) (not $reached) -}}
  {{- fail "metrics are to be scraped, but config.service.telemetry.metrics serves none that another Pod reaches: give a reader with host: ${env:MY_POD_IP}" -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled (not $values.service.enabled) -}}
  {{- fail "metrics.serviceMonitor needs service.enabled: true; metrics.podMonitor needs no Service" -}}
{{- end -}}
{{- if $values.prometheusRule.enabled -}}
  {{- if not (or $monitors $values.metrics.scrapeAnnotations $values.prometheusRule.scrapedElsewhere) -}}
    {{- fail "prometheusRule is enabled, but nothing is scraped: enable metrics.podMonitor (or set prometheusRule.scrapedElsewhere: true if something else does it)" -}}
  {{- end -}}
  {{- if not (contains "refusal-collector" (include "refusal-collector.name" .root)) -}}
    {{- fail (printf "prometheusRule looks for scrape jobs with refusal-collector in their name, and nameOverride makes it %q" (include "refusal-collector.name" .root)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* The grace period holds the sleep and the drain; times in other units than seconds or minutes are not looked at. */}}
{{- define "refusal-collector.validate.shutdown" -}}
{{- $drain := toString (default "25s" (default dict .config.service).shutdown_timeout) -}}
{{- if regexMatch "^[0-9]+(s|m)$" $drain -}}
  {{- $seconds := mul (regexFind "^[0-9]+" $drain | int) (hasSuffix "m" $drain | ternary 60 1) -}}
  {{- $needed := add $seconds (int .root.Values.preStopSleepSeconds) -}}
  {{- if lt (int .root.Values.terminationGracePeriodSeconds) (int $needed) -}}
    {{- fail (printf "terminationGracePeriodSeconds (%v) is too short for preStopSleepSeconds (%v) and config.service.shutdown_timeout (%s): what is queued would be lost; make it at least %v" .root.Values.terminationGracePeriodSeconds .root.Values.preStopSleepSeconds $drain (add $needed 5)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
