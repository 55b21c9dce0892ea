{{/* What the forms of the sidecar share. All but the first are called with what it returns. */}}

{{/* The values of this chart, with its appVersion, from the root context of the application's chart. */}}
{{- define "refusal-sidecar.values" -}}
{{- $chart := get (default dict .Subcharts) "refusal-sidecar" -}}
{{- if not $chart -}}
  {{- fail "refusal-sidecar: name this chart under the dependencies of your Chart.yaml, without an alias" -}}
{{- end -}}
{{- toYaml (merge (dict "appVersion" $chart.Chart.AppVersion) (deepCopy (get .Values "refusal-sidecar"))) -}}
{{- end -}}

{{- define "refusal-sidecar.image" -}}
{{- $image := .image -}}
{{- $name := $image.repository -}}
{{- with $image.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .appVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "refusal-sidecar.podEnv" -}}
- name: MY_POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: OTLP_BACKEND
  value: {{ .backend }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Kubernetes replaces $(NAME) in the values of variables; the configuration has ${env:NAME}, which it leaves alone.
*/}}
{{- define "refusal-sidecar.configText" -}}
{{- toYaml .config -}}
{{- end -}}

{{- define "refusal-sidecar.volumeMounts" -}}
- name: refusal-queue
  mountPath: /var/lib/refusal-collector
{{- end -}}
