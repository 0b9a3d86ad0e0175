package omni

import (
	"cmp"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// reservedTag begins the tags that identify the adapter's machines.
const reservedTag = "omni-"

// mark identifies the owner of a machine: this provider in this Omni.
type mark struct{ provider, origin string }

func (p *Provisioner) mark() mark {
	return mark{provider: p.cfg.ID, origin: cmp.Or(strings.ReplaceAll(p.cfg.Origin, ",", "_"), "omni")}
}

// owner returns the uid that owns a request's machine. The same request always has the same uid, and so the same machine.
func (m mark) owner(request string) string { return "omni/" + m.provider + "/" + request }

func (m mark) tags() []string {
	return []string{reservedTag + "provider=" + m.provider, reservedTag + "at=" + m.origin}
}

// owns reports whether a machine was made for a request of this provider of this Omni. Without owners or tags there is no proof,
// and the result is false.
func (m mark) owns(vm *providerv1.VMInfo) bool {
	raw := vm.GetProviderRaw()
	has := map[string]bool{}
	for tag := range strings.SplitSeq(raw["tags"], ",") {
		has[tag] = true
	}
	for _, tag := range m.tags() {
		if !has[tag] {
			return false
		}
	}
	return raw["owner"] == m.owner(vm.GetName())
}

// belongsToOther reports whether the data of a machine shows that another client created it.
func (m mark) belongsToOther(vm *providerv1.VMInfo) bool {
	raw := vm.GetProviderRaw()
	owner, known := raw["owner"]
	return known && owner != m.owner(vm.GetName()) || raw["managed"] == "false"
}
