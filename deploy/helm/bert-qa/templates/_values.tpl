{{/* Values in the form that the templates use: tracks, CPUs, resources. */}}

{{/*
The tracks as JSON {"tracks": [...]}, in the order of their names, with their defaults filled in.
A track is {name, version, latest, weight, replicas, resources, cpus, memory}; version is text, memory in bytes.
*/}}
{{- define "bert-qa.tracks" -}}
{{- $root := . -}}
{{- $tracks := list -}}
{{- range $name, $given := .Values.tracks -}}
{{- if $given -}}
{{- $version := "" -}}
{{- if $given.version -}}
{{- $version = kindIs "string" $given.version | ternary $given.version ($given.version | int64 | toString) -}}
{{- end -}}
{{- $replicas := 2 -}}
{{- if hasKey $given "replicas" -}}
{{- $replicas = $given.replicas | int -}}
{{- end -}}
{{- $resources := include "bert-qa.resources" ($given.resources | default $root.Values.resources) | fromYaml -}}
{{- $tracks = append $tracks (dict
      "name" $name
      "version" $version
      "latest" (eq $version "latest")
      "weight" ($given.weight | default 0 | int)
      "replicas" $replicas
      "resources" $resources
      "cpus" (include "bert-qa.cpus" $resources.limits.cpu)
      "memory" (include "bert-qa.bytes" $resources.limits.memory)) -}}
{{- end -}}
{{- end -}}
{{- dict "tracks" $tracks | toJson -}}
{{- end -}}

{{/*
The name of the track that the shared Services reach: the one with the greatest weight, of equal ones
the one named stable, else the first by name. One answer may need two requests, so both have to reach one version.
*/}}
{{- define "bert-qa.mainTrack" -}}
{{- $main := dict "name" "" "weight" -1 -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- $weight := int .weight -}}
{{- if or (gt $weight (int $main.weight)) (and (eq $weight (int $main.weight)) (eq .name "stable")) -}}
{{- $main = . -}}
{{- end -}}
{{- end -}}
{{- $main.name -}}
{{- end -}}

{{/*
The number of pods that a track's manifest names; empty leaves it out. Takes a list: the root, the track.
A field that a new manifest leaves out goes back to 1, and one that an autoscaler has set is a conflict under another
number, so where there is an autoscaler the number that runs is named: for each track with a weight, and for one without
until its `replicas` change. An autoscaler leaves 0 pods alone, so a weight brings the fewest that it allows. Where no
cluster can be asked (`helm template`), it starts from 1.
*/}}
{{- define "bert-qa.replicas" -}}
{{- $root := index . 0 -}}
{{- $track := index . 1 -}}
{{- $autoscaling := $root.Values.autoscaling -}}
{{- $present := dict -}}
{{- if $autoscaling.enabled -}}
{{- $name := printf "%s-%s" (include "bert-qa.fullname" $root) $track.name -}}
{{- $present = lookup "apps/v1" "Deployment" $root.Release.Namespace $name | default dict -}}
{{- end -}}
{{- $runs := dig "spec" "replicas" 1 $present | int -}}
{{- $noted := dig "metadata" "annotations" dict $present | default dict -}}
{{- $unchanged := eq (get $noted "bert-qa/replicas") (toString $track.replicas) -}}
{{- if not (hasKey $noted "bert-qa/replicas") -}}
{{- $unchanged = ne "0" (get $noted "bert-qa/weight") -}}
{{- end -}}
{{- if and $present $track.weight -}}
{{- $runs | default $autoscaling.minReplicas -}}
{{- else if and $present $unchanged -}}
{{- $runs -}}
{{- else if not (and $autoscaling.enabled $track.weight) -}}
{{- $track.replicas -}}
{{- end -}}
{{- end -}}

{{/* A CPU quantity in thousandths. */}}
{{- define "bert-qa.millicpus" -}}
{{- $text := toString . -}}
{{- if hasSuffix "m" $text -}}
{{- trimSuffix "m" $text | int -}}
{{- else -}}
{{- mulf (float64 $text) 1000 | int -}}
{{- end -}}
{{- end -}}

{{/* The whole CPUs in a CPU quantity, one at least: OVMS sees all of the node's, so its flags name the number. */}}
{{- define "bert-qa.cpus" -}}
{{- max 1 (div (include "bert-qa.millicpus" (. | default 1) | int) 1000) -}}
{{- end -}}

{{/* A memory quantity in bytes, 0 where there is none. */}}
{{- define "bert-qa.bytes" -}}
{{- $text := . | default 0 | toString -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- $sizes := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15
      "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- mulf (trimSuffix $unit $text | float64) (index $sizes $unit) | int64 -}}
{{- end -}}

{{/* Resources whose requests default to the limits. */}}
{{- define "bert-qa.resources" -}}
{{- $limits := .limits | default dict -}}
{{- $requests := merge (deepCopy (.requests | default dict)) $limits -}}
{{- dict "limits" $limits "requests" $requests | toYaml -}}
{{- end -}}

{{/* How long a pod that goes waits before it stops: its connections move away, their requests end. */}}
{{- define "bert-qa.pauseSeconds" -}}
{{- add .Values.proxy.maxConnectionSeconds .Values.server.requestTimeoutSeconds 5 -}}
{{- end -}}

{{/* How long Kubernetes waits for such a pod to end. */}}
{{- define "bert-qa.graceSeconds" -}}
{{- add (include "bert-qa.pauseSeconds" . | int) 15 -}}
{{- end -}}
