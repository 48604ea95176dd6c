{{/* What the schema cannot say: each wrong value is refused with one sentence. */}}

{{- define "bert-qa.validate" -}}
{{- $sources := include "bert-qa.sources" . -}}
{{- if contains "," $sources -}}
{{- fail (printf "The model has more than one source (%s): set one of them." $sources) -}}
{{- end -}}
{{- if and (eq $sources "image") (not .Values.kserve.enabled) (eq (include "bert-qa.imageMount" .) "volume") (semverCompare "<1.33.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "model.image.mount=volume needs Kubernetes 1.33 at least, and this is %s: use copy." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- $port := regexFind ":[0-9]+/?$" .Values.model.storage.endpoint | trimPrefix ":" | trimSuffix "/" -}}
{{- if and $port (or (lt (int $port) 1) (gt (int $port) 65535)) -}}
{{- fail (printf "model.storage.endpoint has the port %s, which is not between 1 and 65535." $port) -}}
{{- end -}}
{{- range $value, $path := dict "model.pvc.subPath" .Values.model.pvc.subPath "model.hostPath.path" .Values.model.hostPath.path -}}
{{- if regexMatch "/[.]{0,2}/|/[.]{1,2}$|^[.]{1,2}(/|$)" $path -}}
{{- fail (printf "%s is %s, and a path may have no part that is empty, `.` or `..`." $value $path) -}}
{{- end -}}
{{- end -}}
{{- $training := .Values.model.training -}}
{{- if $training.enabled -}}
{{- if and (not (trim $training.recipe)) (not $training.recipeConfigMap) -}}
{{- fail "model.training has no recipe: set its text with --set-file model.training.recipe=recipe.yaml, or name a ConfigMap in model.training.recipeConfigMap." -}}
{{- end -}}
{{- if and $training.recipe $training.recipeConfigMap -}}
{{- fail (printf "model.training has two recipes: its text, and the ConfigMap %s. Set one of them." $training.recipeConfigMap) -}}
{{- end -}}
{{- if and $training.recipe (not (kindIs "map" (fromYaml $training.recipe))) -}}
{{- fail "model.training.recipe is not a YAML mapping." -}}
{{- end -}}
{{- if hasKey (fromYaml $training.recipe) "Error" -}}
{{- fail (printf "model.training.recipe is not YAML: %s." (get (fromYaml $training.recipe) "Error")) -}}
{{- end -}}
{{- if eq "0" (include "bert-qa.thousandths" $training.size) -}}
{{- fail (printf "model.training.size is %v: a claim has a size above 0." $training.size) -}}
{{- end -}}
{{- include "bert-qa.training.validate" . -}}
{{- end -}}

{{- if .Values.model.verify.publicKey -}}
{{- if regexMatch "(^| )--cache_dir(=| |$)" (join " " .Values.server.extraArgs) -}}
{{- fail "model.verify.publicKey does not go with --cache_dir in server.extraArgs: OVMS computes with the compiled models that are there, which no key has signed." -}}
{{- end -}}
{{- if .Values.kserve.enabled -}}
{{- fail "model.verify.publicKey does not go with kserve.enabled: KServe fetches the model itself, and no container could verify it before the server reads it." -}}
{{- else if eq $sources "storage" -}}
{{- fail "model.verify.publicKey does not go with model.storage: OVMS reads the store itself, and no container could verify the model before. Use model.image, model.pvc or model.hostPath." -}}
{{- else if eq $sources "training" -}}
{{- fail "model.verify.publicKey does not go with model.training, whose Job has no key to sign with: sign what it makes with `bert-qa publish --sign`, and serve that." -}}
{{- else if ne $sources "image" -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- if .latest -}}
{{- fail (printf "With model.verify.publicKey the track %s cannot follow the latest version of model.%s, as one that appears later would be served before it is verified: set tracks.%s.version to a number." .name $sources .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $fullname := include "bert-qa.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) -}}
{{- fail (printf "Services cannot be called %s: a name has small letters, digits and hyphens, and begins with a letter. Change the release's name, or set fullnameOverride." $fullname) -}}
{{- end -}}
{{- if and .Values.switch.enabled .Values.namespaceOverride (ne .Values.namespaceOverride .Release.Namespace) -}}
{{- fail (printf "switch.enabled does not go with namespaceOverride=%s: a switch in the cluster works in the namespace of its release. Install the release in that namespace instead, or switch from outside." .Values.namespaceOverride) -}}
{{- end -}}

{{- $tracks := (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- if not $tracks -}}
{{- fail "There is no track: tracks needs one at least, such as stable with its version." -}}
{{- end -}}
{{- $sum := 0 -}}
{{- $weights := list -}}
{{- range $tracks -}}
{{- if has .name (list "dashboard" "headless" "http-api" "metrics" "proxy" "recipe" "switch" "test") -}}
{{- fail (printf "A track cannot be called %s: the chart has an object of that name." .name) -}}
{{- end -}}
{{- if not .version -}}
{{- fail (printf "The track %s has no version: set tracks.%s.version to a number, or to latest." .name .name) -}}
{{- end -}}
{{- if and .weight (lt (int .weight) 100) (not .replicas) (not $.Values.kserve.enabled) (not $.Values.autoscaling.enabled) -}}
{{- fail (printf "The track %s has the weight %d and no replicas, so that this part of the requests would fail: give it replicas, or the weight 0." .name (int .weight)) -}}
{{- end -}}
{{- $sum = add $sum .weight -}}
{{- $weights = append $weights (printf "%s=%d" .name (.weight | int)) -}}
{{- end -}}
{{- if ne 100 (int $sum) -}}
{{- fail (printf "The weights of the tracks sum to %d, not to 100 (%s)." (int $sum) (join ", " $weights)) -}}
{{- end -}}

{{- include "bert-qa.xeon.validate" . -}}

{{- range $key := list "NUM_STREAMS" "INFERENCE_NUM_THREADS" "INFERENCE_PRECISION_HINT" "PERFORMANCE_HINT" -}}
{{- if hasKey $.Values.server.pluginConfig $key -}}
{{- fail (printf "server.pluginConfig must not hold %s: streams, threads and precision follow from server.streams, the CPU limit and server.precision, and a performance hint would contradict them." $key) -}}
{{- end -}}
{{- end -}}

{{- if eq 1 (.Values.server.grpcMaxThreads | int) -}}
{{- fail "server.grpcMaxThreads is 1, with which OVMS refuses every call: gRPC needs 2 threads at least." -}}
{{- end -}}

{{- $owners := dict "The proxy" .Values.proxy.resources -}}
{{- if .Values.httpApi.enabled }}{{ $_ := set $owners "The HTTP API" .Values.httpApi.resources }}{{ end -}}
{{- if $training.enabled }}{{ $_ := set $owners "The training Job" $training.resources }}{{ end -}}
{{- if .Values.switch.enabled }}{{ $_ := set $owners "The switch" .Values.switch.resources }}{{ end -}}
{{- range $tracks }}{{ $_ := set $owners (printf "The track %s" .name) .resources }}{{ end -}}
{{- range $owner, $resources := $owners -}}
{{- include "bert-qa.resources.validate" (list $owner $resources) -}}
{{- end -}}

{{- $monitoring := .Values.monitoring -}}
{{- range $value, $given := dict
      "commonLabels" .Values.commonLabels
      "podLabels" .Values.podLabels
      "podAnnotations" .Values.podAnnotations
      "service.annotations" .Values.service.annotations
      "monitoring.serviceMonitor.labels" $monitoring.serviceMonitor.labels
      "monitoring.prometheusRule.labels" $monitoring.prometheusRule.labels
      "monitoring.dashboard.labels" $monitoring.dashboard.labels -}}
{{- range $key := keys $given -}}
{{- if regexMatch "^(app[.]kubernetes[.]io/(name|instance|component|version|managed-by)|helm[.]sh/.*|bert-qa/.*)$" $key -}}
{{- fail (printf "%s must not hold %s, which the chart sets itself." $value $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $tls := .Values.tls -}}
{{- if and $tls.enabled (not $tls.secretName) (not $tls.issuerRef) -}}
{{- fail "tls.enabled needs a certificate: name a Secret in tls.secretName, or a cert-manager issuer in tls.issuerRef." -}}
{{- end -}}
{{- if and $tls.issuerRef (not $tls.issuerRef.name) -}}
{{- fail "tls.issuerRef has no name." -}}
{{- end -}}

{{- $gateway := .Values.gateway -}}
{{- if $gateway.enabled -}}
{{- range $kind := list "http" "grpc" -}}
{{- if not (index $gateway $kind).parentRefs -}}
{{- fail (printf "gateway.%s.parentRefs is empty: name the Gateway that the route attaches to." $kind) -}}
{{- end -}}
{{- include "bert-qa.parentRefs.validate" (list $kind (index $gateway $kind).parentRefs) -}}
{{- end -}}
{{- if eq (toYaml $gateway.http.parentRefs) (toYaml $gateway.grpc.parentRefs) -}}
{{- range $gateway.http.hostnames | default (list "*") -}}
{{- if has . ($gateway.grpc.hostnames | default (list "*")) -}}
{{- fail (printf "gateway.http and gateway.grpc both claim the host name %s on the same listener: a Gateway serves REST and gRPC under different names or on different listeners." .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $rules := add 1 (len $tracks) (len (include "bert-qa.versions" . | fromJson).versions) -}}
{{- if gt $rules 16 -}}
{{- fail (printf "The HTTPRoute of %d tracks needs %d rules, one for each track and version and one more, and the Gateway API allows 16: take tracks away, or set gateway.enabled=false." (len $tracks) $rules) -}}
{{- end -}}
{{- if and $tls.enabled (not $gateway.backendCAConfigMap) -}}
{{- fail "gateway.enabled with tls.enabled needs gateway.backendCAConfigMap, so that the Gateway trusts the servers." -}}
{{- end -}}
{{- if and $tls.enabled $tls.clientCASecretName -}}
{{- fail "gateway.enabled does not go with mutual TLS (tls.clientCASecretName): a Gateway has no certificate to show to the servers." -}}
{{- end -}}
{{- end -}}

{{- if .Values.rollouts.enabled -}}
{{- include "bert-qa.rollouts.validate" . -}}
{{- else if .Capabilities.APIVersions.Has "argoproj.io/v1alpha1/Rollout" -}}
{{- range $tracks -}}
{{- $name := printf "%s-%s" (include "bert-qa.fullname" $) .name -}}
{{- if lookup "argoproj.io/v1alpha1" "Rollout" (include "bert-qa.namespace" $) $name -}}
{{- fail (printf "The release runs as the Rollout %s, whose pods would go before those of a Deployment are ready: install another release without rollouts.enabled, move its clients, and uninstall this one." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $autoscaling := .Values.autoscaling -}}
{{- if and $autoscaling.enabled (not .Values.kserve.enabled) -}}
{{- $workloads := list -}}
{{- range $tracks -}}
{{- $workload := include "bert-qa.workload" (list $ .name) | fromYaml -}}
{{- $workloads = append $workloads (set $workload "scaled" (ne 0 (int .weight))) -}}
{{- if and .weight (eq $autoscaling.metric "cpu") -}}
{{- include "bert-qa.validateCpuRequest" (list (printf "The track %s" .name) .resources) -}}
{{- end -}}
{{- end -}}
{{- $scaler := $autoscaling.keda.enabled | ternary (dict "apiVersion" "keda.sh/v1alpha1" "kind" "ScaledObject") (dict "apiVersion" "autoscaling/v2" "kind" "HorizontalPodAutoscaler") -}}
{{- include "bert-qa.validateScaling" (list . $workloads $autoscaling "autoscaling" $scaler) -}}
{{- end -}}

{{- if .Values.httpApi.enabled -}}
{{- include "bert-qa.httpApi.validate" . -}}
{{- end -}}

{{- if .Release.IsUpgrade -}}
{{- include "bert-qa.switched.validate" . -}}
{{- end -}}

{{- if .Values.switch.enabled -}}
{{- if or .Values.kserve.enabled (dig "enabled" false (.Values.rollouts | default dict)) -}}
{{- fail "switch.enabled does not go with kserve.enabled or rollouts.enabled: those move the traffic themselves." -}}
{{- end -}}
{{- if eq $sources "hostPath" -}}
{{- fail "switch.enabled does not go with model.hostPath, whose PersistentVolume is in no namespace: a Role cannot let the switch read it. Switch without --in-cluster, or name a claim in model.pvc.claimName." -}}
{{- end -}}
{{- end -}}

{{- if .Values.kserve.enabled -}}
{{- if gt (int .Values.kserve.minReplicas) (int .Values.kserve.maxReplicas) -}}
{{- fail (printf "kserve.minReplicas (%d) is above kserve.maxReplicas (%d)." (int .Values.kserve.minReplicas) (int .Values.kserve.maxReplicas)) -}}
{{- end -}}
{{- if gt (len $tracks) 2 -}}
{{- fail (printf "KServe splits traffic between two revisions, but there are %d tracks." (len $tracks)) -}}
{{- end -}}
{{- if and (eq .Values.kserve.mode "standard") (gt (len $tracks) 1) -}}
{{- fail (printf "kserve.mode=standard goes with one track, and there are %d: KServe honours the canary's weight in Knative mode only, and would give the newest version all of the traffic. Take a track away, or set kserve.mode=knative." (len $tracks)) -}}
{{- end -}}
{{- if hasKey .Values.kserve.annotations "serving.kserve.io/deploymentMode" -}}
{{- fail "kserve.annotations must not hold serving.kserve.io/deploymentMode: set kserve.mode instead, by which the chart makes the pods." -}}
{{- end -}}
{{- if gt (int .Values.kserve.minReplicas) (int .Values.kserve.maxReplicas) -}}
{{- fail (printf "kserve.minReplicas (%d) is above kserve.maxReplicas (%d)." (int .Values.kserve.minReplicas) (int .Values.kserve.maxReplicas)) -}}
{{- end -}}
{{- range $tracks -}}
{{- $name := printf "%s-%s" (include "bert-qa.fullname" $) .name -}}
{{- $present := lookup "apps/v1" "Deployment" (include "bert-qa.namespace" $) $name | default dict -}}
{{- /* KServe's own Deployments have an owner. */ -}}
{{- if and $present (not (dig "metadata" "ownerReferences" list $present)) -}}
{{- fail (printf "The release runs as the Deployment %s, whose pods would go before those of KServe are ready: install another release with kserve.enabled, move its clients, and uninstall this one." $name) -}}
{{- end -}}
{{- end -}}
{{- if eq $sources "hostPath" -}}
{{- fail "KServe does not read a model from a host path: use a claim, an image or an object store." -}}
{{- end -}}
{{- range $name, $enabled := dict "gateway" $gateway.enabled "tls" $tls.enabled "autoscaling" $autoscaling.enabled -}}
{{- if $enabled -}}
{{- fail (printf "%s.enabled does not go with kserve.enabled: KServe does that itself." $name) -}}
{{- end -}}
{{- end -}}
{{- /* A switch has no right to look for one, and a release under KServe no switch. */ -}}
{{- else if and (not .Values.switch.enabled) (.Capabilities.APIVersions.Has "serving.kserve.io/v1beta1/InferenceService") -}}
{{- $name := include "bert-qa.fullname" . -}}
{{- if lookup "serving.kserve.io/v1beta1" "InferenceService" (include "bert-qa.namespace" .) $name -}}
{{- fail (printf "The release runs as the InferenceService %s, whose pods would go before others are ready: install another release without kserve.enabled, move its clients, and uninstall this one." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
