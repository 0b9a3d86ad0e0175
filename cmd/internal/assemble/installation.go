package assemble

import (
	"crypto/sha256"
	"encoding/hex"
	"os"

	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/server"
)

// clusterAuthority is where Kubernetes mounts the certificate of the cluster's authority. It is public, and each cluster has its own.
const clusterAuthority = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

// installation is what tells this deployment from one with the same settings in another cluster. Pods without a service account
// token do not know their cluster.
func installation(cfg config.Config) server.Installation {
	own := server.Installation{ID: cfg.Storage.Installation, Owner: cfg.Owner}
	if authority, err := os.ReadFile(clusterAuthority); err == nil {
		sum := sha256.Sum256(authority)
		own.Cluster = hex.EncodeToString(sum[:8])
	}
	return own
}
