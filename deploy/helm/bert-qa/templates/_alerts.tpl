{{/* The alerts of a release. */}}

{{/* Labels of an alert, so that two releases' are not one. Takes a list: the root, the severity. */}}
{{- define "bert-qa.alerts.labels" -}}
severity: {{ index . 1 }}
namespace: {{ include "bert-qa.namespace" (index . 0) | quote }}
release: {{ include "bert-qa.releaseLabel" (index . 0) | quote }}
{{- end -}}

{{/* On what OVMS counts. */}}
{{- define "bert-qa.alerts.servers" -}}
{{- $rule := .Values.monitoring.prometheusRule -}}
{{- $served := printf "%s, name=\"%s\"" (include "bert-qa.statistics.selector" .) .Values.model.name -}}
{{- $version := printf "version {{ $labels.version }} of %s (release %s)" .Values.model.name (include "bert-qa.releaseLabel" .) -}}
- alert: BertQARequestsFail
  expr: |
    100 * sum by (version) (rate(ovms_requests_fail{ {{- $served }}, method="ModelInfer"}[5m]))
      / (sum by (version) (rate(ovms_requests_fail{ {{- $served }}, method="ModelInfer"}[5m]))
        + sum by (version) (rate(ovms_requests_success{ {{- $served }}, method="ModelInfer"}[5m]))) > {{ $rule.errorPercent }}
  for: 5m
  labels:
    {{- include "bert-qa.alerts.labels" (list . "critical") | nindent 4 }}
  annotations:
    summary: V{{ trimPrefix "v" $version }} fails {{ "{{ $value | printf \"%.3g\" }}" }} % of its requests.
    description: Look at the server's log, and return the version's traffic to the one before.
- alert: BertQASlow
  expr: |
    histogram_quantile(0.95, sum by (version, le) (rate(ovms_request_time_us_bucket{ {{- $served }}}[5m]))) / 1e6 > {{ divf $rule.p95Milliseconds 1000 }}
  for: 10m
  labels:
    {{- include "bert-qa.alerts.labels" (list . "warning") | nindent 4 }}
  annotations:
    summary: One request in twenty to {{ $version }} takes {{ "{{ $value | humanizeDuration }}" }} or longer.
    description: More replicas help where the queue is long; fewer streams where single requests are slow.
- alert: BertQAQueueLong
  expr: |
    sum by (version) (rate(ovms_wait_for_infer_req_time_us_sum{ {{- $served }}}[5m]))
      / sum by (version) (rate(ovms_wait_for_infer_req_time_us_count{ {{- $served }}}[5m])) / 1e6 > {{ divf $rule.queueMilliseconds 1000 }}
  for: 10m
  labels:
    {{- include "bert-qa.alerts.labels" (list . "warning") | nindent 4 }}
  annotations:
    summary: Requests to {{ $version }} wait {{ "{{ $value | humanizeDuration }}" }} for a free stream.
    description: Add replicas, or turn autoscaling on.
{{- end -}}

{{/* On what kube-state-metrics shows of the pods. */}}
{{- define "bert-qa.alerts.pods" -}}
{{- $namespace := printf "namespace=\"%s\"" (include "bert-qa.namespace" .) -}}
{{- $seen := include "bert-qa.statistics.workloads" . | fromJson -}}
{{- $held := printf "{{ $labels.%s }}" $seen.label -}}
{{- $servers := printf "{%s, %s=~\"%s\"}" $namespace $seen.label $seen.servers -}}
{{- $asked := printf "{%s, %s=~\"%s\"}" $namespace $seen.label $seen.asked -}}
{{- $api := printf "{%s, deployment=~\"%s\"}" $namespace $seen.api -}}
{{- $knative := and .Values.kserve.enabled (eq .Values.kserve.mode "knative") -}}
{{- if not $knative }}
{{- /* Where Knative scales to nothing, no pod is no fault. */}}
- alert: BertQAServiceDown
  expr: |
    {{- if .Values.rollouts.enabled }}
    sum({{ $seen.ready }}{{ $asked }}) == 0
      or on () ({{ $seen.ready }}{{ $asked }} == 0
        and {{ $seen.wanted }}{{ $asked }} > 0
        and max_over_time({{ $seen.ready }}{{ $asked }}[10m]) > 0)
    {{- else }}
    {{ $seen.ready }}{{ $asked }} == 0
    {{- end }}
  for: 1m
  labels:
    {{- include "bert-qa.alerts.labels" (list . "critical") | nindent 4 }}
  annotations:
    summary: No pod of {{ if .Values.rollouts.enabled }}{{ printf "{{ or $labels.replicaset \"%s-%s\" }}" (include "bert-qa.fullname" .) (include "bert-qa.mainTrack" .) }}{{ else }}{{ $held }}{{ end }} is ready, to which users' requests go.
    description: {{ if .Values.kserve.enabled }}See the pods' events and the server's log.{{ else }}Give the traffic to a track whose pods are ready, then see the pods' events and the server's log.{{ end }}
{{- end }}
- alert: BertQATrackDown
  expr: |
    {{ $seen.ready }}{{ $servers }} == 0
      and {{ $seen.wanted }}{{ $servers }} > 0
  for: 5m
  labels:
    {{- include "bert-qa.alerts.labels" (list . "critical") | nindent 4 }}
  annotations:
    summary: No pod of {{ $held }} is ready.
    description: Its version does not load, or no node has room. See the pods' events and the server's log.
{{- if $seen.api }}
- alert: BertQAHttpApiDown
  expr: |
    kube_deployment_status_replicas_available{{ $api }} == 0
      and kube_deployment_spec_replicas{{ $api }} > 0
  for: {{ $knative | ternary "5m" "1m" }}
  labels:
    {{- include "bert-qa.alerts.labels" (list . "critical") | nindent 4 }}
  annotations:
    summary: No pod of {{ "{{ $labels.deployment }}" }} is ready, so nothing answers over HTTP.
    description: They are ready where a track with a weight is. See the pods' events and log.
{{- end }}
{{- with $seen.services }}
- alert: BertQANoEndpoints
  expr: |
    kube_endpoint_info{ {{- $namespace }}, endpoint=~"{{ . }}"}
      unless on (namespace, endpoint) kube_endpoint_address{ {{- $namespace }}, endpoint=~"{{ . }}", ready="true"}
  for: 2m
  labels:
    {{- include "bert-qa.alerts.labels" (list $ "critical") | nindent 4 }}
  annotations:
    summary: The Service {{ "{{ $labels.endpoint }}" }} has no ready pod behind it, so its connections are refused.
    description: Compare its selector with the labels of the pods, and see whether those are ready.
{{- end }}
- alert: BertQAPodsMissing
  expr: |
    {{ $seen.wanted }}{{ $servers }} - {{ $seen.ready }}{{ $servers }} > 0
    {{- if $seen.api }}
      or kube_deployment_spec_replicas{{ $api }} - kube_deployment_status_replicas_available{{ $api }} > 0
    {{- end }}
  for: 15m
  labels:
    {{- include "bert-qa.alerts.labels" (list . "warning") | nindent 4 }}
  annotations:
    summary: The wanted pods of {{ "{{ or $labels.deployment $labels.replicaset }}" }} have not all been ready for 15 minutes; {{ "{{ $value }}" }} are missing now.
    description: They do not start, or no node has room. See their events; the others carry their load.
- alert: BertQAContainerRestarts
  expr: |
    sum by (pod, container) (
      increase(kube_pod_container_status_restarts_total{ {{- $namespace }}, pod=~"{{ $seen.pods }}"}[1h])
      or increase(kube_pod_init_container_status_restarts_total{ {{- $namespace }}, pod=~"{{ $seen.pods }}"}[1h])) > 2
  for: 1m
  labels:
    {{- include "bert-qa.alerts.labels" (list . "warning") | nindent 4 }}
  annotations:
    summary: The container {{ "{{ $labels.container }} of {{ $labels.pod }}" }} was restarted {{ "{{ $value | printf \"%.0f\" }}" }} times within an hour.
    description: See why it ended (kubectl describe pod); OOMKilled means that its memory limit is too small.
{{- if .Values.monitoring.serviceMonitor.enabled }}
- alert: BertQAMetricsMissing
  expr: |
    count(kube_pod_status_ready{ {{- $namespace }}, pod=~"{{ $seen.pods }}", condition="true"} == 1
      unless on (namespace, pod) min by (namespace, pod) (up{ {{- include "bert-qa.statistics.selector" . }}}) == 1) > 0
  for: 10m
  labels:
    {{- include "bert-qa.alerts.labels" (list . "warning") | nindent 4 }}
  annotations:
    summary: Prometheus cannot read the metrics of {{ "{{ $value }}" }} ready pods of release {{ include "bert-qa.releaseLabel" . }}, so other alerts may be silent.
    description: See its targets, whether it selects the monitors of the release, and whether networkPolicy.monitoring lets Prometheus in.
{{- end }}
{{- end -}}

{{/* On what Envoy counts. */}}
{{- define "bert-qa.alerts.proxy" -}}
{{- $chosen := printf "%s, envoy_cluster_name=~\"ovms_grpc|ovms_rest\"" (include "bert-qa.statistics.selector" .) -}}
{{- $reasons := dict
      "too many calls" "active_overflow"
      "full queue" "pending_overflow"
      "timeout" "timeout"
      "reset" "rx_reset"
      "no connection" "pending_failure_eject" -}}
- alert: BertQAProxyFails
  expr: |
    100 * sum by (reason) (
      {{- range $index, $reason := keys $reasons | sortAlpha }}
      {{ if $index }}or {{ end }}label_replace(rate(envoy_cluster_upstream_rq_{{ get $reasons $reason }}{ {{- $chosen }}}[5m]), "reason", "{{ $reason }}", "", "")
      {{- end }}
    ) / on () group_left () {{ include "bert-qa.objectives.requests" (list . "5m") }} > {{ .Values.monitoring.prometheusRule.errorPercent }}
  for: 5m
  labels:
    {{- include "bert-qa.alerts.labels" (list . "critical") | nindent 4 }}
  annotations:
    summary: The proxies of release {{ include "bert-qa.releaseLabel" . }} fail {{ "{{ $value | printf \"%.3g\" }}" }} % of the requests ({{ "{{ $labels.reason }}" }}).
    description: >-
      With too many calls or a full queue, add replicas, or raise server.maxConcurrentStreams. After a timeout, send
      smaller requests, or raise server.requestTimeoutSeconds. After a reset or no connection, see why the server ended.
{{- end -}}
