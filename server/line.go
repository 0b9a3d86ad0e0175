package server

import (
	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
)

// identityJSON is an object of Kubernetes as the *_json fields of line 0.4 name it.
type identityJSON struct {
	UID       string
	Namespace string
	Name      string
}

// onOneHost refuses a request that names one of several hosts: a NAS is one, and clustering is not among the capabilities.
func onOneHost(req any) error {
	if r, ok := req.(interface{ GetTargetHostId() string }); ok && r.GetTargetHostId() != "" {
		return refusal.InvalidArgument("target_host_id", "%q: %s", r.GetTargetHostId(), spec.NoHosts)
	}
	if r, ok := req.(interface{ GetSourceHostId() string }); ok && r.GetSourceHostId() != "" {
		return refusal.InvalidArgument("source_host_id", "%q: %s", r.GetSourceHostId(), spec.NoHosts)
	}
	return nil
}

// ofLine04 reports whether only a manager of line 0.4 or later sends such a request. A provider cannot ask which manager it
// serves, and most requests are the same in both lines.
func ofLine04(req any) bool {
	switch r := req.(type) {
	case *providerv1.CreateRequest:
		return r.GetOwner().GetNamespace() != "" // The Omni adapter names an owner too, which has no namespace.
	case *providerv1.ImagePrepareRequest:
		return r.GetImage() != nil
	case *providerv1.SnapshotCreateRequest:
		return r.GetRequestToken() != ""
	case *providerv1.CloneRequest:
		return r.GetTargetVm() != nil
	case *providerv1.ImportDiskRequest:
		return r.GetTargetVm() != nil
	}
	return false
}
