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

// Extensions of the contract travel as gRPC metadata, so that a caller that does not know them sees plain provider.v1.
// GetCapabilities lists them in the header [headerExtensions], because a caller must not send a dry run to a provider that
// would create the VM.
const (
	headerExtensions = "truenas-extensions" // of GetCapabilities' answer: "dry-run,progress,settings,boot,memory,media,disk-pools"
	headerSettings   = "truenas-settings"   // of the same answer: the names of the hardware settings that are known
	headerMemory     = "truenas-memory"     // of a GetCapabilities request, "true", and of its answer: the MiB that the NAS can give to VMs now
	headerDryRun     = "truenas-dry-run"    // of a Create request, "true": check it and change nothing
	headerProgress   = "truenas-progress"   // of TaskStatus' answer: how far the task is, for users
	headerNote       = "truenas-note"       // of Create's answer: how something was made
	headerWarning    = "truenas-warning"    // of Create's answer: what was done as asked and may not be what was meant
)

const extensions = "dry-run,progress,settings,boot,memory,media,disk-pools"

// announce adds a header to the answer. It fails only where no RPC is served, as in a direct call of a handler.
func announce(ctx context.Context, key, value string) {
	_ = grpc.SetHeader(ctx, metadata.Pairs(key, value))
}

// announceMemory adds the free memory to the answer for a caller that requests it. Without an answer of the NAS, there is none.
func (s *Server) announceMemory(ctx context.Context) {
	if values := metadata.ValueFromIncomingContext(ctx, headerMemory); len(values) != 1 || values[0] != "true" {
		return
	}
	if bytes, err := s.nas.VMs.AvailableMemory(ctx); err == nil {
		announce(ctx, headerMemory, strconv.FormatInt(bytes>>20, 10))
	}
}

// isDryRun reports whether the caller of Create wants the request checked and nothing changed.
func isDryRun(ctx context.Context) bool {
	values := metadata.ValueFromIncomingContext(ctx, headerDryRun)
	return len(values) == 1 && values[0] == "true"
}

// announceProgress adds how far an image is to the answer.
func announceProgress(ctx context.Context, now disk.Progress) {
	if now.Done > 0 {
		announce(ctx, headerProgress, now.String())
	}
}
