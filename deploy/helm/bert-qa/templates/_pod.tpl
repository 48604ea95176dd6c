{{/* A server pod's template. Takes a list: the root, the track. */}}
{{- define "bert-qa.podTemplate" -}}
{{- $root := index . 0 -}}
{{- $track := index . 1 -}}
{{- $labels := include "bert-qa.trackLabels" (list $root $track.name) -}}
metadata:
  labels:
    {{- $labels | nindent 4 }}
    {{- with $root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    bert-qa/version: {{ $track.version | quote }}
    {{- if $root.Values.rollouts.enabled }}
    {{- include "bert-qa.configAnnotations" (list $root $track) | nindent 4 }}
    {{- else }}
    bert-qa/server-config: {{ include "bert-qa.server.config" (list $root $track) | sha256sum | trunc 16 | quote }}
    bert-qa/proxy-config: {{ include "bert-qa.proxy.config" $root | sha256sum | trunc 16 | quote }}
    {{- end }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "bert-qa.podCommon" $root | nindent 2 }}
  {{- with $root.Values.xeon.numaScheduler }}
  schedulerName: {{ . }}
  {{- end }}
  {{- with include "bert-qa.affinity" $root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "bert-qa.topologySpread" (list $root $labels ($root.Values.rollouts.enabled | ternary "rollouts-pod-template-hash" "pod-template-hash")) }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    {{- include "bert-qa.podSecurity" $root | nindent 4 }}
  terminationGracePeriodSeconds: {{ include "bert-qa.graceSeconds" $root }}
  initContainers:
    {{- with include "bert-qa.model.initContainers" (list $root $track) }}
    {{- . | nindent 4 }}
    {{- end }}
    - {{ include "bert-qa.proxy.sidecar" $root | indent 6 | trim }}
  containers:
    - name: ovms
      {{- include "bert-qa.server.container" (list $root $track) | nindent 6 }}
      {{- with include "bert-qa.model.environment" $root | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- include "bert-qa.server.lifecycle" . | nindent 6 }}
      volumeMounts:
        - name: server-config
          mountPath: /config
          readOnly: true
        - name: scratch
          mountPath: /tmp
        {{- with include "bert-qa.model.mounts" $root | trim }}
        {{- . | nindent 8 }}
        {{- end }}
  volumes:
    - name: server-config
      {{- if $root.Values.rollouts.enabled }}
      {{- include "bert-qa.annotatedFiles" (list "config.json") | nindent 6 }}
      {{- else }}
      configMap:
        name: {{ include "bert-qa.fullname" $root }}-{{ $track.name }}
      {{- end }}
    - name: scratch
      emptyDir:
        sizeLimit: 8Gi
    {{- include "bert-qa.proxy.volumes" $root | nindent 4 }}
    {{- with include "bert-qa.model.volumes" $root | trim }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/*
The files of a pod of a Rollout, as annotations of its own: two versions run side by side for long there, and a pod of
either that is replaced has to start with what it had, which one ConfigMap for both could not give it. Takes a list: the
root, the track.
*/}}
{{- define "bert-qa.configAnnotations" -}}
{{- $root := index . 0 -}}
bert-qa/config.json: |
  {{- include "bert-qa.server.config" . | nindent 2 }}
{{- range $file, $content := include "bert-qa.proxy.files" $root | fromYaml }}
bert-qa/{{ $file }}: |
  {{- $content | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The source of a volume that holds annotations of the pod as files. Takes the files' names. */}}
{{- define "bert-qa.annotatedFiles" -}}
downwardAPI:
  items:
    {{- range . }}
    - path: {{ . }}
      fieldRef: {fieldPath: "metadata.annotations['bert-qa/{{ . }}']"}
    {{- end }}
{{- end -}}
