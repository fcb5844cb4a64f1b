{{- /* What a name of this revision ends with; nothing where it is the only one. */ -}}
{{- define "istiod.suffix" -}}
{{- if and .Values.revision (ne .Values.revision "default") }}-{{ .Values.revision }}{{ end -}}
{{- end }}

{{- define "istiod.revision" -}}
{{- .Values.revision | default "default" -}}
{{- end }}

{{- /* Labels of everything. */ -}}
{{- define "istiod.labels" -}}
app: istiod
app.kubernetes.io/part-of: controlplane
istio.io/rev: {{ include "istiod.revision" . }}
{{- end }}

{{- /* Labels by which the pods of this revision are found. */ -}}
{{- define "istiod.selector" -}}
{{- if include "istiod.suffix" . -}}
app: istiod
istio.io/rev: {{ .Values.revision }}
{{- else -}}
istio: pilot
{{- end }}
{{- end }}

{{- /* The image; `values` are those of the chart with those of `pilot` over them. */ -}}
{{- define "istiod.image" -}}
{{- $variant := .values.variant | default .values.global.variant -}}
{{- if contains "/" .values.image -}}
{{ .values.image }}
{{- else -}}
{{ .values.hub | default .values.global.hub }}/{{ .values.image }}:{{ .values.tag | default .values.global.tag | default .root.Chart.AppVersion }}
{{- if $variant }}-{{ $variant }}{{ end }}
{{- end }}
{{- end }}

{{- /* One injecting webhook: `name`, `namespaces` and `pods` are conditions on labels. */ -}}
{{- define "istiod.webhook" -}}
- name: {{ .name }}.sidecar-injector.istio.io
  namespaceSelector:
    matchExpressions:
    {{- range .namespaces }}
    - {{ toJson . }}
    {{- end }}
  objectSelector:
    matchExpressions:
    {{- range .pods }}
    - {{ toJson . }}
    {{- end }}
  rules:
  - {operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}
  clientConfig:
    service: {name: istiod{{ include "istiod.suffix" .root }}, namespace: {{ .root.Release.Namespace }}, path: /inject, port: 443}
  failurePolicy: Fail
  reinvocationPolicy: {{ .root.Values.sidecarInjectorWebhook.reinvocationPolicy }}
  sideEffects: None
  admissionReviewVersions: [v1]
{{- end }}

{{- /* All injecting webhooks for the label istio.io/rev of this `value`. */ -}}
{{- define "istiod.webhooks" -}}
{{- $revision := dict "key" "istio.io/rev" "operator" "In" "values" (list .value) -}}
{{- $noRevision := dict "key" "istio.io/rev" "operator" "DoesNotExist" -}}
{{- $unnamed := dict "key" "istio-injection" "operator" "DoesNotExist" -}}
{{- $enabled := dict "key" "istio-injection" "operator" "In" "values" (list "enabled") -}}
{{- $notRefused := dict "key" "sidecar.istio.io/inject" "operator" "NotIn" "values" (list "false") -}}
{{- $asked := dict "key" "sidecar.istio.io/inject" "operator" "In" "values" (list "true") -}}
{{ include "istiod.webhook" (dict "root" .root "name" "rev.namespace" "namespaces" (list $revision $unnamed) "pods" (list $notRefused)) }}
{{ include "istiod.webhook" (dict "root" .root "name" "rev.object" "namespaces" (list $noRevision $unnamed) "pods" (list $notRefused $revision)) }}
{{- if eq .value "default" }}
{{ include "istiod.webhook" (dict "root" .root "name" "namespace" "namespaces" (list $enabled) "pods" (list $notRefused)) }}
{{ include "istiod.webhook" (dict "root" .root "name" "object" "namespaces" (list $unnamed $noRevision) "pods" (list $asked $noRevision)) }}
{{- if .root.Values.sidecarInjectorWebhook.enableNamespacesByDefault }}
{{- $system := dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" (list "kube-node-lease" "kube-public" "kube-system" "local-path-storage") }}
{{- $silent := dict "key" "sidecar.istio.io/inject" "operator" "DoesNotExist" }}
{{ include "istiod.webhook" (dict "root" .root "name" "auto" "namespaces" (list $unnamed $noRevision $system) "pods" (list $silent $noRevision)) }}
{{- end }}
{{- end }}
{{- end }}
