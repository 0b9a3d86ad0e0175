package omni

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Extensions of the contract, sent as gRPC metadata. A backend lists its extensions in the header of its capabilities. Without
// them the adapter uses the contract alone.
const (
	headerExtensions = "truenas-extensions" // of GetCapabilities' answer
	headerSettings   = "truenas-settings"   // of the same response: the names of the supported hardware settings
	headerMemory     = "truenas-memory"     // of a GetCapabilities request and its response
	headerDryRun     = "truenas-dry-run"    // of a Create request
	headerProgress   = "truenas-progress"   // of the response of TaskStatus

	extensionDryRun    = "dry-run"
	extensionMemory    = "memory"
	extensionDiskPools = "disk-pools" // StorageClass of a disk in disks_json is a pool
)

// checkedAge is how long the adapter trusts the capabilities of a backend, and the networks and hardware that a dry run accepted.
const checkedAge = 10 * time.Minute

// hasExtension reports whether the cached capabilities list an extension.
func (b *backend) hasExtension(extension string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.extensions, extension)
}

// readCapabilities reads the backend's capabilities, its extensions and its hardware settings.
func (b *backend) readCapabilities(ctx context.Context) (can *providerv1.GetCapabilitiesResponse, extensions, settings []string, err error) {
	var header metadata.MD
	can, err = call(ctx, b, askTimeout, func(ctx context.Context, req *providerv1.GetCapabilitiesRequest, opts ...grpc.CallOption) (*providerv1.GetCapabilitiesResponse, error) {
		return b.client.GetCapabilities(ctx, req, append(opts, grpc.Header(&header))...)
	}, &providerv1.GetCapabilitiesRequest{})
	list := func(key string) []string { return strings.Split(strings.Join(header.Get(key), ","), ",") }
	return can, list(headerExtensions), list(headerSettings), err
}

// try checks a machine with a dry run of Create, to report a bridge, a VLAN or a CPU model that the NAS does not have before an
// image is fetched. The result holds for [checkedAge], for all machines with equal networks and hardware.
func (b *backend) try(ctx context.Context, req *providerv1.CreateRequest, hardware string) error {
	if !b.hasExtension(extensionDryRun) || b.checkedLately(hardware) {
		return nil
	}
	ctx = metadata.AppendToOutgoingContext(ctx, headerDryRun, "true")
	if _, err := call(ctx, b, askTimeout, b.client.Create, req); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.accepted == nil {
		b.accepted = map[string]time.Time{}
	}
	b.accepted[hardware] = time.Now()
	return nil
}

func (b *backend) checkedLately(hardware string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.accepted[hardware]) < checkedAge
}

// tryMachine checks the machine of a request without its image and seed.
func (p *Provisioner) tryMachine(ctx context.Context, r *request, class Class, b *backend) error {
	req := class.createRequest(r.id, "", r.spec.Addresses, p.macs(r.id, class))
	req.ImageJson, req.Owner, req.Tags = "", p.ownerOf(r.id), p.mark().tags()
	return b.try(ctx, req, class.createRequest("", "", nil, nil).GetNetworksJson()+class.StoragePool+class.diskPools()+req.GetClassJson())
}
