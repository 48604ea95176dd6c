{{/* A server pod's template. Takes a list: the root, the track. */}}
{{- define "bert-qa.podTemplate" -}}
{{- $root := index . 0 -}}
{{- $track := index . 1 -}}
{{- $labels := include "bert-qa.trackLabels" (list $root $track.name) -}}
metadata:
  labels:
    {{- $labels | nindent 4 }}
    {{- with include "bert-qa.podLabels" $root }}
    {{- . | nindent 4 }}
    {{- end }}
  annotations:
    bert-qa/version: {{ $track.version | quote }}
    {{- if $root.Values.rollouts.enabled }}
    {{- include "bert-qa.configAnnotations" (list $root $track) | nindent 4 }}
    {{- else }}
    bert-qa/server-config: {{ include "bert-qa.server.config" (list $root $track) | sha256sum | trunc 16 | quote }}
    bert-qa/proxy-config: {{ include "bert-qa.proxy.config" $root | sha256sum | trunc 16 | quote }}
    {{- end }}
    {{- with $root.Values.model.verify.publicKey }}
    bert-qa/public-key.pem: {{ quote . }}
    {{- end }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "bert-qa.pod" (list $root (include "bert-qa.serverPod" (list $root $track $labels))) | nindent 2 }}
{{- end -}}

{{/* Its specification, before the values add to it. Takes a list: the root, the track, the pods' labels. */}}
{{- define "bert-qa.serverPod" -}}
{{- $root := index . 0 -}}
{{- $track := index . 1 -}}
{{- $labels := index . 2 -}}
{{ include "bert-qa.podCommon" $root }}
{{- with $root.Values.xeon.numaScheduler }}
schedulerName: {{ toYaml . }}
{{- end }}
{{- with include "bert-qa.affinity" $root }}
{{- . | nindent 0 }}
{{- end }}
{{- with include "bert-qa.topologySpread" (list $root $labels ($root.Values.rollouts.enabled | ternary "rollouts-pod-template-hash" "pod-template-hash")) }}
{{- . | nindent 0 }}
{{- end }}
securityContext:
  {{- include "bert-qa.podSecurity" $root | nindent 2 }}
terminationGracePeriodSeconds: {{ include "bert-qa.graceSeconds" $root }}
initContainers:
  {{- with include "bert-qa.model.initContainers" (list $root $track) }}
  {{- . | nindent 2 }}
  {{- end }}
  - {{ include "bert-qa.proxy.sidecar" $root | indent 4 | trim }}
containers:
  - name: ovms
    {{- include "bert-qa.server.container" (list $root $track) | nindent 4 }}
    {{- with include "bert-qa.server.environment" $root }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- include "bert-qa.server.lifecycle" . | nindent 4 }}
    volumeMounts:
      {{- /* As a subPath it stays as it was when the pod began: what its successors serve is not for it. */}}
      - name: server-config
        mountPath: /config/config.json
        subPath: config.json
        readOnly: true
      - name: scratch
        mountPath: /tmp
      {{- with include "bert-qa.model.mounts" $root | trim }}
      {{- . | nindent 6 }}
      {{- end }}
  {{- with $root.Values.server.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - name: server-config
    {{- if $root.Values.rollouts.enabled }}
    {{- include "bert-qa.annotatedFiles" (list "config.json") | nindent 4 }}
    {{- else }}
    configMap:
      name: {{ include "bert-qa.fullname" $root }}-{{ $track.name }}
    {{- end }}
  - name: scratch
    emptyDir:
      sizeLimit: 8Gi
  {{- include "bert-qa.proxy.volumes" $root | nindent 2 }}
  {{- with include "bert-qa.model.volumes" $root | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if $root.Values.model.verify.publicKey }}
  - name: verify
    {{- include "bert-qa.annotatedFiles" (list "public-key.pem") | nindent 4 }}
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

{{/* The values' labels of every pod. */}}
{{- define "bert-qa.podLabels" -}}
{{- with merge (deepCopy .Values.podLabels) .Values.commonLabels -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/*
A pod's specification with what the values add to every pod and every container. Takes a list: the root, the
specification.
*/}}
{{- define "bert-qa.pod" -}}
{{- $values := (index . 0).Values -}}
{{- $pod := index . 1 | fromYaml -}}
{{- range $key := list "affinity" "runtimeClassName" -}}
{{- with get $values $key -}}
{{- $_ := set $pod $key . -}}
{{- end -}}
{{- end -}}
{{- with $values.volumes -}}
{{- $_ := set $pod "volumes" (concat ($pod.volumes | default list) .) -}}
{{- end -}}
{{- range $container := concat ($pod.initContainers | default list) $pod.containers -}}
{{- range $key := list "env" "envFrom" "volumeMounts" -}}
{{- with get $values $key -}}
{{- $_ := set $container $key (concat (get $container $key | default list) .) -}}
{{- end -}}
{{- end -}}
{{- with $container.env -}}
{{- $_ := set $container "env" (include "bert-qa.lastOfEach" . | fromYamlArray) -}}
{{- end -}}
{{- end -}}
{{- include "bert-qa.pod.validate" $pod -}}
{{- toYaml $pod -}}
{{- end -}}

{{/* Objects with a name, of which the last of each name stays, at the place of the first: the API server takes no name twice. */}}
{{- define "bert-qa.lastOfEach" -}}
{{- $last := dict -}}
{{- $names := list -}}
{{- range . -}}
{{- $names = append $names .name -}}
{{- $_ := set $last .name . -}}
{{- end -}}
{{- $found := list -}}
{{- range uniq $names -}}
{{- $found = append $found (get $last .) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* An image's reference by its parts, or as it was given. Takes a list: the root, the image. */}}
{{- define "bert-qa.imageReference" -}}
{{- $image := index . 1 -}}
{{- if $image.reference -}}
{{- $image.reference -}}
{{- else -}}
{{- with trimSuffix "/" $image.registry -}}{{- . -}}/{{- end -}}
{{- $image.repository -}}:{{- $image.tag | default (index . 0).Chart.AppVersion -}}
{{- with $image.digest -}}@{{- . -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/*
An image, from the registry that is given for all of them. The first part of a reference is a registry where it has a
dot or a port, or is localhost. Takes a list: the root, the image.
*/}}
{{- define "bert-qa.image" -}}
{{- $registry := dig "imageRegistry" "" (index . 0).Values.global | trimSuffix "/" -}}
{{- $image := include "bert-qa.imageReference" . -}}
{{- $first := first (splitList "/" $image) -}}
{{- if and $registry (contains "/" $image) (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) -}}
{{- $image = trimPrefix (printf "%s/" $first) $image -}}
{{- end -}}
{{- with $registry -}}{{- . -}}/{{- end -}}
{{- $image -}}
{{- end -}}

{{/* The project's own images of the release, which no registry has until somebody pushes them, as JSON {"images": {the value: the image}}. */}}
{{- define "bert-qa.unpushed" -}}
{{- $images := dict -}}
{{- if not .Values.kserve.enabled }}{{ $_ := set $images "test.image" .Values.test.image }}{{ end -}}
{{- if .Values.httpApi.enabled -}}
{{- $key := include "bert-qa.httpApi.imageKey" . -}}
{{- $_ := set $images $key (eq $key "test.image" | ternary .Values.test.image .Values.httpApi.image) -}}
{{- end -}}
{{- if eq (include "bert-qa.sources" .) "image" }}{{ $_ := set $images "model.image" .Values.model.image }}{{ end -}}
{{- if .Values.model.training.enabled }}{{ $_ := set $images "model.training.image" .Values.model.training.image }}{{ end -}}
{{- if .Values.switch.enabled }}{{ $_ := set $images "switch.image" .Values.switch.image }}{{ end -}}
{{- $unpushed := dict -}}
{{- range $value, $image := $images -}}
{{- $reference := include "bert-qa.image" (list $ $image) -}}
{{- if and (not $image.reference) (regexMatch "^bert-qa-(build|client|model|switch):" $reference) -}}
{{- $_ := set $unpushed $value $reference -}}
{{- end -}}
{{- end -}}
{{- dict "images" $unpushed | toJson -}}
{{- end -}}

{{/* What a pod of a track asks of a node, for people. Takes a list: the root, the track. */}}
{{- define "bert-qa.podSize" -}}
{{- $cpus := 0 -}}
{{- $bytes := 0 -}}
{{- range list (index . 1).resources (include "bert-qa.resources" (index . 0).Values.proxy.resources | fromYaml) -}}
{{- $cpus = add $cpus (include "bert-qa.thousandths" .requests.cpu | int64) -}}
{{- $bytes = add $bytes (include "bert-qa.bytes" .requests.memory | int64) -}}
{{- end -}}
{{- divf $cpus 1000 }} CPUs and {{ div $bytes 1048576 }}Mi
{{- end -}}

{{/* Whom the NetworkPolicies let ask, for people. */}}
{{- define "bert-qa.askers" -}}
{{- if not .Values.networkPolicy.enabled -}}
in the cluster
{{- else if eq (toJson .Values.networkPolicy.clients) "[{\"podSelector\":{}}]" -}}
of this namespace (others: networkPolicy.clients)
{{- else -}}
that networkPolicy.clients names
{{- end -}}
{{- end -}}
