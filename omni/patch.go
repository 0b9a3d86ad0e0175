package omni

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// patch writes the configuration patches that were asked for. Omni knows patches of all requests by their names alone, so
// that the request's id is part of them. Writing one again changes nothing.
func (p *Provisioner) patch(ctx context.Context, r *request) error {
	if p.cfg.KubeletProviderID {
		id := "truenas://" + r.spec.Provider + "/" + r.spec.VmId
		data := fmt.Sprintf("machine:\n  kubelet:\n    extraArgs:\n      provider-id: %q\n", id)
		if err := r.CreateConfigPatch(ctx, r.id+"-kubelet-provider-id", []byte(data)); err != nil {
			return fmt.Errorf("write of the configuration patch to Omni failed: %w", err)
		}
	}
	if p.cfg.StaticHostname {
		if err := r.CreateConfigPatch(ctx, r.id+"-hostname", hostnamePatch(r.spec.TalosVersion, hostName(r.id))); err != nil {
			return fmt.Errorf("write of the configuration patch to Omni failed: %w", err)
		}
	}
	return nil
}

// hostnamePatch sets a host name. Since Talos 1.12 it has a document of its own, and Omni's own configuration holds one
// that chooses a name by itself, which has to be switched off.
func hostnamePatch(talos, name string) []byte {
	if hasHostnameConfig(talos) {
		return fmt.Appendf(nil, "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: \"off\"\nhostname: %q\n", name)
	}
	return fmt.Appendf(nil, "machine:\n  network:\n    hostname: %q\n", name)
}

func hasHostnameConfig(talos string) bool {
	parts := strings.SplitN(strings.TrimPrefix(talos, "v"), ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major > 1 || major == 1 && minor >= 12)
}
