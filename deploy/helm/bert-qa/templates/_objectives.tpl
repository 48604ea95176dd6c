{{/*
The release's objectives: how much of what users ask may fail, or take longer than it should. Rules record the share of
bad requests and what the objective leaves for it; alerts compare the two over several windows, as in chapter 5 of
Google's "Site Reliability Workbook".
*/}}

{{/* The requests of users at the proxies, a second. Takes a list: the root, the window. */}}
{{- define "bert-qa.objectives.requests" -}}
sum(rate(envoy_http_downstream_rq_xx{ {{- include "bert-qa.statistics.selector" (index . 0) }}, envoy_http_conn_manager_prefix=~"grpc|rest"}[{{ index . 1 }}]))
{{- end -}}

{{/*
The share of bad requests in a window, as JSON by the part that answers and the objective. A gRPC call that fails is 200
to HTTP: of its own status, unknown, deadline exceeded, internal, unavailable and data loss are the service's fault.
Prometheus 3 writes a bound as 1000.0, older ones as 1000. Takes a list: the root, the window.
*/}}
{{- define "bert-qa.objectives.ratios" -}}
{{- $root := index . 0 -}}
{{- $window := index . 1 -}}
{{- $chosen := include "bert-qa.statistics.selector" $root -}}
{{- $limit := $root.Values.monitoring.prometheusRule.objective.latencyMilliseconds -}}
{{- $proxied := printf "%s, envoy_cluster_name=~\"ovms_grpc|ovms_rest\"" $chosen -}}
{{- $asked := printf "%s, endpoint=~\"/|/models/.*|/v1/answers\"" $chosen -}}
{{- $posted := printf "%s, method=\"POST\"" $asked -}}
{{- $found := list (dict "part" "servers" "objective" "availability" "ratio" (printf
      "sum(rate(envoy_http_downstream_rq_xx{%s, envoy_http_conn_manager_prefix=~\"grpc|rest\", envoy_response_code_class=\"5\"}[%s])\n  or rate(envoy_cluster_grpc{%s, envoy_grpc_status=~\"2|4|13|14|15\"}[%s]))\n/ %s"
      $chosen $window $proxied $window (include "bert-qa.objectives.requests" .))) -}}
{{- $found = append $found (dict "part" "servers" "objective" "latency" "ratio" (printf
      "1 - sum(rate(envoy_cluster_upstream_rq_time_bucket{%s, le=~\"%d(\\\\.0)?\"}[%s]))\n/ sum(rate(envoy_cluster_upstream_rq_time_count{%s}[%s]))"
      $proxied (int $limit) $window $proxied $window)) -}}
{{- if $root.Values.httpApi.enabled -}}
{{- $all := printf "sum(rate(bertqa_http_requests_total{%s}[%s]))" $posted $window -}}
{{- $found = append $found (dict "part" "http-api" "objective" "availability" "ratio" (printf
      "(sum(rate(bertqa_http_requests_total{%s, status=~\"5..\"}[%s])) or 0 * %s)\n/ %s"
      $posted $window $all $all)) -}}
{{- $found = append $found (dict "part" "http-api" "objective" "latency" "ratio" (printf
      "1 - sum(rate(bertqa_http_request_seconds_bucket{%s, le=~\"%s(\\\\.0)?\"}[%s]))\n/ sum(rate(bertqa_http_request_seconds_count{%s}[%s]))"
      $asked (divf $limit 1000 | toString | replace "." "\\\\.") $window $asked $window)) -}}
{{- end -}}
{{- dict "ratios" $found | toJson -}}
{{- end -}}

{{/* What identifies a release's recorded series. Takes the root. */}}
{{- define "bert-qa.objectives.labels" -}}
namespace: {{ include "bert-qa.namespace" . | quote }}
release: {{ include "bert-qa.releaseLabel" . | quote }}
{{- end -}}

{{- define "bert-qa.objectives.rules" -}}
{{- $objective := .Values.monitoring.prometheusRule.objective -}}
{{- range $name, $percent := dict "availability" $objective.availabilityPercent "latency" $objective.latencyPercent }}
- record: bertqa:error_budget:ratio
  expr: vector({{ divf (subf 100 $percent) 100 | printf "%.8g" }})
  labels:
    {{- include "bert-qa.objectives.labels" $ | nindent 4 }}
    objective: {{ $name }}
{{- end }}
{{- range $window := list "5m" "30m" "1h" "2h" "6h" "1d" "3d" }}
{{- range (include "bert-qa.objectives.ratios" (list $ $window) | fromJson).ratios }}
- record: bertqa:bad_requests:ratio_rate{{ $window }}
  expr: |
    {{- .ratio | nindent 4 }}
  labels:
    {{- include "bert-qa.objectives.labels" $ | nindent 4 }}
    part: {{ .part }}
    objective: {{ .objective }}
{{- end }}
{{- end }}
{{- end -}}

{{/* How many times as fast as the objective allows its budget goes. Takes a list: the root, the window. */}}
{{- define "bert-qa.objectives.burn" -}}
{{- $chosen := printf "namespace=\"%s\", release=\"%s\"" (include "bert-qa.namespace" (index . 0)) (include "bert-qa.releaseLabel" (index . 0)) -}}
bertqa:bad_requests:ratio_rate{{ index . 1 }}{ {{- $chosen }}} / on (objective) group_left () bertqa:error_budget:ratio{ {{- $chosen }}}
{{- end -}}

{{- define "bert-qa.objectives.alerts" -}}
{{- range list
      (dict "speed" "Fast" "severity" "critical" "for" "2m" "pairs" (list (list "1h" "5m" 14.4) (list "6h" "30m" 6)))
      (dict "speed" "Slowly" "severity" "warning" "for" "15m" "pairs" (list (list "1d" "2h" 3) (list "3d" "6h" 1))) }}
- alert: BertQABudgetBurns{{ .speed }}
  expr: |
    {{- range $index, $pair := .pairs }}
    {{ if $index }}or {{ end }}({{ include "bert-qa.objectives.burn" (list $ (index $pair 0)) }} > {{ index $pair 2 }}
      and {{ include "bert-qa.objectives.burn" (list $ (index $pair 1)) }} > {{ index $pair 2 }})
    {{- end }}
  for: {{ .for }}
  labels:
    {{- include "bert-qa.alerts.labels" (list $ .severity) | nindent 4 }}
  annotations:
    summary: >-
      {{ "{{ if eq $labels.objective \"latency\" }}" }}Slow{{ "{{ else }}" }}Failed{{ "{{ end }}" }} requests to the {{ "{{ $labels.part }}" }} of release {{ include "bert-qa.releaseLabel" $ }} use up the budget of its objective
      {{ "{{ $value | printf \"%.1f\" }}" }} times as fast as that allows.
    description: >-
      {{ "{{ if eq $labels.objective \"latency\" }}" }}See whether they wait or compute (queue, inference), and add replicas.{{ "{{ else }}" }}See which
      fail and why (errors, proxy), and return the traffic of a new version to the one before.{{ "{{ end }}" }}
{{- end }}
{{- end -}}
