{{/*
The other three forms, made of the same parts. `scripts/sidecar` renders them to deploy/sidecar with this chart's defaults;
an application chart may include them too.
*/}}

{{/* A strategic merge patch for kustomize. Called with a dict of `root` and of the `kind` of the workload. */}}
{{- define "refusal-sidecar.kustomizePatch" -}}
apiVersion: {{ eq .kind "Job" | ternary "batch/v1" "apps/v1" }}
kind: {{ .kind }}
metadata:
  name: any
spec:
  template:
    metadata:
      annotations:
        {{- include "refusal-sidecar.annotations" .root | nindent 8 }}
    spec:
      initContainers:
        - {{ include "refusal-sidecar.container" .root | nindent 10 | trim }}
      volumes:
        {{- include "refusal-sidecar.volumes" .root | nindent 8 }}
{{- end -}}

{{/*
The custom resource of the OpenTelemetry Operator, which names the container, injects it as a native sidecar, hands over
OTEL_CONFIG and OTEL_RESOURCE_ATTRIBUTES, and makes the probe of `health_check`.
*/}}
{{- define "refusal-sidecar.operator" -}}
{{- $values := include "refusal-sidecar.values" . | fromYaml -}}
apiVersion: opentelemetry.io/v1beta1
kind: OpenTelemetryCollector
metadata:
  name: refusal
spec:
  mode: sidecar
  image: {{ include "refusal-sidecar.image" $values }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  env:
    {{- include "refusal-sidecar.podEnv" $values | nindent 4 }}
  resources:
    {{- toYaml $values.resources | nindent 4 }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  volumeMounts:
    {{- include "refusal-sidecar.volumeMounts" $values | nindent 4 }}
  volumes:
    {{- include "refusal-sidecar.volumes" . | nindent 4 }}
  config:
    {{- toYaml $values.config | nindent 4 }}
{{- end -}}

{{/* A policy of the API server that injects the sidecar, without any server of ours. */}}
{{- define "refusal-sidecar.admissionPolicy" -}}
{{- $container := include "refusal-sidecar.container" . | fromYaml -}}
{{- $volume := include "refusal-sidecar.volumes" . | fromYamlArray | first -}}
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: refusal-sidecar
spec:
  matchConstraints:
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        resources: [pods]
        operations: [CREATE]
  matchConditions:
    - name: has-none-yet
      expression: >-
        !has(object.spec.initContainers) || !object.spec.initContainers.exists(c, c.name in ["refusal-collector", "otc-container"])
    # Pods on the host's network share their loopback with all others of the node.
    - name: has-its-own-loopback
      expression: "!has(object.spec.hostNetwork) || !object.spec.hostNetwork"
  # A Pod without its sidecar is better than none.
  failurePolicy: Ignore
  reinvocationPolicy: IfNeeded
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: |-
          (has(object.spec.volumes) ? [] : [JSONPatch{op: "add", path: "/spec/volumes", value: []}])
          + (has(object.spec.initContainers) ? [] : [JSONPatch{op: "add", path: "/spec/initContainers", value: []}])
          + [
            JSONPatch{op: "add", path: "/spec/volumes/-", value: {{ include "refusal-sidecar.cel" (dict "value" $volume "type" "Object.spec.volumes") | nindent 12 | trim }}},
            JSONPatch{op: "add", path: "/spec/initContainers/0", value: {{ include "refusal-sidecar.cel" (dict "value" $container "type" "Object.spec.initContainers") | nindent 12 | trim }}}
          ]
---
# Pods with the label refusal-collector/inject: "true" ...
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: refusal-sidecar-pods
spec:
  policyName: refusal-sidecar
  matchResources:
    objectSelector:
      matchLabels:
        refusal-collector/inject: "true"
---
# ... and those without it in namespaces with this label; "false" on a Pod keeps it out.
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: refusal-sidecar-namespaces
spec:
  policyName: refusal-sidecar
  matchResources:
    namespaceSelector:
      matchLabels:
        refusal-collector/inject: "true"
    objectSelector:
      matchExpressions:
        - key: refusal-collector/inject
          operator: DoesNotExist
{{- end -}}

{{/*
A value as a CEL expression of the given object type, such as Object.spec.initContainers. `requests` and `limits` are maps by
name, all other maps are objects. What is long is broken into lines.
*/}}
{{- define "refusal-sidecar.cel" -}}
{{- $type := .type -}}
{{- if kindIs "map" .value -}}
  {{- $isObject := not (regexMatch "[.](requests|limits)$" $type) -}}
  {{- $fields := list -}}
  {{- range $key, $value := .value -}}
    {{- $below := include "refusal-sidecar.cel" (dict "value" $value "type" (printf "%s.%s" $type $key)) -}}
    {{- $fields = append $fields (printf "%s: %s" ($isObject | ternary $key (toJson $key)) $below) -}}
  {{- end -}}
  {{- $isObject | ternary $type "" }}{{ include "refusal-sidecar.celGroup" (dict "open" "{" "close" "}" "elements" $fields) -}}
{{- else if kindIs "slice" .value -}}
  {{- $elements := list -}}
  {{- range .value }}{{ $elements = append $elements (include "refusal-sidecar.cel" (dict "value" . "type" $type)) }}{{ end -}}
  {{- include "refusal-sidecar.celGroup" (dict "open" "[" "close" "]" "elements" $elements) -}}
{{- else if and (kindIs "string" .value) (contains "\n" .value) -}}
  {{- $lines := list -}}
  {{- range splitList "\n" .value }}{{ $lines = append $lines (toJson .) }}{{ end -}}
  {{- include "refusal-sidecar.celGroup" (dict "open" "[" "close" "]" "elements" $lines) }}.join("\n")
{{- else -}}
  {{- toJson .value -}}
{{- end -}}
{{- end -}}

{{- define "refusal-sidecar.celGroup" -}}
{{- $line := join ", " .elements -}}
{{- if or (gt (len $line) 100) (contains "\n" $line) -}}
{{ .open }}
{{ join ",\n" .elements | indent 2 }}
{{ .close }}
{{- else -}}
{{ .open }}{{ $line }}{{ .close }}
{{- end -}}
{{- end -}}
