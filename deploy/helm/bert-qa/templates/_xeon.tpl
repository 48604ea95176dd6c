{{/* Servers on whole cores, each within one NUMA node: docs/xeon.md. */}}

{{/*
The resources of a server, from those that are given: its CPUs from its cores, and huge pages. Takes a list: the root,
the resources.
*/}}
{{- define "bert-qa.xeon.resources" -}}
{{- $xeon := (index . 0).Values.xeon -}}
{{- $resources := index . 1 -}}
{{- range $kind := list "limits" "requests" -}}
{{- $quantities := get $resources $kind -}}
{{- if $xeon.coresPerPod -}}
{{- $_ := set $quantities "cpu" (mul $xeon.coresPerPod $xeon.threadsPerCore | toString) -}}
{{- end -}}
{{- with $xeon.hugePages -}}
{{- $_ := set $quantities "hugepages-2Mi" . -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/*
The variables of a server, as a list: with huge pages, glibc's own switch for them, as nothing in OVMS asks for them.
*/}}
{{- define "bert-qa.xeon.environment" -}}
{{- if .Values.xeon.hugePages -}}
- {name: GLIBC_TUNABLES, value: glibc.malloc.hugetlb=2}
{{- end -}}
{{- end -}}

{{/* What OpenVINO has to know of it, as JSON: one thread a core, also where a core has two CPUs. */}}
{{- define "bert-qa.xeon.pluginConfig" -}}
{{- if not .Values.xeon.coresPerPod -}}
{{- /* Pinned, the threads of all pods of a node would be on its first cores. */ -}}
{{- dict "ENABLE_CPU_PINNING" "NO" | toJson -}}
{{- else if gt (int .Values.xeon.threadsPerCore) 1 -}}
{{- dict "ENABLE_HYPER_THREADING" false | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/*
The percent of a server's CPUs at which the percent of its threads is that of autoscaling.target: fewer threads than
CPUs never use all of those. Takes a list: the root, the track.
*/}}
{{- define "bert-qa.xeon.cpuTarget" -}}
{{- $settings := include "bert-qa.settings" . | fromJson -}}
{{- $target := int64 (index . 0).Values.autoscaling.target -}}
{{- $cpus := (index . 1).cpus | int64 -}}
{{- max 1 (min $target (div (mul $target ($settings.threads | int64)) $cpus)) -}}
{{- end -}}

{{/* What the schema cannot say: requests that no NUMA node has room for, or with which no core is reserved. */}}
{{- define "bert-qa.xeon.validate" -}}
{{- $xeon := .Values.xeon -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- if $xeon.wholeCpus -}}
{{- $limit := .resources.limits.cpu | default "none" | toString -}}
{{- if or (eq $limit "none") (ne 0 (mod (include "bert-qa.thousandths" .resources.limits.cpu | int64) 1000)) -}}
{{- fail (printf "The track %s has a CPU limit of %s, which is not whole: xeon.wholeCpus reserves cores for each server and needs a whole number. Change the limit, or set xeon.wholeCpus=false." .name $limit) -}}
{{- end -}}
{{- if ne (include "bert-qa.quantities" .resources.limits) (include "bert-qa.quantities" .resources.requests) -}}
{{- fail (printf "The track %s has requests that differ from its limits: xeon.wholeCpus reserves cores for each server and needs both equal. Leave the requests out, or set xeon.wholeCpus=false." .name) -}}
{{- end -}}
{{- end -}}
{{- if and $xeon.coresPerPod (not (.memory | int64)) -}}
{{- fail (printf "The track %s has no memory limit, without which Kubernetes reserves no cores for it: set tracks.%s.resources.limits.memory." .name .name) -}}
{{- end -}}
{{- end -}}
{{- if mod (include "bert-qa.bytes" $xeon.hugePages | int64) 2097152 -}}
{{- fail (printf "xeon.hugePages (%s) is not a multiple of 2Mi, the size of a huge page." $xeon.hugePages) -}}
{{- end -}}
{{- if $xeon.coresPerPod -}}
{{- include "bert-qa.xeon.validatePlaces" . -}}
{{- end -}}
{{- end -}}

{{- define "bert-qa.xeon.validatePlaces" -}}
{{- $xeon := .Values.xeon -}}
{{- $cores := int $xeon.coresPerPod -}}
{{- $node := int $xeon.coresPerNumaNode -}}
{{- if not $xeon.wholeCpus -}}
{{- fail "xeon.coresPerPod does not go with xeon.wholeCpus=false: it is whole cores that it reserves." -}}
{{- end -}}
{{- if .Values.kserve.enabled -}}
{{- fail "xeon.coresPerPod does not go with kserve.enabled: KServe adds containers whose requests differ from their limits, and Kubernetes then reserves no cores for any of the pod." -}}
{{- end -}}
{{- range $name, $track := .Values.tracks -}}
{{- $limits := dig "resources" "limits" dict ($track | default dict) | default dict -}}
{{- if and $limits.cpu (ne (include "bert-qa.thousandths" $limits.cpu | int64) (mul 1000 $cores $xeon.threadsPerCore)) -}}
{{- fail (printf "The track %s has a CPU limit of %v, and xeon.coresPerPod makes it %d: leave one of them out." $name $limits.cpu (mul $cores $xeon.threadsPerCore)) -}}
{{- end -}}
{{- end -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- $streams := (include "bert-qa.settings" (list $ .) | fromJson).streams | int64 -}}
{{- if and (not $.Values.server.maxRequestTokens) (lt (.memory | int64) (mul 402653184 $streams)) -}}
{{- fail (printf "The track %s has a memory limit of %v for %d streams, which need 384Mi each for requests of 8192 tokens: set resources.limits.memory to %dMi or more." .name .resources.limits.memory $streams (mul 384 $streams)) -}}
{{- end -}}
{{- end -}}
{{- if not $node -}}
{{- fail "xeon.coresPerPod needs xeon.coresPerNumaNode: the physical cores of a NUMA node that the kubelet does not reserve." -}}
{{- end -}}
{{- if gt $cores $node -}}
{{- fail (printf "xeon.coresPerPod (%d) is above xeon.coresPerNumaNode (%d): no NUMA node has room for such a pod." $cores $node) -}}
{{- end -}}
{{- $beside := list (dict "name" "proxy" "resources" .Values.proxy.resources) -}}
{{- $all := mul 1000 $cores $xeon.threadsPerCore -}}
{{- range concat $beside .Values.server.extraContainers -}}
{{- $resources := include "bert-qa.resources" (.resources | default dict) | fromYaml -}}
{{- $cpu := include "bert-qa.thousandths" $resources.limits.cpu | int64 -}}
{{- if or (not $cpu) (not $resources.limits.memory) (ne (include "bert-qa.quantities" $resources.limits) (include "bert-qa.quantities" $resources.requests)) -}}
{{- fail (printf "The container %s has no limits of CPU and memory that are its requests as well, and Kubernetes then reserves no cores for any container of the pod." .name) -}}
{{- end -}}
{{- if and (eq 0 (mod $cpu 1000)) (ne 0 (mod $cpu (mul 1000 $xeon.threadsPerCore))) -}}
{{- fail (printf "The container %s has %v CPUs, which are whole but no whole cores of %d each, and the kubelet refuses such a pod: make it a fraction such as 500m, which shares CPUs, or a multiple of %d." .name $resources.limits.cpu (int $xeon.threadsPerCore) (int $xeon.threadsPerCore)) -}}
{{- end -}}
{{- $all = add $all $cpu -}}
{{- end -}}
{{- $room := mul 1000 $node $xeon.threadsPerCore -}}
{{- if gt $all $room -}}
{{- fail (printf "A pod of xeon.coresPerPod=%d and the containers beside its server needs %dm CPUs, more than the %dm of a NUMA node (xeon.coresPerNumaNode=%d): take a core less." $cores $all $room $node) -}}
{{- end -}}
{{- /* A scheduler that does not know of NUMA nodes adds up what two of them have left. */ -}}
{{- if and (gt (div (mul 2 $room) $all) (mul 2 (div $node $cores))) (not $xeon.numaScheduler) -}}
{{- fail (printf "Of pods with xeon.coresPerPod=%d a NUMA node (xeon.coresPerNumaNode=%d) holds %d, but the scheduler would send a node of two such %d, and the kubelet refuses the last one: take more or fewer cores, or name a NUMA-aware scheduler in xeon.numaScheduler." $cores $node (div $node $cores) (div (mul 2 $room) $all)) -}}
{{- end -}}
{{- end -}}
