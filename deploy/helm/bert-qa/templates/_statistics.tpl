{{/* What Prometheus reads of Envoy, and by which labels metrics are chosen. */}}

{{/* Bounds of the histograms of a request's time, in milliseconds; those of the HTTP API are among them. */}}
{{- define "bert-qa.statistics.bounds" -}}
[5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000]
{{- end -}}

{{/*
Envoy's own statistics of users' requests, and no others. Its administration listens inside the pod alone and has this
one page, to which the probes' listener leads. A call's gRPC status becomes a label, as the status of HTTP is one.
*/}}
{{- define "bert-qa.statistics.proxy" -}}
admin:
  address:
    socket_address: {address: 127.0.0.1, port_value: 9901}
  allow_paths: [{exact: /stats/prometheus}]
stats_config:
  stats_matcher:
    inclusion_list:
      patterns:
        - safe_regex:
            regex: cluster\.ovms_(grpc|rest)\.(grpc\.[0-9]+|upstream_rq_(5[0-9][0-9]|time|timeout|rx_reset|pending_(active|failure_eject)|(pending|active)_overflow))
        - safe_regex:
            regex: http\.(grpc|rest)\.downstream_(rq_([0-9]xx|active|too_large)|cx_active)
  stats_tags:
    - tag_name: envoy.grpc_status
      regex: ^cluster\.[^.]+\.grpc(\.([0-9]+))$
  histogram_bucket_settings:
    - match: {suffix: upstream_rq_time}
      buckets: {{ include "bert-qa.statistics.bounds" . }}
{{- end -}}

{{/*
Labels that choose the metrics of this release alone. Two releases of a namespace may serve the same model, so the
monitors add a label. Where metrics are read by other means, there is the namespace alone.
*/}}
{{- define "bert-qa.statistics.selector" -}}
namespace="{{ include "bert-qa.namespace" . }}"
{{- if .Values.monitoring.serviceMonitor.enabled }}, release="{{ include "bert-qa.releaseLabel" . }}"{{ end }}
{{- end -}}

{{/* What a monitor reads of a server: OVMS, and on the same port Envoy. Takes a list: the root, what else identifies an endpoint. */}}
{{- define "bert-qa.statistics.endpoints" -}}
{{- range $path, $label := dict "/metrics" "metrics" "/stats/prometheus" "proxy" }}
- {{ with index $ 1 }}{{ toYaml . | indent 2 | trim }}
  {{ end }}path: {{ $path }}
  interval: {{ (index $ 0).Values.monitoring.serviceMonitor.interval }}
  relabelings:
    {{- include "bert-qa.statistics.relabeling" (index $ 0) | nindent 4 }}
    - {targetLabel: endpoint, replacement: {{ $label }}}
{{- end }}
{{- end -}}

{{/* The label that the monitors add. */}}
{{- define "bert-qa.statistics.relabeling" -}}
- {targetLabel: release, replacement: {{ include "bert-qa.releaseLabel" . | quote }}}
{{- end -}}

{{/*
A pattern for the names of a Deployment's pods: its own name, the hash of a ReplicaSet and five letters. Kubernetes cuts
what is before those to 58.
*/}}
{{- define "bert-qa.podPattern" -}}
{{- if le (len .) 46 -}}
{{- printf "%s-[^-]+-[^-]+" . -}}
{{- else -}}
{{- printf "%s[^-]*-?[^-]+" (printf "%s-" . | trunc 58) -}}
{{- end -}}
{{- end -}}

{{/*
What kube-state-metrics has of the pods, as JSON: the label by which it names what holds them, the metrics with the
pods that are ready and that are wanted, and patterns for the holders of all servers, of those that users ask and of the
HTTP API, for their Services, and for the pods.
*/}}
{{- define "bert-qa.statistics.workloads" -}}
{{- $name := include "bert-qa.fullname" . -}}
{{- $main := include "bert-qa.mainTrack" . -}}
{{- $api := .Values.httpApi.enabled -}}
{{- $found := dict "label" "deployment" "ready" "kube_deployment_status_replicas_available" "wanted" "kube_deployment_spec_replicas" -}}
{{- $tracks := list -}}
{{- $asked := list -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- $tracks = append $tracks (printf "%s-%s" $name .name) -}}
{{- if or (eq .name $main) (and .weight (or $.Values.gateway.enabled $api)) -}}
{{- $asked = append $asked (printf "%s-%s" $name .name) -}}
{{- end -}}
{{- end -}}
{{- $http := printf "%s-http-api" $name -}}
{{- $services := list $name -}}
{{- if .Values.kserve.enabled -}}
{{- $revision := eq .Values.kserve.mode "knative" | ternary "-[0-9]+-deployment" "" -}}
{{- $tracks = list (printf "%s-predictor%s" $name $revision) -}}
{{- $asked = $tracks -}}
{{- $http = printf "%s-transformer%s" $name $revision -}}
{{- $services = eq .Values.kserve.mode "standard" | ternary $tracks list -}}
{{- else if .Values.rollouts.enabled -}}
{{- $replicaSet := printf "%s-%s-[^-]+" $name $main -}}
{{- $_ := merge $found (dict "servers" $replicaSet "asked" $replicaSet) -}}
{{- $_ := set $found "label" "replicaset" -}}
{{- $_ := set $found "ready" "kube_replicaset_status_ready_replicas" -}}
{{- $_ := set $found "wanted" "kube_replicaset_spec_replicas" -}}
{{- end -}}
{{- $pods := list -}}
{{- range $api | ternary (append $tracks $http) $tracks -}}
{{- $pods = append $pods (include "bert-qa.podPattern" .) -}}
{{- end -}}
{{- if and $api $services -}}
{{- $services = append $services $http -}}
{{- end -}}
{{- merge $found (dict
      "servers" (join "|" $tracks)
      "asked" (join "|" $asked)
      "api" ($api | ternary $http "")
      "services" (join "|" $services)
      "pods" (join "|" $pods))
    | toJson -}}
{{- end -}}
