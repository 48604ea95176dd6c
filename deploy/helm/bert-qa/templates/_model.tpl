{{/* Where the model is: one name of a source, and what each source means for a pod. */}}

{{/* The further models, each once and without the release's own, as JSON. */}}
{{- define "bert-qa.model.others" -}}
{{- without .Values.model.others .Values.model.name | uniq | toJson -}}
{{- end -}}

{{/* The sources that are given, with commas between them; the image where none is. */}}
{{- define "bert-qa.sources" -}}
{{- $model := .Values.model -}}
{{- $image := $model.image -}}
{{- $changed := ne $image.repository (get .defaults "model.image.repository") -}}
{{- $given := list -}}
{{- if $model.pvc.claimName }}{{ $given = append $given "pvc" }}{{ end -}}
{{- if or $image.reference $image.registry $image.tag $image.digest $changed }}{{ $given = append $given "image" }}{{ end -}}
{{- if $model.storage.uri }}{{ $given = append $given "storage" }}{{ end -}}
{{- if $model.hostPath.path }}{{ $given = append $given "hostPath" }}{{ end -}}
{{- if $model.training.enabled }}{{ $given = append $given "training" }}{{ end -}}
{{- join ", " ($given | default (list "image")) -}}
{{- end -}}

{{- define "bert-qa.imageMount" -}}
{{- if ne .Values.model.image.mount "auto" -}}
{{- .Values.model.image.mount -}}
{{- else -}}
{{- semverCompare ">=1.35.0-0" .Capabilities.KubeVersion.Version | ternary "volume" "copy" -}}
{{- end -}}
{{- end -}}

{{/* The claim that holds the repository, for the sources that have one. */}}
{{- define "bert-qa.claimName" -}}
{{- $source := include "bert-qa.sources" . -}}
{{- if eq $source "pvc" -}}
{{- .Values.model.pvc.claimName -}}
{{- else if eq $source "hostPath" -}}
{{- include "bert-qa.hostVolumeName" . -}}
{{- else -}}
{{- .Values.model.training.claimName | default (printf "%s-models" (include "bert-qa.fullname" .)) -}}
{{- end -}}
{{- end -}}

{{/* A PersistentVolume's path cannot be changed, so its name follows the path. */}}
{{- define "bert-qa.hostVolumeName" -}}
{{- $identity := printf "%s/%s" (include "bert-qa.namespace" .) .Values.model.hostPath.path -}}
{{- printf "%s-models-%s" (include "bert-qa.fullname" .) (sha256sum $identity | trunc 8) -}}
{{- end -}}

{{/* The repository's address for OVMS. */}}
{{- define "bert-qa.repository" -}}
{{- if .Values.kserve.enabled -}}
/mnt/models
{{- else if eq (include "bert-qa.sources" .) "storage" -}}
{{- trimSuffix "/" .Values.model.storage.uri -}}
{{- else -}}
/models
{{- end -}}
{{- end -}}

{{/* volumes: of a server pod. */}}
{{- define "bert-qa.model.volumes" -}}
{{- $source := include "bert-qa.sources" . -}}
{{- if has $source (list "pvc" "hostPath" "training") -}}
- name: models
  persistentVolumeClaim:
    claimName: {{ include "bert-qa.claimName" . | toYaml }}
{{- else if and (eq $source "image") (eq (include "bert-qa.imageMount" .) "volume") -}}
- name: models
  image:
    reference: {{ include "bert-qa.image" (list . .Values.model.image) | quote }}
    pullPolicy: {{ .Values.imagePullPolicy }}
{{- else if eq $source "image" -}}
- name: models
  emptyDir: {}
{{- else if and .Values.model.storage.secretName (hasPrefix "gs://" .Values.model.storage.uri) -}}
- name: credentials
  secret:
    secretName: {{ toYaml .Values.model.storage.secretName }}
    defaultMode: 0440
{{- end -}}
{{- end -}}

{{/* volumeMounts: of the server. */}}
{{- define "bert-qa.model.mounts" -}}
{{- $source := include "bert-qa.sources" . -}}
{{- if ne $source "storage" -}}
- name: models
  mountPath: /models
  readOnly: true
  {{- if and (eq $source "image") (eq (include "bert-qa.imageMount" .) "volume") }}
  subPath: models
  {{- else if and (eq $source "pvc") .Values.model.pvc.subPath }}
  subPath: {{ .Values.model.pvc.subPath | quote }}
  {{- end }}
{{- else if and .Values.model.storage.secretName (hasPrefix "gs://" .Values.model.storage.uri) -}}
- name: credentials
  mountPath: /credentials
  readOnly: true
{{- end -}}
{{- end -}}

{{/* env: and envFrom: of the server, for object stores. */}}
{{- define "bert-qa.model.environment" -}}
{{- if eq (include "bert-qa.sources" .) "storage" -}}
{{- $storage := .Values.model.storage -}}
{{- $variables := list -}}
{{- if and $storage.secretName (hasPrefix "gs://" $storage.uri) -}}
{{- $variables = append $variables (dict "name" "GOOGLE_APPLICATION_CREDENTIALS" "value" "/credentials/key.json") -}}
{{- end -}}
{{- if $storage.region -}}
{{- $variables = append $variables (dict "name" "AWS_REGION" "value" $storage.region) -}}
{{- end -}}
{{- if $storage.endpoint -}}
{{- $variables = append $variables (dict "name" "S3_ENDPOINT" "value" $storage.endpoint) -}}
{{- end -}}
{{- with $variables }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and $storage.secretName (not (hasPrefix "gs://" $storage.uri)) }}
envFrom:
  - secretRef:
      name: {{ toYaml $storage.secretName }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Init containers that bring the model, or wait for it. Takes a list: the root, the track. */}}
{{- define "bert-qa.model.initContainers" -}}
{{- $root := index . 0 -}}
{{- $track := index . 1 -}}
{{- $source := include "bert-qa.sources" $root -}}
{{- if and (eq $source "image") (eq (include "bert-qa.imageMount" $root) "copy") -}}
- name: copy-model
  image: {{ include "bert-qa.image" (list $root $root.Values.model.image) | quote }}
  imagePullPolicy: {{ $root.Values.imagePullPolicy }}
  command: [cp, -R, /models/., /copy/]
  securityContext:
    {{- include "bert-qa.containerSecurity" $root | nindent 4 }}
  resources:
    limits: {cpu: 500m, memory: 256Mi}
    requests: {cpu: 500m, memory: 256Mi}
  volumeMounts:
    - name: models
      mountPath: /copy
{{- else if eq $source "training" -}}
- name: wait-for-model
  image: {{ include "bert-qa.image" (list $root $root.Values.server.image) | quote }}
  imagePullPolicy: {{ $root.Values.imagePullPolicy }}
  command:
    - /bin/bash
    - -c
    - |
      until compgen -G "/models/$MODEL/$VERSION/*" > /dev/null; do
        echo "waiting for the training Job to publish version $VERSION of $MODEL"
        sleep 10
      done
  env:
    - name: MODEL
      value: {{ toYaml $root.Values.model.name }}
    - name: VERSION
      value: {{ $track.latest | ternary "[1-9]*" $track.version | quote }}
  securityContext:
    {{- include "bert-qa.containerSecurity" $root | nindent 4 }}
  resources:
    limits: {cpu: 100m, memory: 64Mi}
    requests: {cpu: 100m, memory: 64Mi}
  volumeMounts:
    {{- include "bert-qa.model.mounts" $root | nindent 4 }}
{{- end -}}
{{- if $root.Values.model.verify.publicKey }}
{{- range $number, $model := prepend (include "bert-qa.model.others" $root | fromJsonArray) $root.Values.model.name }}
- name: verify-model{{ if $number }}-{{ $number }}{{ end }}
  image: {{ include "bert-qa.image" (list $root $root.Values.test.image) | quote }}
  imagePullPolicy: {{ $root.Values.imagePullPolicy }}
  command: [bert-qa, versions, verify, --repository=/models, --verify-key=/verify/public-key.pem]
  args:
    - --model={{ $model }}
    {{- /* OVMS takes an older version in the place of the latest where that does not load. */}}
    - {{ or (gt $number 0) $track.latest | ternary "--all" $track.version | quote }}
  securityContext:
    {{- include "bert-qa.containerSecurity" $root | nindent 4 }}
  resources:
    limits: {cpu: 500m, memory: 256Mi}
    requests: {cpu: 500m, memory: 256Mi}
  volumeMounts:
    - name: verify
      mountPath: /verify
      readOnly: true
    {{- include "bert-qa.model.mounts" $root | nindent 4 }}
{{- end }}
{{- end -}}
{{- end -}}
