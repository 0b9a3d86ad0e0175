package server

// noHosts is why a request that names a host is refused.
const noHosts = "this provider drives one NAS and has no hosts to choose from"

// identityJSON is an object of Kubernetes as the *_json fields of line 0.4 name it.
type identityJSON struct {
	UID       string
	Namespace string
	Name      string
}

// onOneHost refuses a request that names one of several hosts: a NAS is one, and clustering is not among the capabilities.
func onOneHost(req any) error {
	if r, ok := req.(interface{ GetTargetHostId() string }); ok && r.GetTargetHostId() != "" {
		return invalid("target_host_id", "%q: %s", r.GetTargetHostId(), noHosts)
	}
	if r, ok := req.(interface{ GetSourceHostId() string }); ok && r.GetSourceHostId() != "" {
		return invalid("source_host_id", "%q: %s", r.GetSourceHostId(), noHosts)
	}
	return nil
}
