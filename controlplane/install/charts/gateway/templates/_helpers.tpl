{{- define "gateway.name" -}}
{{- .Values.name | default .Release.Name -}}
{{- end }}

{{- define "gateway.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "gateway.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{- define "gateway.selector" -}}
app: {{ (.Values.labels.app | default (include "gateway.name" .)) | quote }}
istio: {{ (.Values.labels.istio | default (include "gateway.name" . | trimPrefix "istio-")) | quote }}
{{- end }}

{{- /* Labels of everything. */ -}}
{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/part-of: controlplane
{{- with .Values.networkGateway }}
topology.istio.io/network: {{ . | quote }}
{{- end }}
{{- with .Values.revision }}
istio.io/rev: {{ . | quote }}
{{- end }}
{{- with omit .Values.labels "app" "istio" }}
{{ toYaml . }}
{{- end }}
{{- end }}
