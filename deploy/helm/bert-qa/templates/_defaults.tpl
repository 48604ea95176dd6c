{{/* Made from ../values.source.yaml by `python -m tools.chart`: change that, not this. */}}
{{- define "bert-qa.defaults" -}}
{
 "numbers": [
  "server.threads",
  "server.streams",
  "server.maxConcurrentStreams",
  "server.grpcMaxThreads",
  "server.restWorkers",
  "server.maxRequestTokens",
  "server.requestTimeoutSeconds",
  "server.startupSeconds",
  "server.pollSeconds",
  "proxy.maxConnectionSeconds",
  "httpApi.replicas",
  "httpApi.workers",
  "httpApi.queue",
  "httpApi.bodyLimitMegabytes",
  "httpApi.autoscaling.minReplicas",
  "httpApi.autoscaling.maxReplicas",
  "httpApi.autoscaling.targetCpuPercent",
  "kserve.minReplicas",
  "kserve.maxReplicas",
  "rollouts.pauseSeconds",
  "rollouts.intervalSeconds",
  "rollouts.requests",
  "rollouts.failureLimit",
  "autoscaling.minReplicas",
  "autoscaling.maxReplicas",
  "autoscaling.target",
  "autoscaling.scaleDownSeconds",
  "monitoring.prometheusRule.objective.latencyMilliseconds"
 ],
 "values": {
  "model.name": "bert-qa",
  "model.pvc.claimName": "",
  "model.pvc.subPath": "",
  "model.image.reference": "",
  "model.image.mount": "auto",
  "model.storage.uri": "",
  "model.storage.secretName": "",
  "model.storage.region": "",
  "model.storage.endpoint": "",
  "model.hostPath.path": "",
  "model.training.enabled": false,
  "model.training.recipe": "",
  "model.training.recipeConfigMap": "",
  "model.training.image": "bert-qa-build:0.1.0",
  "model.training.claimName": "",
  "model.training.size": "20Gi",
  "model.training.storageClassName": "",
  "model.training.accessMode": "ReadWriteMany",
  "model.training.resources": {
   "limits": {
    "cpu": "8",
    "memory": "16Gi"
   }
  },
  "model.training.volumes": [],
  "model.training.volumeMounts": [],
  "model.training.env": [],
  "tracks": {
   "stable": {
    "version": 1,
    "weight": 100,
    "replicas": 2
   }
  },
  "rollout.good": "",
  "rollout.goal": "",
  "rollout.previous": "",
  "rollout.returning": false,
  "rollout.held": "",
  "resources": {
   "limits": {
    "cpu": "4",
    "memory": "4Gi"
   }
  },
  "server.image": "openvino/model_server:2026.4.1",
  "server.logLevel": "INFO",
  "server.threads": 0,
  "server.streams": 0,
  "server.precision": "",
  "server.pluginConfig": {},
  "server.maxConcurrentStreams": 0,
  "server.grpcMaxThreads": 0,
  "server.restWorkers": 128,
  "server.maxRequestTokens": 0,
  "server.requestTimeoutSeconds": 30,
  "server.startupSeconds": 300,
  "server.extraArgs": [],
  "server.extraContainers": [],
  "server.lifecycle": {},
  "server.pollSeconds": 1,
  "proxy.image": "envoyproxy/envoy:distroless-v1.40.0",
  "proxy.maxConnectionSeconds": 20,
  "proxy.resources": {
   "limits": {
    "cpu": "500m",
    "memory": "256Mi"
   }
  },
  "xeon.wholeCpus": true,
  "xeon.vnni": "preferred",
  "xeon.amx": "preferred",
  "xeon.numaScheduler": "",
  "topologySpread": "preferred",
  "nodeSelector": {},
  "tolerations": [],
  "priorityClassName": "",
  "podLabels": {},
  "podAnnotations": {},
  "affinity": {},
  "runtimeClassName": "",
  "podSecurityContext": {
   "runAsNonRoot": true,
   "runAsUser": 5000,
   "runAsGroup": 5000,
   "fsGroup": 5000,
   "fsGroupChangePolicy": "OnRootMismatch",
   "seccompProfile": {
    "type": "RuntimeDefault"
   }
  },
  "containerSecurityContext": {
   "allowPrivilegeEscalation": false,
   "readOnlyRootFilesystem": true,
   "runAsNonRoot": true,
   "runAsUser": 5000,
   "runAsGroup": 5000,
   "capabilities": {
    "drop": [
     "ALL"
    ]
   },
   "seccompProfile": {
    "type": "RuntimeDefault"
   }
  },
  "env": [],
  "envFrom": [],
  "volumes": [],
  "volumeMounts": [],
  "imagePullPolicy": "IfNotPresent",
  "imagePullSecrets": [],
  "nameOverride": "",
  "fullnameOverride": "",
  "namespaceOverride": "",
  "commonLabels": {},
  "extraManifests": [],
  "serviceAccount.name": "",
  "serviceAccount.annotations": {},
  "service.ipFamilies": [],
  "service.type": "ClusterIP",
  "service.annotations": {},
  "httpApi.enabled": true,
  "httpApi.image": "",
  "httpApi.replicas": 2,
  "httpApi.workers": 1,
  "httpApi.queue": 1024,
  "httpApi.bodyLimitMegabytes": 16,
  "httpApi.corsOrigins": [],
  "httpApi.token.secretName": "",
  "httpApi.token.key": "token",
  "httpApi.clientSecretName": "",
  "httpApi.extraArgs": [],
  "httpApi.logLevel": "INFO",
  "httpApi.resources": {
   "limits": {
    "cpu": "1",
    "memory": "1Gi"
   },
   "requests": {
    "cpu": "250m",
    "memory": "512Mi"
   }
  },
  "httpApi.autoscaling.enabled": false,
  "httpApi.autoscaling.minReplicas": 2,
  "httpApi.autoscaling.maxReplicas": 8,
  "httpApi.autoscaling.targetCpuPercent": 70,
  "httpApi.service.type": "ClusterIP",
  "httpApi.service.annotations": {},
  "tls.enabled": false,
  "tls.secretName": "",
  "tls.issuerRef": {},
  "tls.dnsNames": [],
  "tls.clientCASecretName": "",
  "gateway.enabled": false,
  "gateway.header": "x-bert-qa-track",
  "gateway.http.parentRefs": [],
  "gateway.http.hostnames": [],
  "gateway.grpc.parentRefs": [],
  "gateway.grpc.hostnames": [],
  "gateway.backendCAConfigMap": "",
  "kserve.enabled": false,
  "kserve.mode": "knative",
  "kserve.protocol": "grpc",
  "kserve.annotations": {},
  "kserve.minReplicas": 1,
  "kserve.maxReplicas": 4,
  "rollouts.enabled": false,
  "rollouts.steps": [
   5,
   25,
   50,
   100
  ],
  "rollouts.pauseSeconds": 120,
  "rollouts.intervalSeconds": 30,
  "rollouts.prometheus": "http://prometheus-operated.monitoring:9090",
  "rollouts.errorPercent": 1,
  "rollouts.p95Factor": 1.5,
  "rollouts.requests": 20,
  "rollouts.failureLimit": 0,
  "autoscaling.enabled": false,
  "autoscaling.minReplicas": 2,
  "autoscaling.maxReplicas": 8,
  "autoscaling.metric": "cpu",
  "autoscaling.target": 70,
  "autoscaling.scaleDownSeconds": 300,
  "autoscaling.keda.enabled": false,
  "autoscaling.keda.prometheus": "http://prometheus-operated.monitoring:9090",
  "networkPolicy.enabled": true,
  "networkPolicy.clients": [
   {
    "podSelector": {}
   }
  ],
  "networkPolicy.monitoring": [
   {
    "namespaceSelector": {
     "matchLabels": {
      "kubernetes.io/metadata.name": "monitoring"
     }
    }
   }
  ],
  "networkPolicy.dnsPorts": [
   53,
   5353
  ],
  "networkPolicy.egress": [],
  "monitoring.serviceMonitor.enabled": false,
  "monitoring.serviceMonitor.interval": "15s",
  "monitoring.serviceMonitor.labels": {},
  "monitoring.prometheusRule.enabled": false,
  "monitoring.prometheusRule.labels": {},
  "monitoring.prometheusRule.errorPercent": 1,
  "monitoring.prometheusRule.p95Milliseconds": 1000,
  "monitoring.prometheusRule.queueMilliseconds": 200,
  "monitoring.prometheusRule.objective.availabilityPercent": 99.9,
  "monitoring.prometheusRule.objective.latencyPercent": 99,
  "monitoring.prometheusRule.objective.latencyMilliseconds": 1000,
  "monitoring.dashboard.enabled": false,
  "monitoring.dashboard.labels": {
   "grafana_dashboard": "1"
  },
  "switch.enabled": false,
  "switch.image": "bert-qa-switch:0.1.0",
  "switch.resources": {
   "limits": {
    "cpu": "1",
    "memory": "1Gi"
   },
   "requests": {
    "cpu": "100m",
    "memory": "256Mi"
   }
  },
  "test.image": "bert-qa-client:0.1.0",
  "test.question": "When was the bridge opened?",
  "test.context": "The bridge over the river was designed by Anna Berg. It was opened in 1932 after four years of work.",
  "test.answer": "1932",
  "test.clientSecretName": "",
  "enabled": true,
  "global": {}
 }
}
{{- end -}}
