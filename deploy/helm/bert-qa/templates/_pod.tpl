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
    bert-qa/server-config: {{ include "bert-qa.server.config" (list $root $track) | sha256sum | trunc 16 | quote }}
    bert-qa/proxy-config: {{ include "bert-qa.proxy.config" $root | sha256sum | trunc 16 | quote }}
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
  {{- with include "bert-qa.topologySpread" (list $root $labels) }}
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
      configMap:
        name: {{ include "bert-qa.fullname" $root }}-{{ $track.name }}
    - name: scratch
      emptyDir:
        sizeLimit: 8Gi
    {{- include "bert-qa.proxy.volumes" $root | nindent 4 }}
    {{- with include "bert-qa.model.volumes" $root | trim }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}
