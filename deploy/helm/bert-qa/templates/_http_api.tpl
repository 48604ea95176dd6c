{{/* The HTTP API: text in front of the servers' tensors. */}}

{{- define "bert-qa.httpApi.labels" -}}
{{ include "bert-qa.selectorLabels" . }}
app.kubernetes.io/component: http-api
{{- end -}}

{{/* The Service over a track's own pods, of whose addresses each is balanced over. Takes a list: the root, the track's name. */}}
{{- define "bert-qa.podsServiceName" -}}
{{- printf "%s-%s-pods" (include "bert-qa.fullname" (index . 0)) (index . 1) | trunc 63 -}}
{{- end -}}

{{/*
What it follows, as `bert-qa serve http-api --tracks` reads it: a file, so that a change of weights, or another track,
replaces none of its pods. Where others move the traffic between versions, they do so behind one address.
*/}}
{{- define "bert-qa.httpApi.tracks" -}}
{{- $scheme := .Values.tls.enabled | ternary "dnss" "dns" -}}
{{- $name := include "bert-qa.fullname" . -}}
{{- $tracks := list -}}
{{- if .Values.kserve.enabled -}}
{{- $predictor := printf "%s-predictor.%s.svc:80" $name (include "bert-qa.namespace" .) -}}
{{- $rest := printf "http://%s" $predictor -}}
{{- $url := eq .Values.kserve.protocol "grpc" | ternary (printf "grpc://%s" $predictor) $rest -}}
{{- $tracks = append $tracks (dict "url" $url "metadata_url" $rest "weight" 100) -}}
{{- else if .Values.rollouts.enabled -}}
{{- $tracks = append $tracks (dict "url" (printf "%s:///%s-headless.%s.svc:9000" $scheme $name (include "bert-qa.namespace" .)) "weight" 100) -}}
{{- else -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- $service := include "bert-qa.podsServiceName" (list $ .name) -}}
{{- $track := dict "url" (printf "%s:///%s.%s.svc:9000" $scheme $service (include "bert-qa.namespace" $)) "weight" .weight -}}
{{- if not .latest -}}
{{- $_ := set $track "version" (int64 .version) -}}
{{- end -}}
{{- $tracks = append $tracks $track -}}
{{- end -}}
{{- end -}}
{{- dict "tracks" $tracks | toPrettyJson -}}
{{- end -}}

{{- define "bert-qa.httpApi.args" -}}
{{- $api := .Values.httpApi -}}
- --tracks=/etc/bert-qa/tracks.json
- --model={{ .Values.model.name }}
- "--http-host={{ include "bert-qa.listening" . }}"
- --http-port=8080
- --workers={{ $api.workers | int64 }}
- --queue={{ $api.queue | int64 }}
- --body-limit={{ $api.bodyLimitMegabytes | int64 }}
- --timeout={{ .Values.server.requestTimeoutSeconds | int64 }}s
- --drain={{ .Values.server.requestTimeoutSeconds | int64 }}s
- --http-log-level={{ $api.logLevel }}
{{- with $api.tokenBudget | int64 }}
- --token-budget={{ . }}
{{- end }}
{{- range include "bert-qa.model.others" . | fromJsonArray }}
- {{ printf "--models=%s" . | quote }}
{{- end }}
{{- range $api.corsOrigins }}
- {{ printf "--cors-origin=%s" . | quote }}
{{- end }}
{{- range $api.extraArgs }}
- {{ quote . }}
{{- end }}
{{- if $api.token.secretName }}
- --api-token-file=/token/token
{{- end }}
{{- if .Values.tls.enabled }}
- --ca=/tls/server/ca.crt
- --server-name={{ include "bert-qa.fullname" . }}.{{ include "bert-qa.namespace" . }}.svc
{{- if .Values.tls.clientCASecretName }}
- --certificate=/tls/client/tls.crt
- --key=/tls/client/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{/* The value that says its image. */}}
{{- define "bert-qa.httpApi.imageKey" -}}
{{- with .Values.httpApi.image -}}
{{- or .reference .repository | empty | ternary "test.image" "httpApi.image" -}}
{{- end -}}
{{- end -}}

{{/* Its container, but for its name, command and life cycle. */}}
{{- define "bert-qa.httpApi.container" -}}
image: {{ include "bert-qa.image" (list . (eq (include "bert-qa.httpApi.imageKey" .) "test.image" | ternary .Values.test.image .Values.httpApi.image)) | quote }}
imagePullPolicy: {{ .Values.imagePullPolicy }}
ports:
  - {name: http1, containerPort: 8080, protocol: TCP}
env:
  - {name: HOME, value: /tmp}
securityContext:
  {{- include "bert-qa.containerSecurity" . | nindent 2 }}
resources:
  {{- include "bert-qa.resources" .Values.httpApi.resources | nindent 2 }}
readinessProbe:
  httpGet: {path: /health/ready, port: 8080}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
volumeMounts:
  - {name: tracks, mountPath: /etc/bert-qa, readOnly: true}
  - {name: scratch, mountPath: /tmp}
  {{- if .Values.httpApi.token.secretName }}
  - {name: token, mountPath: /token, readOnly: true}
  {{- end }}
  {{- if .Values.tls.enabled }}
  - {name: authority, mountPath: /tls/server, readOnly: true}
  {{- if .Values.tls.clientCASecretName }}
  - {name: certificate, mountPath: /tls/client, readOnly: true}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "bert-qa.httpApi.liveness" -}}
livenessProbe:
  httpGet: {path: /health/live, port: 8080}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* How it starts, is watched and ends in a pod of a Deployment. Before it ends, it leaves its Services. */}}
{{- define "bert-qa.httpApi.lifecycle" -}}
startupProbe:
  httpGet: {path: /health/live, port: 8080}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 120
{{ include "bert-qa.httpApi.liveness" . }}
lifecycle:
  preStop:
    exec:
      command: [sleep, "10"]
{{- end -}}

{{/* How long Kubernetes waits for such a pod to end: 10 s until nothing leads to it, its requests, and as long again. */}}
{{- define "bert-qa.httpApi.graceSeconds" -}}
{{- add .Values.server.requestTimeoutSeconds 20 -}}
{{- end -}}

{{- define "bert-qa.httpApi.volumes" -}}
- name: tracks
  configMap:
    name: {{ include "bert-qa.fullname" . }}-http-api
- name: scratch
  emptyDir:
    sizeLimit: 1Gi
{{- with .Values.httpApi.token }}
{{- if .secretName }}
- name: token
  secret:
    secretName: {{ toYaml .secretName }}
    defaultMode: 0440
    items:
      - {key: {{ toYaml .key }}, path: token}
{{- end }}
{{- end }}
{{- if .Values.tls.enabled }}
- name: authority
  secret:
    secretName: {{ include "bert-qa.tlsSecretName" . | toYaml }}
    defaultMode: 0440
    items:
      - {key: ca.crt, path: ca.crt}
{{- if .Values.tls.clientCASecretName }}
- name: certificate
  secret:
    secretName: {{ toYaml .Values.httpApi.clientSecretName }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end -}}

{{/* What the schema cannot say about it. */}}
{{- define "bert-qa.httpApi.validate" -}}
{{- $api := .Values.httpApi -}}
{{- range $part := list "registry" "tag" "digest" -}}
{{- $given := get $api.image $part -}}
{{- if and $given (eq (include "bert-qa.httpApi.imageKey" $) "test.image") -}}
{{- fail (printf "httpApi.image.%s is %v, but httpApi.image has no repository, and without one all of test.image is taken: name the repository too, or set test.image.%s." $part $given $part) -}}
{{- end -}}
{{- end -}}
{{- if and $api.autoscaling.enabled (not .Values.kserve.enabled) -}}
{{- include "bert-qa.validateCpuRequest" (list "The HTTP API" $api.resources) -}}
{{- $workload := dict "apiVersion" "apps/v1" "kind" "Deployment" "name" (printf "%s-http-api" (include "bert-qa.fullname" .)) "scaled" true -}}
{{- $scaler := dict "apiVersion" "autoscaling/v2" "kind" "HorizontalPodAutoscaler" -}}
{{- include "bert-qa.validateScaling" (list . (list $workload) $api.autoscaling "httpApi.autoscaling" $scaler) -}}
{{- end -}}
{{- if and .Values.tls.clientCASecretName (not $api.clientSecretName) -}}
{{- fail "The HTTP API needs a certificate to show to the servers (tls.clientCASecretName): name a Secret with its tls.crt and tls.key in httpApi.clientSecretName, or set httpApi.enabled=false." -}}
{{- end -}}
{{- $names := list -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- $names = append $names (printf "%s-%s" (include "bert-qa.fullname" $) .name) -}}
{{- end -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- if has (include "bert-qa.podsServiceName" (list $ .name)) $names -}}
{{- fail (printf "The tracks %s and %s-pods cannot be side by side: the Service over the pods of the one has the name of the other." .name .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The specification of a pod of its Deployment, before the values add to it. */}}
{{- define "bert-qa.httpApi.pod" -}}
{{ include "bert-qa.podCommon" . }}
{{- with include "bert-qa.topologySpread" (list . (include "bert-qa.httpApi.labels" .) "pod-template-hash") }}
{{- . | nindent 0 }}
{{- end }}
securityContext:
  {{- include "bert-qa.podSecurity" . | nindent 2 }}
terminationGracePeriodSeconds: {{ include "bert-qa.httpApi.graceSeconds" . }}
containers:
  - name: http-api
    command: [bert-qa, serve, http-api]
    args:
      {{- include "bert-qa.httpApi.args" . | nindent 6 }}
    {{- include "bert-qa.httpApi.container" . | nindent 4 }}
    {{- include "bert-qa.httpApi.lifecycle" . | nindent 4 }}
volumes:
  {{- include "bert-qa.httpApi.volumes" . | nindent 2 }}
{{- end -}}
