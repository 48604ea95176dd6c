{{/* Argo Rollouts: how a new version is judged, and the rules of its routes. */}}

{{/*
When a metric is measured: every intervalSeconds for as long as the canary is held at a step. A metric whose every
measurement is inconclusive would succeed at its last one with a limit of `count`, so the limit is one less: one
measurement at least has to have evidence.
*/}}
{{- define "bert-qa.rollouts.schedule" -}}
{{- $count := div .Values.rollouts.pauseSeconds .Values.rollouts.intervalSeconds -}}
initialDelay: {{ .Values.rollouts.intervalSeconds }}s
interval: {{ .Values.rollouts.intervalSeconds }}s
count: {{ $count }}
failureLimit: {{ .Values.rollouts.failureLimit }}
inconclusiveLimit: {{ sub $count 1 }}
{{- end -}}

{{/*
PromQL over the inference requests of the pods of one ReplicaSet, while the canary was held at a step, as JSON {failed,
succeeded, requests, p95}: none has a label, and none is there where OVMS's metrics are not. Takes a list: the root, the
argument of the analysis that holds the pods' hash.
*/}}
{{- define "bert-qa.rollouts.counts" -}}
{{- $root := index . 0 -}}
{{- $pods := printf "%s, name=\"%s\", rollouts_pod_template_hash=\"{{args.%s}}\"" (include "bert-qa.statistics.selector" $root) $root.Values.model.name (index . 1) -}}
{{- $window := printf "%ds" (int $root.Values.rollouts.pauseSeconds) -}}
{{- $failed := printf "sum(increase(ovms_requests_fail{%s, method=\"ModelInfer\"}[%s]))" $pods $window -}}
{{- $succeeded := printf "sum(increase(ovms_requests_success{%s, method=\"ModelInfer\"}[%s]))" $pods $window -}}
{{- dict
      "failed" $failed
      "succeeded" $succeeded
      "requests" (printf "(%s + %s)" $failed $succeeded)
      "p95" (printf "histogram_quantile(0.95, sum by (le) (rate(ovms_request_time_us_bucket{%s}[%s])))" $pods $window)
    | toJson -}}
{{- end -}}

{{/*
rules: of a route, as bert-qa.routeRules takes it. The plugin sets the weights of the rule that names both Services, and
of every stable one elsewhere, where 0 would mean an error: so the header that forces the track leads to the Service
over all stable pods instead. The rules are the plugin's once it has set a weight, and an upgrade may only repeat them:
with the weights that are there, with every default of the Gateway API, and without a rule for a version's own path.
*/}}
{{- define "bert-qa.rollouts.routeRules" -}}
{{- $root := .root -}}
{{- $name := include "bert-qa.fullname" $root -}}
{{- $track := first (include "bert-qa.tracks" $root | fromJson).tracks -}}
{{- $canary := printf "%s-canary" $name -}}
{{- $weight := 0 -}}
{{- $live := lookup "gateway.networking.k8s.io/v1" .kind (include "bert-qa.namespace" $root) $name -}}
{{- range (dig "spec" "rules" list $live | default (list dict) | last).backendRefs -}}
{{- if eq .name $canary -}}
{{- $weight = int .weight -}}
{{- end -}}
{{- end -}}
{{- range $value, $service := dict $track.name $name "canary" $canary }}
- matches:
    - {{ toYaml $.match | indent 6 | trim }}
      headers:
        - {type: Exact, name: {{ toYaml $root.Values.gateway.header }}, value: {{ toYaml $value }}}
  backendRefs:
    - {{ include "bert-qa.rollouts.backend" (list $service $.port 1) }}
{{- end }}
- matches:
    - {{ toYaml .match | indent 6 | trim }}
  backendRefs:
    - {{ include "bert-qa.rollouts.backend" (list $canary .port $weight) }}
    - {{ include "bert-qa.rollouts.backend" (list (printf "%s-%s" $name $track.name) .port (sub 100 $weight)) }}
{{- end -}}

{{- define "bert-qa.rollouts.backend" -}}
{group: "", kind: Service, name: {{ index . 0 | toYaml }}, port: {{ index . 1 }}, weight: {{ index . 2 }}}
{{- end -}}

{{/* What the schema cannot say about rollouts. */}}
{{- define "bert-qa.rollouts.validate" -}}
{{- $rollouts := .Values.rollouts -}}
{{- $tracks := (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- $track := first $tracks -}}
{{- $name := printf "%s-%s" (include "bert-qa.fullname" .) $track.name -}}
{{- if .Values.kserve.enabled -}}
{{- fail "rollouts.enabled does not go with kserve.enabled: KServe moves the traffic between its own revisions." -}}
{{- end -}}
{{- range $tracks -}}
{{- if eq .name "canary" -}}
{{- fail "A track cannot be called canary with rollouts.enabled: the Service of the new version has that name." -}}
{{- end -}}
{{- end -}}
{{- if gt (len $tracks) 1 -}}
{{- fail (printf "rollouts.enabled needs one track, but there are %d: Argo Rollouts runs the version before and the new one side by side, so change the version of the one track." (len $tracks)) -}}
{{- end -}}
{{- if $track.latest -}}
{{- fail (printf "With rollouts.enabled the track %s cannot follow the latest version, as a new one would get all of the traffic at once: set tracks.%s.version to a number." $track.name $track.name) -}}
{{- end -}}
{{- if not .Values.gateway.enabled -}}
{{- fail "rollouts.enabled needs gateway.enabled: the Gateway's routes split the traffic." -}}
{{- end -}}
{{- if not .Values.monitoring.serviceMonitor.enabled -}}
{{- fail "rollouts.enabled needs monitoring.serviceMonitor.enabled: a new version is judged by the metrics in Prometheus." -}}
{{- end -}}
{{- range $index, $step := rest $rollouts.steps -}}
{{- if le (int $step) (index $rollouts.steps $index | int) -}}
{{- fail (printf "The steps of rollouts.steps (%s) do not ascend." (join ", " $rollouts.steps)) -}}
{{- end -}}
{{- end -}}
{{- if gt (int $rollouts.intervalSeconds) (int $rollouts.pauseSeconds) -}}
{{- fail (printf "rollouts.intervalSeconds (%d) is above rollouts.pauseSeconds (%d): no check would be made." (int $rollouts.intervalSeconds) (int $rollouts.pauseSeconds)) -}}
{{- end -}}
{{- if le (div $rollouts.pauseSeconds $rollouts.intervalSeconds | int) (int $rollouts.failureLimit) -}}
{{- fail (printf "rollouts.failureLimit (%d) is not below the %d checks of a step: a new version that fails all of them would be taken." (int $rollouts.failureLimit) (div $rollouts.pauseSeconds $rollouts.intervalSeconds | int)) -}}
{{- end -}}
{{- if lookup "apps/v1" "Deployment" (include "bert-qa.namespace" .) $name -}}
{{- fail (printf "The release runs as the Deployment %s, whose pods would go before those of a Rollout are ready: install another release with rollouts.enabled, move its clients, and uninstall this one." $name) -}}
{{- end -}}
{{- end -}}
