{{- define "refusal-collector.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* A name of at most 52 characters, so that the suffixes of Pods and Services fit behind it. */}}
{{- define "refusal-collector.fullname" -}}
{{- $name := include "refusal-collector.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "refusal-collector.selectorLabels" -}}
app.kubernetes.io/name: {{ include "refusal-collector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: collector
{{- end -}}

{{- define "refusal-collector.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "refusal-collector.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "refusal-collector.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "refusal-collector.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "refusal-collector.image" -}}
{{- $image := .Values.image -}}
{{- $name := $image.repository -}}
{{- with default (default dict .Values.global).imageRegistry $image.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* "Deployment", "DaemonSet" or "StatefulSet". */}}
{{- define "refusal-collector.kind" -}}
{{- get (dict "deployment" "Deployment" "daemonset" "DaemonSet" "statefulset" "StatefulSet") .Values.mode -}}
{{- end -}}

{{- define "refusal-collector.queueDirectory" -}}/var/lib/refusal-collector{{- end -}}

{{- define "refusal-collector.hasQueueOnDisk" -}}
{{- if and (eq .Values.mode "statefulset") .Values.persistence.enabled }}true{{ end -}}
{{- end -}}

{{/* Whether `helm test` can do its work: OTLP/gRPC is received without TLS, and other Pods reach it by the Service. */}}
{{- define "refusal-collector.hasSelftest" -}}
{{- $reached := false -}}
{{- range (include "refusal-collector.listeners" . | fromJson).listeners -}}
{{- if and (eq .name "otlp-grpc") (not .local) (not .tls) }}{{ $reached = true }}{{ end -}}
{{- end -}}
{{- if and .Values.selftest.enabled .Values.service.enabled $reached }}true{{ end -}}
{{- end -}}

{{- define "refusal-collector.selftestLabels" -}}
app.kubernetes.io/name: {{ include "refusal-collector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: selftest
{{- end -}}

{{- define "refusal-collector.scraping" -}}
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "refusal-collector.servicePorts" -}}
{{- range (include "refusal-collector.listeners" . | fromJson).listeners }}
{{- if and (not .local) (ne .use "health") }}
- name: {{ .name }}
  port: {{ .port }}
  targetPort: {{ .name }}
  protocol: TCP
  {{- if or (hasPrefix "otlp-grpc" .name) (hasPrefix "ext-proc" .name) }}
  appProtocol: grpc
  {{- else }}
  appProtocol: http
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "refusal-collector.probe" -}}
httpGet:
  path: {{ .path }}
  port: health
{{- with .timing }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "refusal-collector.metricsPort" -}}
{{- range (include "refusal-collector.listeners" . | fromJson).listeners -}}
{{- if eq .name "metrics" }}{{ .port }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* `metadata` of an object that is named after the release. */}}
{{- define "refusal-collector.metadata" -}}
name: {{ include "refusal-collector.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "refusal-collector.labels" . | nindent 2 }}
{{- end -}}
