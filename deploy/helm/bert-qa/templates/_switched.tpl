{{/* What `bert-qa switch` has done, which no upgrade undoes unseen. */}}

{{/* The split that the values give, as a switch writes it: percents by version, but in the order of the alphabet. */}}
{{- define "bert-qa.split" -}}
{{- $weighted := or .Values.gateway.enabled .Values.httpApi.enabled -}}
{{- $main := include "bert-qa.mainTrack" . -}}
{{- $shares := list -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- $weight := $weighted | ternary (int .weight) (eq .name $main | ternary 100 0) -}}
{{- if $weight -}}
{{- $shares = append $shares (printf "%s=%d" .version $weight) -}}
{{- end -}}
{{- end -}}
{{- join "," (sortAlpha $shares) -}}
{{- end -}}

{{/* A split as the values of a switch have it, in the order of bert-qa.split and without what has no share. */}}
{{- define "bert-qa.splitInOrder" -}}
{{- regexFindAll "[0-9]+=[1-9][0-9]*" . -1 | sortAlpha | join "," -}}
{{- end -}}

{{/* The last split that a switch gave and that held; empty where the values go by another one since. */}}
{{- define "bert-qa.goodSplit" -}}
{{- $good := .Values.rollout.good -}}
{{- if or .Values.rollout.goal (eq (include "bert-qa.split" .) (include "bert-qa.splitInOrder" $good)) -}}
{{- $good -}}
{{- end -}}
{{- end -}}

{{/*
Refuses an upgrade without the memory of a switch, which its values then lack as well, unless they give the split that
the switch gave. A switch takes up its own first upgrade, where that was interrupted, with such values.
And refuses one that would lead all requests to a track without a pod that is ready, but where the memory is the word
that the first refusal asks for: a return without a goal, which no switch leaves.
*/}}
{{- define "bert-qa.switched.validate" -}}
{{- $service := lookup "v1" "Service" (include "bert-qa.namespace" .) (include "bert-qa.fullname" .) | default dict -}}
{{- $good := dig "metadata" "annotations" "bert-qa/good-split" "" $service -}}
{{- $rollout := .Values.rollout -}}
{{- if and $good (not $rollout.good) -}}
{{- $split := include "bert-qa.split" . -}}
{{- if ne $split (include "bert-qa.splitInOrder" $good) -}}
{{- fail (printf "These values would undo a switch: `bert-qa switch` gave the release the split %s (percents by version), and they say %s. Add --reset-then-reuse-values, or set the tracks as `helm get values %s` shows them; `bert-qa switch` moves the traffic to another version without a failed request. To go by these values alone, add --set 'rollout.returning=true,rollout.good=%s': Kubernetes then removes the pods of now at once, and requests fail until the others are ready." $good $split .Release.Name (replace "," "\\," $good)) -}}
{{- end -}}
{{- end -}}
{{- $word := and $good (eq $good $rollout.good) $rollout.returning (not $rollout.goal) -}}
{{- $from := dig "spec" "selector" "bert-qa/track" "" $service -}}
{{- $to := include "bert-qa.mainTrack" . -}}
{{- if and $from (ne $from $to) (not $word) (not .Values.kserve.enabled) -}}
{{- $workload := include "bert-qa.workload" (list . $to) | fromYaml -}}
{{- if and (include "bert-qa.readyPods" (list . $from)) (not (include "bert-qa.readyPods" (list . $to))) -}}
{{- fail (printf "These values would lead all requests from the track %s to the track %s, of which no pod is ready. Give it the weight 0 first, wait for `kubectl --namespace %s rollout status %s/%s`, and give it its weight then; the tracks of now are in `helm get values %s`." $from $to (include "bert-qa.namespace" .) (lower $workload.kind) $workload.name .Release.Name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* How many pods of a track are ready; empty where none is. Takes a list: the root, the track's name. */}}
{{- define "bert-qa.readyPods" -}}
{{- $workload := include "bert-qa.workload" . | fromYaml -}}
{{- $present := lookup $workload.apiVersion $workload.kind (include "bert-qa.namespace" (index . 0)) $workload.name | default dict -}}
{{- with dig "status" "readyReplicas" 0 $present }}{{ . }}{{ end -}}
{{- end -}}
