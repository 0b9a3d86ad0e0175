{{/* The Provider's name. */}}
{{- define "provider.name" -}}
{{- default .Release.Name .Values.name -}}
{{- end -}}

{{/* The host name of the Service that VirtRigaud's manager creates for the provider. */}}
{{- define "provider.host" -}}
virtrigaud-provider-{{ .Release.Namespace }}-{{ include "provider.name" . }}.{{ .Release.Namespace }}.svc.cluster.local
{{- end -}}

{{- define "provider.labels" -}}
app.kubernetes.io/name: virtrigaud-provider-truenas
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The Secret with the credentials of the NAS. */}}
{{- define "provider.credentials" -}}
{{- default (printf "%s-credentials" (include "provider.name" .)) .Values.nas.existingSecret -}}
{{- end -}}

{{/* The Secret with the certificates. */}}
{{- define "provider.tls" -}}
{{- if eq .Values.tls.mode "existingSecret" -}}
{{ .Values.tls.existingSecret }}
{{- else -}}
{{ include "provider.name" . }}-tls
{{- end -}}
{{- end -}}
