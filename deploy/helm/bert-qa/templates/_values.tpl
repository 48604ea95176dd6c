{{/* Values in the form that the templates use: tracks, CPUs, resources. */}}

{{/*
Gives every key that is missing or null its default, and makes whole numbers of those that a values file made floats.
Each template begins with it, and the first one does it for all. Helm leaves a key out that is null, and a section with all of its keys.
Within `resources` a quantity that is null is one that there is not to be.
A text in the place of a section, which only an image may be, is its key `reference`.
*/}}
{{- define "bert-qa.prepare" -}}
{{- if not .defaults -}}
{{- $defaults := include "bert-qa.defaults" . | fromJson -}}
{{- $_ := set . "defaults" $defaults.values -}}
{{- include "bert-qa.withoutNulls" .Values -}}
{{- range $path, $default := $defaults.values -}}
{{- $names := splitList "." $path -}}
{{- $name := last $names -}}
{{- $section := $.Values -}}
{{- range initial $names -}}
{{- if kindIs "string" (get $section .) -}}
{{- $_ := set $section . (dict "reference" (get $section .)) -}}
{{- else if not (kindIs "map" (get $section .)) -}}
{{- $_ := set $section . dict -}}
{{- end -}}
{{- $section = get $section . -}}
{{- end -}}
{{- if or (not (hasKey $section $name)) (and (hasSuffix ".image.tag" $path) (not (get $section $name))) -}}
{{- $_ := set $section $name $default -}}
{{- end -}}
{{- if and (has $path $defaults.numbers) (not (kindIs "string" (get $section $name))) -}}
{{- $_ := set $section $name (get $section $name | int64) -}}
{{- end -}}
{{- end -}}
{{- $size := get (include "bert-qa.sizes" . | fromYaml) .Values.size -}}
{{- range $name, $section := dict "server" .Values "proxy" .Values.proxy "httpApi" .Values.httpApi -}}
{{- $_ := set $section "resources" (include "bert-qa.sized" (list $section.resources (get $size $name)) | fromYaml) -}}
{{- end -}}
{{- range list .Values.model.training .Values.switch -}}
{{- include "bert-qa.withoutNulls" .resources -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Takes the keys that are null out of a map and of all maps in it but `resources`. */}}
{{- define "bert-qa.withoutNulls" -}}
{{- range $key, $value := . -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $ $key -}}
{{- else if and (kindIs "map" $value) (ne $key "resources") -}}
{{- include "bert-qa.withoutNulls" $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What each `size` means. */}}
{{- define "bert-qa.sizes" -}}
small:
  server: {limits: {cpu: "1", memory: 2Gi}}
  proxy: {limits: {cpu: 250m, memory: 256Mi}}
  httpApi: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: 100m, memory: 256Mi}}
medium:
  server: {limits: {cpu: "4", memory: 4Gi}}
  proxy: {limits: {cpu: 500m, memory: 256Mi}}
  httpApi: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: 250m, memory: 512Mi}}
large:
  server: {limits: {cpu: "16", memory: 16Gi}}
  proxy: {limits: {cpu: "1", memory: 512Mi}}
  httpApi: {limits: {cpu: "2", memory: 2Gi}, requests: {cpu: "1", memory: 1Gi}}
{{- end -}}

{{/*
Resources, with others' quantities for what they name neither as a limit nor as a request. A request of those that is
not their limit stays beside a limit that has room for it. Takes a list: the resources, the others.
*/}}
{{- define "bert-qa.sized" -}}
{{- $others := index . 1 -}}
{{- $limits := (index . 0).limits | default dict -}}
{{- $requests := (index . 0).requests | default dict -}}
{{- $sized := dict "limits" (deepCopy $limits) "requests" (deepCopy $requests) -}}
{{- range $name, $limit := $others.limits -}}
{{- if not (or (hasKey $limits $name) (get $requests $name)) -}}
{{- $_ := set $sized.limits $name $limit -}}
{{- end -}}
{{- end -}}
{{- range $name, $request := $others.requests -}}
{{- $asked := include "bert-qa.thousandths" $request | int64 -}}
{{- $most := include "bert-qa.thousandths" (get $limits $name) | int64 -}}
{{- $own := ne $asked (include "bert-qa.thousandths" (get ($others.limits | default dict) $name) | int64) -}}
{{- if and (not (hasKey $requests $name)) (or (not (hasKey $limits $name)) (and $own (or (not $most) (le $asked $most)))) -}}
{{- $_ := set $sized.requests $name $request -}}
{{- end -}}
{{- end -}}
{{- include "bert-qa.withoutNulls" $sized -}}
{{- toYaml $sized -}}
{{- end -}}

{{/*
The tracks as JSON {"tracks": [...]}, in the order of their names, with their defaults filled in.
A track is {name, version, latest, weight, replicas, resources, cpus, cores, memory}; version is text, memory in bytes,
and cores are the threads that its CPUs are good for.
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
{{- $resources := include "bert-qa.sized" (list ($given.resources | default dict) $root.Values.resources) | fromYaml -}}
{{- $resources = include "bert-qa.resources" $resources | fromYaml -}}
{{- $resources = include "bert-qa.xeon.resources" (list $root $resources) | fromYaml -}}
{{- $cpus := include "bert-qa.cpus" $resources.limits.cpu -}}
{{- $tracks = append $tracks (dict
      "name" $name
      "version" $version
      "latest" (eq $version "latest")
      "weight" ($given.weight | default 0 | int)
      "replicas" $replicas
      "resources" $resources
      "cpus" $cpus
      "cores" ($root.Values.xeon.coresPerPod | default $cpus)
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

{{/* A quantity in thousandths, however it is spelled, as far as an integer holds it; 0 where there is none. */}}
{{- define "bert-qa.thousandths" -}}
{{- $text := . | default 0 | toString -}}
{{- $unit := regexFind "(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)$" $text -}}
{{- $sizes := dict "" 1000 "m" 1 "k" 1e6 "M" 1e9 "G" 1e12 "T" 1e15 "P" 1e18
      "Ki" 1024e3 "Mi" 1048576e3 "Gi" 1073741824e3 "Ti" 1099511627776e3 "Pi" 1125899906842624e3 -}}
{{- mulf (trimSuffix $unit $text | float64) (index $sizes $unit) | minf 9e18 | int64 -}}
{{- end -}}

{{/* The whole CPUs in a CPU quantity, one at least: OVMS sees all of the node's, so its flags name the number. */}}
{{- define "bert-qa.cpus" -}}
{{- max 1 (div (include "bert-qa.thousandths" (. | default 1) | int64) 1000) | min 2147483647 -}}
{{- end -}}

{{/* A memory quantity in bytes, 0 where there is none. */}}
{{- define "bert-qa.bytes" -}}
{{- div (include "bert-qa.thousandths" . | int64) 1000 -}}
{{- end -}}

{{/* Quantities by their names, in thousandths, so that equal ones are equal. */}}
{{- define "bert-qa.quantities" -}}
{{- range $name, $quantity := . }}
{{ $name }}: {{ include "bert-qa.thousandths" $quantity }}
{{- end }}
{{- end -}}

{{/* Resources whose requests default to the limits. */}}
{{- define "bert-qa.resources" -}}
{{- $limits := .limits | default dict -}}
{{- $requests := merge (deepCopy (.requests | default dict)) $limits -}}
{{- dict "limits" $limits "requests" $requests | toYaml -}}
{{- end -}}

{{/*
How long a workload may stand still before it counts as failed. Its pods wait for the training Job, until that has
published.
*/}}
{{- define "bert-qa.progressSeconds" -}}
{{- $seconds := add .Values.server.startupSeconds 300 -}}
{{- if and .Values.model.training.enabled (not (include "bert-qa.training.succeeded" .)) -}}
{{- $seconds = add $seconds .Values.model.training.deadlineSeconds -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}

{{/* The longest that a pod that goes waits before it stops: its connections move away, their requests end. */}}
{{- define "bert-qa.pauseSeconds" -}}
{{- add .Values.proxy.maxConnectionSeconds .Values.server.requestTimeoutSeconds 5 -}}
{{- end -}}

{{/* How long Kubernetes waits for such a pod to end. */}}
{{- define "bert-qa.graceSeconds" -}}
{{- add (include "bert-qa.pauseSeconds" . | int) 15 -}}
{{- end -}}

{{/* The address that pods listen on. */}}
{{- define "bert-qa.listening" -}}
{{- has "IPv6" .Values.service.ipFamilies | ternary "::" "0.0.0.0" -}}
{{- end -}}

{{/* The families of addresses of a Service, where they are given. */}}
{{- define "bert-qa.ipFamilies" -}}
{{- with .Values.service.ipFamilies -}}
ipFamilyPolicy: {{ gt (len .) 1 | ternary "PreferDualStack" "SingleStack" }}
ipFamilies: {{ toJson . }}
{{- end -}}
{{- end -}}
