{{- define "cni.labels" -}}
app.kubernetes.io/part-of: controlplane
k8s-app: istio-cni-node
{{- end }}

{{- define "cni.image" -}}
{{- $variant := .Values.variant | default .Values.global.variant -}}
{{- if contains "/" .Values.image -}}
{{ .Values.image }}
{{- else -}}
{{ .Values.hub | default .Values.global.hub }}/{{ .Values.image }}:{{ .Values.tag | default .Values.global.tag | default .Chart.AppVersion }}
{{- if $variant }}-{{ $variant }}{{ end }}
{{- end }}
{{- end }}
