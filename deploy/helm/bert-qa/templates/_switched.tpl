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

{{/*
Refuses an upgrade without the memory of a switch, which its values then lack as well, unless they give the split that
the switch gave. A switch takes up its own first upgrade, where that was interrupted, with such values.
*/}}
{{- define "bert-qa.switched.validate" -}}
{{- $service := lookup "v1" "Service" (include "bert-qa.namespace" .) (include "bert-qa.fullname" .) | default dict -}}
{{- $good := dig "metadata" "annotations" "bert-qa/good-split" "" $service -}}
{{- if and $good (not .Values.rollout.good) -}}
{{- $split := include "bert-qa.split" . -}}
{{- if ne $split (regexFindAll "[0-9]+=[1-9][0-9]*" $good -1 | sortAlpha | join ",") -}}
{{- fail (printf "These values would undo a switch: `bert-qa switch` gave the release the split %s (percents by version), and they say %s. Add --reset-then-reuse-values, or set the tracks as `helm get values %s` shows them. To go by these values alone, add --set 'rollout.good=%s'." $good $split .Release.Name (replace "," "\\," $good)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
