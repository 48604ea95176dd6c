{{/* Envoy: the only way into a pod. */}}

{{/*
Its bootstrap. Three listeners: gRPC, REST, and one for probes and metrics, which no user-facing Service names.
Only the listed paths go on to the server, so /v1/config stays inside, as does all of Envoy's administration but its statistics. OVMS computes a request to its end whatever
its size and whether its caller still waits, so users' requests are bounded here. A connection to its REST port belongs
to one of its workers: users have two connections for each stream, and each probe opens one of its own, so that probes
meet a free worker.
*/}}
{{- define "bert-qa.proxy.config" -}}
{{- $limits := include "bert-qa.proxy.limits" . | fromJson -}}
{{- $grpcPaths := list (dict "prefix" "/inference.GRPCInferenceService/") -}}
{{- if and .Values.kserve.enabled .Values.httpApi.enabled -}}
{{- /* KServe routes one port, and a model is described over REST alone. */ -}}
{{- $grpcPaths = append $grpcPaths (dict "path_separated_prefix" "/v2" "cluster" "ovms_rest") -}}
{{- end -}}
node: {id: bert-qa, cluster: bert-qa}
{{ include "bert-qa.statistics.proxy" . }}
static_resources:
  listeners:
    - {{ include "bert-qa.proxy.listener" (dict "root" . "name" "grpc" "port" 9000 "cluster" "ovms_grpc" "user" true
        "paths" $grpcPaths) | indent 6 | trim }}
    - {{ include "bert-qa.proxy.listener" (dict "root" . "name" "rest" "port" 8000 "cluster" "ovms_rest" "user" true
        "paths" (list (dict "path_separated_prefix" "/v2"))) | indent 6 | trim }}
    - {{ include "bert-qa.proxy.listener" (dict "root" . "name" "probe" "port" 8081 "cluster" "ovms_probe" "user" false
        "paths" (list
          (dict "path" "/metrics")
          (dict "path" "/stats/prometheus" "cluster" "statistics")
          (dict "path_separated_prefix" "/v2/health")
          (dict "safe_regex" (dict "regex" "/v2/models/[^/]+(/versions/[0-9]+)?/ready")))) | indent 6 | trim }}
  clusters:
    - name: ovms_grpc
      connect_timeout: 1s
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config:
            http2_protocol_options: {}
      circuit_breakers:
        thresholds: [{max_requests: {{ $limits.calls | int64 }}, max_pending_requests: {{ $limits.calls | int64 }}}]
      load_assignment: {{- include "bert-qa.proxy.loopback" (list "ovms_grpc" 9001) | nindent 8 }}
    - name: ovms_rest
      connect_timeout: 1s
      circuit_breakers:
        thresholds: [{max_connections: {{ $limits.restConnections | int64 }}}]
      load_assignment: {{- include "bert-qa.proxy.loopback" (list "ovms_rest" 8001) | nindent 8 }}
    - name: ovms_probe
      connect_timeout: 1s
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          common_http_protocol_options: {max_requests_per_connection: 1}
          explicit_http_config:
            http_protocol_options: {}
      load_assignment: {{- include "bert-qa.proxy.loopback" (list "ovms_probe" 8001) | nindent 8 }}
    - name: statistics
      connect_timeout: 1s
      load_assignment: {{- include "bert-qa.proxy.loopback" (list "statistics" 9901) | nindent 8 }}
{{- end -}}

{{- define "bert-qa.proxy.loopback" -}}
cluster_name: {{ index . 0 }}
endpoints:
  - lb_endpoints:
      - endpoint:
          address:
            socket_address: {address: 127.0.0.1, port_value: {{ index . 1 }}}
{{- end -}}

{{- define "bert-qa.proxy.listener" -}}
{{- $values := .root.Values -}}
{{- $limits := include "bert-qa.proxy.limits" .root | fromJson -}}
name: {{ .name }}
address:
  socket_address: {address: {{ has "IPv6" $values.service.ipFamilies | ternary "'::'" "0.0.0.0" }}, port_value: {{ .port }}{{ if has "IPv6" $values.service.ipFamilies }}, ipv4_compat: true{{ end }}}
per_connection_buffer_limit_bytes: 1048576
filter_chains:
  - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {{ .name }}
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: REJECT_REQUEST
          common_http_protocol_options:
            idle_timeout: 300s
            {{- if .user }}
            max_connection_duration: {{ $values.proxy.maxConnectionSeconds }}s
            {{- end }}
          http2_protocol_options:
            max_concurrent_streams: {{ $limits.calls | int64 }}
          {{- if eq .name "grpc" }}
          # What a gRPC server answers; Envoy would make UNKNOWN of its 413.
          local_reply_config:
            mappers:
              - filter:
                  status_code_filter:
                    comparison: {op: EQ, value: {default_value: 413, runtime_key: too_large}}
                headers_to_add:
                  - header: {key: grpc-status, value: "8"}
                    append_action: OVERWRITE_IF_EXISTS_OR_ADD
                body: {inline_string: "Received message larger than max ({{ $limits.requestBytes | int64 }} bytes)"}
          {{- end }}
          route_config:
            virtual_hosts:
              - name: server
                domains: ["*"]
                routes:
                  {{- range .paths }}
                  - match:
                      {{- omit . "cluster" | toYaml | nindent 22 }}
                    route:
                      cluster: {{ .cluster | default $.cluster }}
                      timeout: {{ $values.server.requestTimeoutSeconds }}s
                  {{- end }}
          http_filters:
            {{- if .user }}
            {{- if eq .name "grpc" }}
            - name: envoy.filters.http.grpc_stats
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig
                stats_for_all_methods: false
            {{- end }}
            - name: envoy.filters.http.buffer
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
                max_request_bytes: {{ $limits.requestBytes | int64 }}
            {{- end }}
            - name: envoy.filters.http.router
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
    {{- if and .user $values.tls.enabled }}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
        {{- if $values.tls.clientCASecretName }}
        require_client_certificate: true
        {{- end }}
        common_tls_context:
          tls_params:
            tls_minimum_protocol_version: TLSv1_2
          alpn_protocols: [h2, http/1.1]
          tls_certificate_sds_secret_configs:
            - name: server
              sds_config:
                resource_api_version: V3
                path_config_source: {path: /etc/envoy/server-secret.yaml}
          {{- if $values.tls.clientCASecretName }}
          validation_context_sds_secret_config:
            name: clients
            sds_config:
              resource_api_version: V3
              path_config_source: {path: /etc/envoy/clients-secret.yaml}
          {{- end }}
    {{- end }}
{{- end -}}

{{/* Its files: the bootstrap, and with TLS where its certificates are. */}}
{{- define "bert-qa.proxy.files" -}}
envoy.yaml: |
  {{- include "bert-qa.proxy.config" . | nindent 2 }}
{{- if .Values.tls.enabled }}
server-secret.yaml: |
  {{- include "bert-qa.proxy.serverSecret" . | nindent 2 }}
{{- if .Values.tls.clientCASecretName }}
clients-secret.yaml: |
  {{- include "bert-qa.proxy.clientsSecret" . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where Envoy finds its certificate; it watches the directory. */}}
{{- define "bert-qa.proxy.serverSecret" -}}
resources:
  - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: server
    tls_certificate:
      certificate_chain: {filename: /tls/server/tls.crt}
      private_key: {filename: /tls/server/tls.key}
      watched_directory: {path: /tls/server}
{{- end -}}

{{/* Where Envoy finds the authority of its clients. */}}
{{- define "bert-qa.proxy.clientsSecret" -}}
resources:
  - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: clients
    validation_context:
      trusted_ca: {filename: /tls/clients/ca.crt}
      watched_directory: {path: /tls/clients}
{{- end -}}

{{- define "bert-qa.tlsSecretName" -}}
{{- .Values.tls.secretName | default (printf "%s-tls" (include "bert-qa.fullname" .)) -}}
{{- end -}}

{{/* Envoy's container, but for its name, ports and life cycle. */}}
{{- define "bert-qa.proxy.container" -}}
image: {{ include "bert-qa.image" (list . .Values.proxy.image) | quote }}
imagePullPolicy: {{ .Values.imagePullPolicy }}
command: [envoy]
args:
  - --config-path
  - /etc/envoy/envoy.yaml
  - --concurrency
  - "1"
  - --disable-hot-restart
  - --log-level
  - warning
securityContext:
  {{- include "bert-qa.containerSecurity" . | nindent 2 }}
resources:
  {{- include "bert-qa.resources" .Values.proxy.resources | nindent 2 }}
volumeMounts:
  - name: proxy-config
    mountPath: /etc/envoy
    readOnly: true
  {{- if .Values.tls.enabled }}
  - name: server-certificate
    mountPath: /tls/server
    readOnly: true
  {{- if .Values.tls.clientCASecretName }}
  - name: client-authority
    mountPath: /tls/clients
    readOnly: true
  {{- end }}
  {{- end }}
{{- end -}}

{{/* Envoy as a sidecar, which starts before the other containers and ends after them. */}}
{{- define "bert-qa.proxy.sidecar" -}}
name: proxy
restartPolicy: Always
ports:
  - {name: grpc, containerPort: 9000}
  - {name: rest, containerPort: 8000}
  - {name: probe, containerPort: 8081}
{{- include "bert-qa.proxy.container" . | nindent 0 }}
startupProbe:
  tcpSocket: {port: 8081}
  periodSeconds: 1
  failureThreshold: 30
{{- end -}}

{{- define "bert-qa.proxy.volumes" -}}
- name: proxy-config
  {{- if .Values.rollouts.enabled }}
  {{- include "bert-qa.annotatedFiles" (include "bert-qa.proxy.files" . | fromYaml | keys | sortAlpha) | nindent 2 }}
  {{- else }}
  configMap:
    name: {{ include "bert-qa.fullname" . }}-proxy
  {{- end }}
{{- if .Values.tls.enabled }}
- name: server-certificate
  secret:
    secretName: {{ include "bert-qa.tlsSecretName" . | toYaml }}
    defaultMode: 0440
{{- if .Values.tls.clientCASecretName }}
- name: client-authority
  secret:
    secretName: {{ toYaml .Values.tls.clientCASecretName }}
    defaultMode: 0440
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- end }}
{{- end -}}
