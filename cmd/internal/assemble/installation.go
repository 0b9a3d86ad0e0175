package assemble

import (
	"crypto/sha256"
	"encoding/hex"
	"os"

	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/server"
)

// clusterAuthority is the path of the certificate of the cluster's authority. It is public, and each cluster has its own.
const clusterAuthority = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

// installation identifies this deployment among those with the same settings in other clusters. Pods without a service account
// token cannot read the certificate, and have no cluster in their identity.
func installation(cfg config.Config) server.Installation {
	own := server.Installation{ID: cfg.Storage.Installation, Owner: cfg.Owner}
	if authority, err := os.ReadFile(clusterAuthority); err == nil {
		sum := sha256.Sum256(authority)
		own.Cluster = hex.EncodeToString(sum[:8])
	}
	return own
}
