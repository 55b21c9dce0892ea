{{/*
The configuration that runs: `config`, without the default exporter where no pipeline names it any more, and where queues are
on disk, with what puts them there.
*/}}
{{- define "refusal-collector.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $exporters := list -}}
{{- range $_, $pipeline := (default dict $config.service).pipelines }}{{ $exporters = concat $exporters (default list (default dict $pipeline).exporters) }}{{ end -}}
{{- if and (hasKey (default dict $config.exporters) "debug") (not (has "debug" $exporters)) -}}
  {{- $_ := unset $config.exporters "debug" -}}
{{- end -}}
{{- if include "refusal-collector.hasQueueOnDisk" . -}}
  {{- $storage := dict "directory" (printf "%s/queue" (include "refusal-collector.queueDirectory" .)) "create_directory" true -}}
  {{- $_ := set $config "extensions" (mergeOverwrite (dict "file_storage" $storage) (default dict $config.extensions)) -}}
  {{- $service := default dict $config.service -}}
  {{- $_ := set $service "extensions" (append (without (default list $service.extensions) "file_storage") "file_storage") -}}
  {{- $_ := set $config "service" $service -}}
  {{- range $id, $exporter := $config.exporters -}}
    {{- if has (splitList "/" $id | first) (list "otlp" "otlp_grpc" "otlphttp" "otlp_http") -}}
      {{- $queue := default dict (default dict $exporter).sending_queue -}}
      {{- $queue = mergeOverwrite (dict "storage" "file_storage") $queue -}}
      {{- $_ := set $config.exporters $id (merge (dict "sending_queue" $queue) (default dict $exporter)) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/*
The listeners of the configuration, as JSON: {"listeners": [{name, port, use, local, tls}]}. `use` is otlp (what
applications and Envoy send to), metrics, health or api; `local` says that no other Pod reaches it.
*/}}
{{- define "refusal-collector.listeners" -}}
{{- $config := include "refusal-collector.config" . | fromYaml -}}
{{- $listeners := list -}}
{{- $used := dict -}}
{{- range $_, $pipeline := (default dict $config.service).pipelines -}}
  {{- range (default dict $pipeline).receivers }}{{ $_ := set $used . true }}{{ end -}}
{{- end -}}
{{- range $id, $receiver := $config.receivers -}}
  {{- if hasKey $used $id -}}
    {{- $kind := splitList "/" $id | first -}}
    {{- if eq $kind "otlp" -}}
      {{- range $protocol, $server := (default dict $receiver).protocols -}}
        {{- $endpoint := default (get (dict "grpc" "localhost:4317" "http" "localhost:4318") $protocol) (default dict $server).endpoint -}}
        {{- $where := printf "config.receivers.%s.protocols.%s.endpoint" $id $protocol -}}
        {{- $listener := dict "use" "otlp" "name" (printf "otlp-%s" $protocol) "endpoint" $endpoint "where" $where "tls" (hasKey (default dict $server) "tls") -}}
        {{- /* A Unix socket has no port. */ -}}
        {{- if ne (default "tcp" (default dict $server).transport) "unix" }}{{ $listeners = append $listeners $listener }}{{ end -}}
      {{- end -}}
    {{- else -}}
      {{- $endpoint := default (get (dict "ext_proc" "localhost:4319") $kind) (default dict $receiver).endpoint -}}
      {{- $where := printf "config.receivers.%s.endpoint" $id -}}
      {{- $listener := dict "use" "otlp" "name" ($kind | replace "_" "-") "endpoint" $endpoint "where" $where -}}
      {{- if and $endpoint (ne (default "tcp" (default dict $receiver).transport) "unix") }}{{ $listeners = append $listeners $listener }}{{ end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $id := (default dict $config.service).extensions -}}
  {{- $extension := default dict (get (default dict $config.extensions) $id) -}}
  {{- $kind := splitList "/" $id | first -}}
  {{- $where := printf "config.extensions.%s.endpoint" $id -}}
  {{- if eq $kind "health_check" -}}
    {{- $endpoint := default "localhost:13133" $extension.endpoint -}}
    {{- $listeners = append $listeners (dict "use" "health" "name" "health" "endpoint" $endpoint "where" $where) -}}
  {{- else if eq $kind "refusal_api" -}}
    {{- $endpoint := default "localhost:55679" $extension.endpoint -}}
    {{- $listeners = append $listeners (dict "use" "api" "name" "api" "endpoint" $endpoint "where" $where) -}}
  {{- end -}}
{{- end -}}
{{- $metrics := default dict (default dict (default dict $config.service).telemetry).metrics -}}
{{- if ne (default "normal" $metrics.level) "none" -}}
  {{- range $index, $reader := (hasKey $metrics "readers" | ternary (default list $metrics.readers) (list dict)) -}}
    {{- if and (hasKey (default dict $reader) "periodic") (not (hasKey $reader "pull")) }}{{ continue }}{{ end -}}
    {{- $prometheus := default dict (dig "pull" "exporter" "prometheus" dict (default dict $reader)) -}}
    {{- $endpoint := printf "%s:%v" (default "localhost" $prometheus.host) (default 8888 $prometheus.port) -}}
    {{- $where := printf "config.service.telemetry.metrics.readers[%d]" $index -}}
    {{- $listeners = append $listeners (dict "use" "metrics" "name" "metrics" "endpoint" $endpoint "where" $where) -}}
  {{- end -}}
{{- end -}}
{{- $names := dict -}}
{{- range $listener := $listeners -}}
  {{- if not (regexMatch ":[0-9]+$" $listener.endpoint) -}}
    {{- fail (printf "%s is %q: the chart makes a port of it, so write its number, as in ${env:MY_POD_IP}:4317" $listener.where $listener.endpoint) -}}
  {{- end -}}
  {{- $port := regexFind "[0-9]+$" $listener.endpoint -}}
  {{- $host := trimSuffix (printf ":%s" $port) $listener.endpoint -}}
  {{- $_ := set $listener "port" (int $port) -}}
  {{- $_ := set $listener "local" (has $host (list "localhost" "127.0.0.1" "[::1]")) -}}
  {{- $count := add1 (int (get $names $listener.name)) -}}
  {{- $_ := set $names $listener.name $count -}}
  {{- if gt $count 1 }}{{ $_ := set $listener "name" (printf "%s-%d" (trunc 12 $listener.name) $count) }}{{ end -}}
  {{- $_ := set $listener "name" (trunc 15 $listener.name | trimSuffix "-") -}}
{{- end -}}
{{- toJson (dict "listeners" $listeners) -}}
{{- end -}}

{{/* The ports to which data and the program's own telemetry are sent, as JSON: {"ports": [4317]}. */}}
{{- define "refusal-collector.exporterPorts" -}}
{{- $config := include "refusal-collector.config" . | fromYaml -}}
{{- $targets := list -}}
{{- range $id, $exporter := $config.exporters -}}
  {{- range $key := list "endpoint" "traces_endpoint" "logs_endpoint" "metrics_endpoint" -}}
    {{- $endpoint := get (default dict $exporter) $key -}}
    {{- $targets = append $targets (dict "endpoint" $endpoint "where" (printf "exporters.%s.%s" $id $key)) -}}
  {{- end -}}
{{- end -}}
{{- $telemetry := default dict (default dict $config.service).telemetry -}}
{{- range $index, $reader := (default dict $telemetry.metrics).readers -}}
  {{- $endpoint := dig "periodic" "exporter" "otlp" "endpoint" "" (default dict $reader) -}}
  {{- $targets = append $targets (dict "endpoint" $endpoint "where" (printf "service.telemetry.metrics.readers[%d].periodic.exporter.otlp.endpoint" $index)) -}}
{{- end -}}
{{- range $signal := list "logs" "traces" -}}
  {{- range $index, $processor := (default dict (get $telemetry $signal)).processors -}}
    {{- $endpoint := dig "batch" "exporter" "otlp" "endpoint" "" (default dict $processor) -}}
    {{- $targets = append $targets (dict "endpoint" $endpoint "where" (printf "service.telemetry.%s.processors[%d].batch.exporter.otlp.endpoint" $signal $index)) -}}
  {{- end -}}
{{- end -}}
{{- $ports := list -}}
{{- range $targets -}}
  {{- $endpoint := default "" .endpoint -}}
  {{- $authority := regexReplaceAll "^[a-z]+://" $endpoint "" | splitList "/" | first -}}
  {{- if regexMatch "(^|[^:]):[0-9]+$" $authority -}}
    {{- $ports = append $ports (regexFind "[0-9]+$" $authority | int) -}}
  {{- else if hasPrefix "https://" $endpoint -}}
    {{- $ports = append $ports 443 -}}
  {{- else if hasPrefix "http://" $endpoint -}}
    {{- $ports = append $ports 80 -}}
  {{- else if and $endpoint (not $.Values.networkPolicy.extraEgress) -}}
    {{- fail (printf "networkPolicy: the port of config.%s, %q, is not known here; write its number, or allow it by networkPolicy.extraEgress" .where $endpoint) -}}
  {{- end -}}
{{- end -}}
{{- toJson (dict "ports" (uniq $ports)) -}}
{{- end -}}
