{{/* OpenVINO Model Server: its flags, its configuration, its container. */}}

{{/* config.json. Takes a list: the root, the track. */}}
{{- define "bert-qa.server.config" -}}
{{- $root := index . 0 -}}
{{- $track := index . 1 -}}
{{- $server := $root.Values.server -}}
{{- $policy := dict "latest" (dict "num_versions" 1) -}}
{{- if not $track.latest -}}
{{- $policy = dict "specific" (dict "versions" (list ($track.version | int64))) -}}
{{- end -}}
{{- $settings := include "bert-qa.settings" . | fromJson -}}
{{- $plugin := dict "NUM_STREAMS" ($settings.streams | int64 | toString) "INFERENCE_NUM_THREADS" ($settings.threads | int64 | toString) -}}
{{- if $server.precision -}}
{{- $_ := set $plugin "INFERENCE_PRECISION_HINT" $server.precision -}}
{{- end -}}
{{- $model := dict
      "name" $root.Values.model.name
      "base_path" (printf "%s/%s" (include "bert-qa.repository" $root) $root.Values.model.name)
      "target_device" "CPU"
      "model_version_policy" $policy
      "plugin_config" (merge $plugin $server.pluginConfig (include "bert-qa.xeon.pluginConfig" $root | fromJson)) -}}
{{- $metrics := list
      "ovms_requests_success"
      "ovms_requests_fail"
      "ovms_request_time_us"
      "ovms_inference_time_us"
      "ovms_wait_for_infer_req_time_us"
      "ovms_current_requests"
      "ovms_streams"
      "ovms_infer_req_queue_size"
      "ovms_infer_req_active" -}}
{{- /* They are loaded in this order: a pod is ready with the last. */}}
{{- $models := list -}}
{{- range include "bert-qa.model.others" $root | fromJsonArray -}}
{{- $own := dict
      "name" .
      "base_path" (printf "%s/%s" (include "bert-qa.repository" $root) .)
      "model_version_policy" (dict "latest" (dict "num_versions" 1)) -}}
{{- $models = append $models (dict "config" (merge $own (omit $model "model_version_policy"))) -}}
{{- end -}}
{{- dict
      "model_config_list" (append $models (dict "config" $model))
      "monitoring" (dict "metrics" (dict "enable" true "metrics_list" $metrics))
    | toPrettyJson -}}
{{- end -}}

{{/* Flags. Takes a list: the root, the track. A pinned track never looks for changes: its pods are replaced. */}}
{{- define "bert-qa.server.args" -}}
{{- $root := index . 0 -}}
{{- $settings := include "bert-qa.settings" . | fromJson -}}
- --config_path=/config/config.json
- --port=9001
- --grpc_bind_address=127.0.0.1
- --rest_port=8001
- --rest_bind_address=127.0.0.1
- --grpc_max_threads={{ $settings.grpc_threads | int64 }}
- --grpc_channel_arguments=grpc.max_concurrent_streams={{ $settings.concurrent_streams | int64 }},grpc.http2.min_ping_interval_without_data_ms=10000,grpc.keepalive_permit_without_calls=1
- --rest_workers={{ $settings.rest_workers | int64 }}
- --file_system_poll_wait_seconds={{ $settings.poll_seconds | int64 }}
- --log_level={{ $root.Values.server.logLevel }}
{{- range $root.Values.server.extraArgs }}
- {{ quote . }}
{{- end }}
{{- end -}}

{{- define "bert-qa.server.readyPath" -}}
{{- $root := index . 0 -}}
{{- $track := index . 1 -}}
/v2/models/{{ $root.Values.model.name }}{{ if not $track.latest }}/versions/{{ $track.version }}{{ end }}/ready
{{- end -}}

{{- define "bert-qa.containerSecurity" -}}
{{- toYaml .Values.containerSecurityContext -}}
{{- end -}}

{{- define "bert-qa.podSecurity" -}}
{{- toYaml .Values.podSecurityContext -}}
{{- end -}}

{{/* What all pods of the release that do not ask the cluster's API have in common. */}}
{{- define "bert-qa.podCommon" -}}
serviceAccountName: {{ include "bert-qa.serviceAccountName" . | toYaml }}
automountServiceAccountToken: false
{{ include "bert-qa.podPlace" . }}
{{- end -}}

{{/* Where pods go, and how they get their images. */}}
{{- define "bert-qa.podPlace" -}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ toYaml . }}
{{- end }}
{{- end -}}

{{/* env: and envFrom: of the server. */}}
{{- define "bert-qa.server.environment" -}}
{{- $environment := include "bert-qa.model.environment" . | fromYaml -}}
{{- with include "bert-qa.xeon.environment" . | fromYamlArray -}}
{{- $_ := set $environment "env" (concat ($environment.env | default list) .) -}}
{{- end -}}
{{- with $environment -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{/* The server's container, but for its name and probes. Takes a list: the root, the track. */}}
{{- define "bert-qa.server.container" -}}
{{- $root := index . 0 -}}
{{- $track := index . 1 -}}
image: {{ include "bert-qa.image" (list $root $root.Values.server.image) | quote }}
imagePullPolicy: {{ $root.Values.imagePullPolicy }}
args:
  {{- include "bert-qa.server.args" . | nindent 2 }}
securityContext:
  {{- include "bert-qa.containerSecurity" $root | nindent 2 }}
resources:
  {{- toYaml $track.resources | nindent 2 }}
{{- end -}}

{{/* How the server's container starts, is watched and ends in a pod of the chart's own making. Takes a list: the root, the track. */}}
{{- define "bert-qa.server.lifecycle" -}}
{{- $root := index . 0 -}}
{{- $ready := include "bert-qa.server.readyPath" . -}}
startupProbe:
  {{- with $root.Values.server.warmUpSeconds | int64 }}
  exec:
    command:
      - /bin/bash
      - -c
      - |
        {{- $root.Files.Get "files/warm.sh" | trim | nindent 8 }}
      - warm
      - "8001"
      - {{ trimSuffix "/ready" $ready }}
      - {{ (include "bert-qa.settings" $ | fromJson).streams | int64 | quote }}
      - {{ quote . }}
      {{- /* The server's own output. */}}
      - /proc/1/fd/1
  timeoutSeconds: {{ add . 5 }}
  {{- else }}
  httpGet: {path: {{ $ready }}, port: 8081}
  timeoutSeconds: 5
  {{- end }}
  periodSeconds: 1
  failureThreshold: {{ $root.Values.server.startupSeconds | int64 }}
readinessProbe:
  httpGet: {path: {{ $ready }}, port: 8081}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
livenessProbe:
  httpGet: {path: /v2/health/live, port: 8081}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
lifecycle:
  {{- with $root.Values.server.lifecycle }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if not $root.Values.server.lifecycle.preStop }}
  preStop:
    exec:
      command:
        - /bin/sh
        - -c
        - |
          {{- $root.Files.Get "files/drain.sh" | trim | nindent 10 }}
        - drain
        {{- $most := include "bert-qa.pauseSeconds" $root | int }}
        {{- range list (min 10 $most) $most 9000 8000 }}
        - {{ quote . }}
        {{- end }}
  {{- end }}
{{- end -}}
