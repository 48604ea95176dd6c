{{/* How many pods manifests name, where an autoscaler decides: as many as run. */}}

{{/*
The number of pods that a track's manifest names; empty leaves it out. Takes a list: the root, the track.
Where there is an autoscaler it is the number that runs, for each track with a weight, and for one without until its
`replicas` change.
*/}}
{{- define "bert-qa.replicas" -}}
{{- $root := index . 0 -}}
{{- $track := index . 1 -}}
{{- $autoscaling := $root.Values.autoscaling -}}
{{- $workload := include "bert-qa.workload" (list $root $track.name) | fromYaml -}}
{{- if and $autoscaling.enabled $track.weight -}}
{{- include "bert-qa.scaledReplicas" (list $root $workload $autoscaling) -}}
{{- else if not $autoscaling.enabled -}}
{{- $track.replicas | int -}}
{{- else -}}
{{- $present := lookup $workload.apiVersion $workload.kind (include "bert-qa.namespace" $root) $workload.name | default dict -}}
{{- $noted := dig "metadata" "annotations" dict $present | default dict -}}
{{- $unchanged := eq (get $noted "bert-qa/replicas") ($track.replicas | int | toString) -}}
{{- if not (hasKey $noted "bert-qa/replicas") -}}
{{- $unchanged = ne "0" (get $noted "bert-qa/weight") -}}
{{- end -}}
{{- if and $present $unchanged -}}
{{- dig "spec" "replicas" 1 $present | int -}}
{{- else -}}
{{- $track.replicas | int -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The number of pods that the manifest of a workload names that an autoscaler scales; empty leaves it out. Takes a list:
the root, the workload {apiVersion, kind, name}, the values of its autoscaling.
A field that a new manifest leaves out goes back to 1, and one that an autoscaler has set is a conflict under another
number, so the number that runs is named. An autoscaler leaves 0 pods alone, so those become the fewest that it allows,
with which a workload begins that an upgrade adds. Where no cluster can be asked (`helm template`), it starts from 1.
*/}}
{{- define "bert-qa.scaledReplicas" -}}
{{- $root := index . 0 -}}
{{- $workload := index . 1 -}}
{{- $autoscaling := index . 2 -}}
{{- $present := lookup $workload.apiVersion $workload.kind (include "bert-qa.namespace" $root) $workload.name -}}
{{- if $present -}}
{{- dig "spec" "replicas" 1 $present | int | default (int $autoscaling.minReplicas) -}}
{{- else if $root.Release.IsUpgrade -}}
{{- $autoscaling.minReplicas -}}
{{- end -}}
{{- end -}}

{{/* Refuses to scale by a percent of the CPUs that are requested where none are. Takes a list: whose resources they are, the resources. */}}
{{- define "bert-qa.validateCpuRequest" -}}
{{- if not (include "bert-qa.thousandths" (include "bert-qa.resources" (index . 1) | fromYaml).requests.cpu | int64) -}}
{{- fail (printf "%s asks for no CPUs, a percent of which is what it is scaled by: add a request, or turn its autoscaling off." (index . 0)) -}}
{{- end -}}
{{- end -}}

{{/*
Refuses to turn an autoscaler on for more pods than it allows, as it takes those away at once. Takes a list: the root,
the workloads {apiVersion, kind, name, scaled} that it may scale, the values of its autoscaling, what those are called,
and what scales each, as {apiVersion, kind}. An autoscaler that is at work may be made smaller.
*/}}
{{- define "bert-qa.validateScaling" -}}
{{- $namespace := include "bert-qa.namespace" (index . 0) -}}
{{- $autoscaling := index . 2 -}}
{{- $key := index . 3 -}}
{{- $scaler := index . 4 -}}
{{- $most := int $autoscaling.maxReplicas -}}
{{- if gt (int $autoscaling.minReplicas) $most -}}
{{- fail (printf "%s.minReplicas (%d) is above %s.maxReplicas (%d)." $key (int $autoscaling.minReplicas) $key $most) -}}
{{- end -}}
{{- $many := list -}}
{{- $on := false -}}
{{- range index . 1 -}}
{{- $runs := dig "spec" "replicas" 1 (lookup .apiVersion .kind $namespace .name | default dict) | int -}}
{{- if and .scaled (gt $runs $most) -}}
{{- $many = append $many (printf "%s runs %d pods" .name $runs) -}}
{{- end -}}
{{- $on = or $on (lookup $scaler.apiVersion $scaler.kind $namespace .name) -}}
{{- end -}}
{{- if and $many (not $on) -}}
{{- fail (printf "%s.enabled would take pods away: %s, and %s.maxReplicas is %d. Raise it, or lower the replicas first." $key (join ", " $many) $key $most) -}}
{{- end -}}
{{- end -}}
