{{/* The Pod, the same in every mode. */}}
{{- define "refusal-collector.pod" -}}
{{- $values := .Values -}}
{{- $listeners := (include "refusal-collector.listeners" . | fromJson).listeners -}}
metadata:
  annotations:
    checksum/config: {{ include "refusal-collector.config" . | sha256sum }}
    {{- if .Values.metrics.scrapeAnnotations }}
    prometheus.io/scrape: "true"
    prometheus.io/port: {{ include "refusal-collector.metricsPort" . | quote }}
    prometheus.io/path: /metrics
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "refusal-collector.selectorLabels" . | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  serviceAccountName: {{ include "refusal-collector.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: collector
      image: {{ include "refusal-collector.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - --config=/etc/refusal-collector/config.yaml
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        - name: MY_POD_IP
          valueFrom:
            fieldRef:
              fieldPath: status.podIP
        - name: MY_NODE_NAME
          valueFrom:
            fieldRef:
              fieldPath: spec.nodeName
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if $listeners }}
      ports:
        {{- range $listeners }}
        {{- if not .local }}
        - name: {{ .name }}
          containerPort: {{ .port }}
          {{- if and $values.hostPorts (eq .use "otlp") }}
          hostPort: {{ .port }}
          {{- end }}
        {{- end }}
        {{- end }}
      {{- end }}
      {{- if .Values.probes.enabled }}
      startupProbe:
        {{- include "refusal-collector.probe" (dict "path" "/startup" "timing" .Values.probes.startup) | nindent 8 }}
      livenessProbe:
        {{- include "refusal-collector.probe" (dict "path" "/live" "timing" .Values.probes.liveness) | nindent 8 }}
      readinessProbe:
        {{- include "refusal-collector.probe" (dict "path" "/ready" "timing" .Values.probes.readiness) | nindent 8 }}
      {{- end }}
      {{- if gt (int .Values.preStopSleepSeconds) 0 }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStopSleepSeconds }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/refusal-collector
          readOnly: true
        {{- if eq .Values.mode "statefulset" }}
        - name: queue
          mountPath: {{ include "refusal-collector.queueDirectory" . }}
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "refusal-collector.fullname" . }}
        items:
          - key: config.yaml
            path: config.yaml
    {{- if and (eq .Values.mode "statefulset") (not .Values.persistence.enabled) }}
    - name: queue
      emptyDir: {}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .Values.topologySpreadConstraints (ne .Values.mode "daemonset") }}
  topologySpreadConstraints:
    {{- $selector := dict "matchLabels" (include "refusal-collector.selectorLabels" . | fromYaml) }}
    {{- range .Values.topologySpreadConstraints }}
    - {{ toYaml (hasKey . "labelSelector" | ternary . (merge (dict "labelSelector" $selector) .)) | nindent 6 | trim }}
    {{- end }}
  {{- end }}
{{- end -}}
