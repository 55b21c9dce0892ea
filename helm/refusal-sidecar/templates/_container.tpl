{{/*
The sidecar, an element of the Pod's `initContainers`; with `native: false`, of its `containers`. To be called with the
application chart's root context; values are below `refusal-sidecar`.
*/}}
{{- define "refusal-sidecar.container" -}}
{{- $values := include "refusal-sidecar.values" . | fromYaml -}}
{{- if and $values.native (semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version) -}}
  {{- fail (printf "refusal-sidecar: native sidecars need Kubernetes 1.29, this is %s; set refusal-sidecar.native: false and put the container under containers" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
name: refusal-collector
image: {{ include "refusal-sidecar.image" $values }}
imagePullPolicy: {{ $values.image.pullPolicy }}
{{- if $values.native }}
restartPolicy: Always
{{- end }}
args:
  - --config=env:OTEL_CONFIG
env:
  {{- include "refusal-sidecar.podEnv" $values | nindent 2 }}
  # A Pod without the label gives none here; then its telemetry says itself what it is.
  - name: APP_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.labels['app.kubernetes.io/name']
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  - name: OTEL_RESOURCE_ATTRIBUTES
    value: service.name=$(APP_NAME),k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE)
  - name: OTEL_CONFIG
    value: |
      {{- include "refusal-sidecar.configText" $values | nindent 6 }}
ports:
  - name: refusal-health
    containerPort: 13133
  - name: refusal-metrics
    containerPort: 8888
# No readiness: telemetry never takes an application out of service.
startupProbe:
  httpGet:
    path: /startup
    port: 13133
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /live
    port: 13133
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
{{- if not $values.native }}
# An ordinary container is stopped together with the application, whose last spans are still to come.
lifecycle:
  preStop:
    sleep:
      seconds: 5
{{- end }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
volumeMounts:
  {{- include "refusal-sidecar.volumeMounts" $values | nindent 2 }}
{{- end -}}

{{/* Elements of the Pod's `volumes`. */}}
{{- define "refusal-sidecar.volumes" -}}
{{- $values := include "refusal-sidecar.values" . | fromYaml -}}
- name: refusal-queue
  emptyDir:
    sizeLimit: {{ $values.queueSize }}
{{- end -}}

{{/* Annotations of the Pod. */}}
{{- define "refusal-sidecar.annotations" -}}
{{- $values := include "refusal-sidecar.values" . | fromYaml -}}
{{- if $values.metrics.scrapeAnnotations -}}
prometheus.io/scrape: "true"
prometheus.io/port: "8888"
prometheus.io/path: /metrics
{{- end -}}
{{- end -}}

{{/* Elements of the application container's `env`: they send its telemetry to the sidecar. */}}
{{- define "refusal-sidecar.applicationEnv" -}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: http://127.0.0.1:4318
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: http/protobuf
{{- end -}}
