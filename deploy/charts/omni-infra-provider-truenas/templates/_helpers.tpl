{{- define "omni.labels" -}}
{{ include "omni.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "omni.selector" -}}
app.kubernetes.io/name: omni-infra-provider-truenas
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The name of every object. */}}
{{- define "omni.name" -}}
{{- if contains "omni-infra-provider" .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-omni-infra-provider" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "omni.secret" -}}
{{- default (include "omni.name" .) .Values.omni.existingSecret -}}
{{- end -}}

{{- define "omni.credentials" -}}
{{- default (printf "%s-nas" (include "omni.name" .)) .Values.nas.existingSecret -}}
{{- end -}}
