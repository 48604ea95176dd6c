{{/* Names and labels. */}}

{{- define "bert-qa.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- include "bert-qa.shortened" .Release.Name -}}
{{- else -}}
{{- include "bert-qa.shortened" (printf "%s-%s" .Release.Name $name) -}}
{{- end -}}
{{- end -}}

{{/* A name without dots, and with room for what is appended to it. One that is changed has a part of its own, so that no other becomes it. */}}
{{- define "bert-qa.shortened" -}}
{{- if or (gt (len .) 40) (contains "." .) -}}
{{- printf "%s-%s" (replace "." "-" . | trunc 34 | trimSuffix "-") (sha256sum . | trunc 5) -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- define "bert-qa.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace -}}
{{- end -}}

{{/* What tells metrics and alerts of this release from others': its name, with that under which a parent chart has the chart, where it has another. */}}
{{- define "bert-qa.releaseLabel" -}}
{{- list .Release.Name (eq .Chart.Name "bert-qa" | ternary "" .Chart.Name) | compact | join "-" -}}
{{- end -}}

{{- define "bert-qa.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ toYaml .Release.Name }}
{{- end -}}

{{- define "bert-qa.serverLabels" -}}
{{ include "bert-qa.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{/* What selects the pods of a track. Takes a list: the root, the track's name. */}}
{{- define "bert-qa.trackLabels" -}}
{{ include "bert-qa.serverLabels" (index . 0) }}
bert-qa/track: {{ index . 1 | toYaml }}
{{- end -}}

{{- define "bert-qa.labels" -}}
{{ include "bert-qa.chartLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "bert-qa.chartLabels" -}}
{{ include "bert-qa.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What holds the pods of a track, for those that scale it. Takes a list: the root, the track's name. */}}
{{- define "bert-qa.workload" -}}
{{- if (index . 0).Values.rollouts.enabled -}}
apiVersion: argoproj.io/v1alpha1
kind: Rollout
{{- else -}}
apiVersion: apps/v1
kind: Deployment
{{- end }}
name: {{ include "bert-qa.fullname" (index . 0) }}-{{ index . 1 }}
{{- end -}}

{{/* metadata: of an object. Takes a list: the root, the name's suffix (or ""), the values' labels for it (or nothing). */}}
{{- define "bert-qa.metadata" -}}
{{- $root := index . 0 -}}
{{- $suffix := index . 1 -}}
name: {{ list (include "bert-qa.fullname" $root) $suffix | compact | join "-" | toYaml }}
namespace: {{ include "bert-qa.namespace" $root | toYaml }}
labels:
  {{- include "bert-qa.chartLabels" $root | nindent 2 }}
  {{- with merge (rest (rest .) | first | default dict | deepCopy) $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "bert-qa.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "bert-qa.fullname" .) -}}
{{- end -}}
