package omni

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// patch writes the configuration patches of a request. Their names contain the request's id, because Omni identifies patches of
// all requests by name alone. Writing a patch again changes nothing.
func (p *Provisioner) patch(ctx context.Context, r *request, class Class) error {
	if p.cfg.KubeletProviderID {
		id := "truenas://" + r.spec.Provider + "/" + r.spec.VmId
		data := fmt.Sprintf("machine:\n  kubelet:\n    extraArgs:\n      provider-id: %q\n", id)
		if err := r.write(ctx, "kubelet-provider-id", []byte(data)); err != nil {
			return err
		}
	}
	if p.cfg.StaticHostname {
		if err := r.write(ctx, "hostname", hostnamePatch(r.spec.TalosVersion, hostName(r.id))); err != nil {
			return err
		}
	}
	return p.talosPatches(ctx, r, class)
}

// write writes one patch, unless it is empty.
func (r *request) write(ctx context.Context, name string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if err := r.CreateConfigPatch(ctx, r.id+"-"+name, data); err != nil {
		return fmt.Errorf("write of the configuration patch to Omni failed: %w", err)
	}
	return nil
}

// hostnamePatch sets a host name. Since Talos 1.12 the host name has a document of its own. Omni's configuration contains one
// that generates a name, so the patch switches that off.
func hostnamePatch(talos, name string) []byte {
	if hasHostnameConfig(talos) {
		return fmt.Appendf(nil, "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: \"off\"\nhostname: %q\n", name)
	}
	return fmt.Appendf(nil, "machine:\n  network:\n    hostname: %q\n", name)
}

func hasHostnameConfig(talos string) bool { return isTalos(talos, 1, 12) }

// isTalos reports whether a version of Talos is at least that one.
func isTalos(version string, major, minor int) bool {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return false
	}
	x, err1 := strconv.Atoi(parts[0])
	y, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (x > major || x == major && y >= minor)
}
