{{/* Names and labels. */}}

{{- define "bert-qa.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "bert-qa.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bert-qa.serverLabels" -}}
{{ include "bert-qa.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{/* What selects the pods of a track. Takes a list: the root, the track's name. */}}
{{- define "bert-qa.trackLabels" -}}
{{ include "bert-qa.serverLabels" (index . 0) }}
bert-qa/track: {{ index . 1 }}
{{- end -}}

{{- define "bert-qa.labels" -}}
{{ include "bert-qa.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* metadata: of an object. Takes a list: the root, the name's suffix (or ""). */}}
{{- define "bert-qa.metadata" -}}
{{- $root := index . 0 -}}
{{- $suffix := index . 1 -}}
name: {{ include "bert-qa.fullname" $root }}{{ if $suffix }}-{{ $suffix }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "bert-qa.labels" $root | nindent 2 }}
{{- end -}}

{{- define "bert-qa.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "bert-qa.fullname" .) -}}
{{- end -}}
