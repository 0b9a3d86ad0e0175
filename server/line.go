package server

import (
	"context"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
)

// identityJSON is an object of Kubernetes in the form of the *_json fields of line 0.4.
type identityJSON struct {
	UID       string
	Namespace string
	Name      string
}

// onOneHost refuses a request that names one of several hosts: a NAS is a single host, and clustering is not among the
// capabilities.
func onOneHost(req any) error {
	if r, ok := req.(interface{ GetTargetHostId() string }); ok && r.GetTargetHostId() != "" {
		return refusal.InvalidArgument("target_host_id", "%q: %s", r.GetTargetHostId(), spec.NoHosts)
	}
	if r, ok := req.(interface{ GetSourceHostId() string }); ok && r.GetSourceHostId() != "" {
		return refusal.InvalidArgument("source_host_id", "%q: %s", r.GetSourceHostId(), spec.NoHosts)
	}
	return nil
}

// ofLine04 reports whether only a manager of line 0.4 or later sends such a request. A provider cannot query the manager's version,
// and most requests are the same in both lines.
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

// Extensions of the contract travel as gRPC metadata, so that a caller that does not know them sees plain provider.v1.
// GetCapabilities lists them in the header [headerExtensions], because a caller must not send a dry run to a provider that
// would create the VM.
const (
	headerExtensions = "truenas-extensions" // in the response of GetCapabilities: "dry-run,progress,settings,boot,memory,media,disk-pools"
	headerSettings   = "truenas-settings"   // in the same response: the names of the known hardware settings
	headerMemory     = "truenas-memory"     // in a GetCapabilities request, "true", and in its response: the MiB that the NAS can give to VMs now
	headerDryRun     = "truenas-dry-run"    // in a Create request, "true": check it and change nothing
	headerProgress   = "truenas-progress"   // in the response of TaskStatus: the progress of the task, for users
	headerNote       = "truenas-note"       // in the response of Create: how an object was made
	headerWarning    = "truenas-warning"    // in the response of Create: a part of the request that was applied and may be a mistake
)

const extensions = "dry-run,progress,settings,boot,memory,media,disk-pools"

// announce adds a header to the response. It fails only without an RPC, as in a direct call of a handler.
func announce(ctx context.Context, key, value string) {
	_ = grpc.SetHeader(ctx, metadata.Pairs(key, value))
}

// announceMemory adds the free memory to the response for a caller that requests it. It adds nothing when the query fails.
func (s *Server) announceMemory(ctx context.Context) {
	if values := metadata.ValueFromIncomingContext(ctx, headerMemory); len(values) != 1 || values[0] != "true" {
		return
	}
	if bytes, err := s.nas.VMs.AvailableMemory(ctx); err == nil {
		announce(ctx, headerMemory, strconv.FormatInt(bytes>>20, 10))
	}
}

// isDryRun reports whether the caller of Create wants the request checked without a change.
func isDryRun(ctx context.Context) bool {
	values := metadata.ValueFromIncomingContext(ctx, headerDryRun)
	return len(values) == 1 && values[0] == "true"
}

// announceProgress adds the progress of an image to the response.
func announceProgress(ctx context.Context, now disk.Progress) {
	if now.Done > 0 {
		announce(ctx, headerProgress, now.String())
	}
}
